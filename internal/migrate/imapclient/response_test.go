package imapclient

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"expost/internal/mail"
)

// reader returns a client that reads text.
func reader(text string) *Client {
	return &Client{opt: Options{}.withDefaults(), r: bufio.NewReaderSize(strings.NewReader(text), 64)}
}

// fetched reads one FETCH response and returns what it says, with the body.
func fetched(t testing.TB, text string) (Fetched, string, error) {
	t.Helper()
	res, err := reader(text).next()
	if err != nil {
		return Fetched{}, "", err
	}
	var body strings.Builder
	f, err := res.Fetch(func(_ *Fetched, r io.Reader, _ int64) error {
		_, err := io.Copy(&body, r)
		return err
	})
	return f, body.String(), err
}

func TestFetch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in, body string
		want     string // UID, flags, date
	}{
		"usual":            {"* 1 FETCH (UID 7 FLAGS (\\Seen $X) INTERNALDATE \" 1-May-2003 10:00:00 +0530\" RFC822.SIZE 12 MODSEQ (99))", "", `7 \Seen $X 1051763400+330 12 99`},
		"body":             {"* 1 FETCH (UID 7 BODY[] {5}\r\na\r\nbc FLAGS (\\Draft))", "a\r\nbc", `7 \Draft  0+0 0 0`},
		"body by itself":   {"* 1 FETCH (BODY[] {0}\r\n UID 4294967295)", "", `4294967295   0+0 0 0`},
		"quoted body":      {`* 1 FETCH (UID 7 BODY[] "a \"b\" \\c")`, `a "b" \c`, `7   0+0 0 0`},
		"NIL body":         {"* 1 FETCH (UID 7 BODY[] NIL)", "", `7   0+0 0 0`},
		"sections":         {"* 1 FETCH (BODY[HEADER.FIELDS (DATE FROM)] {3}\r\nx\r\n BODYSTRUCTURE ((\"text\" NIL) \"mixed\") UID 7)", "", `7   0+0 0 0`},
		"literal8":         {"* 1 FETCH (UID 7 BODY[] ~{2}\r\n\x00\xff)", "\x00\xff", `7   0+0 0 0`},
		"lower case":       {"* 1 fetch (uid 7 flags (\\SEEN))", "", `7 \Seen  0+0 0 0`},
		"size is no size":  {"* 1 FETCH (RFC822.SIZE -1 UID 7)", "", `7   0+0 -1 0`},
		"a date of nobody": {"* 1 FETCH (INTERNALDATE \"yesterday\" UID 7)", "", `7   0+0 0 0`},
		"more spaces":      {"* 1 FETCH ( UID  7  FLAGS ( \\Seen  x ) )", "", `7 \Seen x 0+0 0 0`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, body, err := fetched(t, c.in+"\r\nx1 OK\r\n")
			got := fmt.Sprintf("%d %s %s %d+%d %d %d", f.UID, f.Flags, f.Keywords, f.Date.Unix, f.Date.Offset, f.Size, f.ModSeq)
			if err != nil || body != c.body || got != c.want {
				t.Errorf("got %q %q, want %q %q: %v", got, body, c.want, c.body, err)
			}
		})
	}
}

func TestFetchGarbage(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"* 1 FETCH", "* 1 FETCH (UID", "* 1 FETCH (UID x)", "* 1 FETCH (FLAGS (\\Seen)", "* 1 FETCH (FLAGS \\Seen)",
		"* 1 FETCH (BODY[] {3}\r\nabcdef)", "* 1 FETCH (UID 1) trailing", "* 1 FETCH (= 1)", "* 1 FETCH (BODY[] {9}\r\nabc",
		"* 1 FETCH (X " + strings.Repeat("(", 100) + ")", "* 1 FETCH (BODY[] {99999999999999999}\r\n",
	} {
		if _, body, err := fetched(t, in+"\r\n"); err == nil {
			t.Errorf("%q is let through, with the body %q", in, body)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Listed{
		`* LIST (\HasNoChildren \Sent) "/" "Sent Items"`: {"Sent Items", "/", []string{`\HasNoChildren`, `\Sent`}},
		"* LIST () \".\" {3}\r\na\"b":                    {`a"b`, ".", nil},
		`* LIST () NIL INBOX`:                            {"INBOX", "", nil},
		`* LIST (\Noselect) "/" Sent Items`:              {"Sent Items", "/", []string{`\Noselect`}},
		`* LSUB () "\\" "a\\b"`:                          {`a\b`, `\`, nil},
		`* LIST () "/" &ZeVnLIqe- ("CHILDINFO" ("x"))`:   {"&ZeVnLIqe-", "/", nil},
	} {
		res, err := reader(in + "\r\n").next()
		if err != nil {
			t.Fatal(err)
		}
		got, err := res.List()
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q is %+v, want %+v: %v", in, got, want, err)
		}
	}
}

func TestStatusAndSearch(t *testing.T) {
	t.Parallel()
	res, err := reader("* STATUS \"a b\" (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 5 HIGHESTMODSEQ 7 SIZE 99 X 1)\r\n").next()
	if err != nil {
		t.Fatal(err)
	}
	if name, s, err := res.Status(); err != nil || name != "a b" || s != (Status{5, 9, 7, 3, 99}) {
		t.Errorf("status is %q %+v, %v", name, s, err)
	}
	for in, want := range map[string]string{
		"* SEARCH 5 1 2 3": "1:3,5", "* SEARCH": "", "* SEARCH 4 (MODSEQ 9)": "4",
		`* ESEARCH (TAG "x1") UID ALL 2,10:11`: "2,10:11", `* ESEARCH (TAG "x1") UID`: "",
	} {
		res, err := reader(in + "\r\n").next()
		if err != nil {
			t.Fatal(err)
		}
		var set mail.UIDSet
		if err := res.Search(&set); err != nil || set.String() != want {
			t.Errorf("%q is %s, want %s: %v", in, set, want, err)
		}
	}
}

func TestLongLines(t *testing.T) {
	t.Parallel()
	c := reader("* SEARCH " + strings.Repeat("1 ", 10000) + "\r\nx1 OK [CAPABILITY A B] done\r\n")
	n := 0
	err := c.Wait("x1", func(r *Response) error {
		var set mail.UIDSet
		n++
		return r.Search(&set)
	})
	if has, _ := c.Has("b"); err != nil || n != 1 || !has {
		t.Errorf("%d responses, %v", n, err)
	}
	c = reader("* " + strings.Repeat("x", 1000) + "\r\n")
	c.opt.MaxLine = 500
	if err := c.Wait("x1", nil); !errors.Is(err, ErrGarbage) {
		t.Errorf("a line beyond the limit: %v", err)
	}
}

// TestUIDs reads uid-sets in the order in which they are written, and nothing of
// a size that nobody asked for.
func TestUIDs(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"4": "[4]", "4:6,2": "[4 5 6 2]", "7,7": "[7 7]", "1:100000": "", "6:4": "", "1:4294967295": "", "1:99999,1:9": "", "": "", "x": "", "4:": "", "*": "", "5000000000": "",
	} {
		got, err := UIDs(in)
		if text := fmt.Sprint(got); err != nil && want != "" || err == nil && text != want && (want != "" || len(got) < 100_000) {
			t.Errorf("%q: %.60s, %v; want %s", in, text, err, want)
		}
	}
}

// FuzzUIDs reads anything.
func FuzzUIDs(f *testing.F) {
	for _, seed := range []string{"1", "1:3,9", "4294967295", "1:*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if got, err := UIDs(in); err == nil && (len(got) == 0 || len(got) > maxUIDs) {
			t.Errorf("%d UIDs", len(got))
		}
	})
}

func FuzzResponse(f *testing.F) {
	for _, in := range []string{
		"* 1 FETCH (UID 7 FLAGS (\\Seen $X) INTERNALDATE \" 1-May-2003 10:00:00 +0530\" BODY[] {3}\r\nabc)\r\nx1 OK\r\n",
		"* LIST (\\Sent) \"/\" {3}\r\nabc\r\n* STATUS \"a\" (MESSAGES 1)\r\n* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n",
		"* ESEARCH (TAG \"x\") UID ALL 1:4\r\n* BYE [X y] z\r\n", "* OK [CAPABILITY A] b\r\nx1 NO [THROTTLED] no\r\n",
	} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		c := reader(in)
		for range 100 {
			err := c.Wait("x1", func(r *Response) (err error) {
				switch r.Name() {
				case "FETCH":
					_, err = r.Fetch(func(_ *Fetched, r io.Reader, _ int64) error {
						_, err := io.Copy(io.Discard, r)
						return err
					})
				case "LIST", "LSUB":
					_, err = r.List()
				case "STATUS":
					_, _, err = r.Status()
				case "SEARCH", "ESEARCH":
					var set mail.UIDSet
					err = r.Search(&set)
				case "NAMESPACE":
					_, err = r.Namespace()
				}
				return err
			})
			if err != nil {
				if _, ok := errors.AsType[*StatusError](err); !ok {
					return
				}
			}
		}
	})
}
