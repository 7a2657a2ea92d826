package imapwire_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/message"
)

func TestUTF7(t *testing.T) {
	t.Parallel()
	for coded, name := range map[string]string{
		"INBOX": "INBOX", "Entw&APw-rfe": "Entwürfe", "&ZeVnLIqe-": "日本語", "a&-b": "a&b", "&2D3eAA-": "😀", "~peter/mail/&U,BTFw-/&ZeVnLIqe-": "~peter/mail/台北/日本語",
	} {
		if got, ok := imapwire.DecodeUTF7(coded); !ok || got != name {
			t.Errorf("decoding %s: %q, %v", coded, got, ok)
		}
		if got := string(imapwire.AppendUTF7(nil, name)); got != coded {
			t.Errorf("encoding %s: %s", name, got)
		}
	}
	for _, bad := range []string{"&", "&APw", "&A-", "&2D0-", "&3gA-", "&====-", "\xff", "&AP/-"} {
		if got, ok := imapwire.DecodeUTF7(bad); ok {
			t.Errorf("%q decodes to %q", bad, got)
		}
	}
	if got, ok := imapwire.DecodeUTF7("&AGE-"); !ok || got != "a" {
		t.Errorf("a superfluous encoding: %q, %v", got, ok)
	}
}

func TestDateTime(t *testing.T) {
	t.Parallel()
	for _, in := range []string{`" 1-Feb-1994 21:52:25 -0800"`, `"17-Jul-1996 02:44:25 +0000"`, `"29-Feb-2000 00:00:00 +0545"`, `"31-Dec-1969 23:59:59 -0330"`, `" 1-Jan-0001 00:00:00 +1400"`} {
		d, _ := decoder(t, imapwire.Limits{}, in+"\r\n")
		got := d.DateTime()
		if d.End(); d.Err() != nil {
			t.Errorf("%s: %v", in, d.Err())
		}
		if out := string(imapwire.AppendDateTime(nil, got)); out != in {
			t.Errorf("%s becomes %s", in, out)
		}
	}
	d, _ := decoder(t, imapwire.Limits{}, `"1-feb-1994 21:52:25 -0800"`+"\r\n")
	if got := d.DateTime().Time(); d.Err() != nil || got.Format(time.RFC3339) != "1994-02-01T21:52:25-08:00" {
		t.Errorf("got %v, %v", got, d.Err())
	}
	for _, bad := range []string{`"30-Feb-1994 00:00:00 +0000"`, `"1-Feb-1994 24:00:00 +0000"`, `"1-Feb-1994 00:00:00"`, `"1-Xxx-1994 00:00:00 +0000"`, `"0-Feb-1994 00:00:00 +0000"`, `1-Feb-1994`} {
		d, _ := decoder(t, imapwire.Limits{}, bad+"\r\n")
		if d.DateTime(); d.Err() == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestDayOf(t *testing.T) {
	t.Parallel()
	for want, d := range map[imapwire.Day]mail.Date{
		0:  {Unix: 0},
		-1: {Unix: -1},
		1:  {Unix: 86399, Offset: 60},
		-2: {Unix: -86400, Offset: -1},
	} {
		if got := imapwire.DayOf(d); got != want {
			t.Errorf("%+v is day %d, want %d", d, got, want)
		}
	}
}

func TestNumSetResolve(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"1:3,2:5": "1:5", "*": "9", "5:*": "5:9", "*:12": "9:12", "7,1": "1,7", "12:*": "9:12"} {
		d, _ := decoder(t, imapwire.Limits{}, in+"\r\n")
		if got := d.NumSet().Resolve(9).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	d, _ := decoder(t, imapwire.Limits{}, "*\r\n")
	if got := d.NumSet().Resolve(0); got != nil {
		t.Errorf("* of nothing is %s", got)
	}
	if got := string(imapwire.AppendNumList(nil, []mail.UID{3, 4, 5, 1, 9, 10})); got != "3:5,1,9:10" {
		t.Errorf("list is %s", got)
	}
}

func TestMailboxNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"inbox": "INBOX", "InBox/x": "INBOX/x", "inboxes": "inboxes", "Entw&APw-rfe": "Entwürfe", "\"u\u0308\"": "ü"} {
		d, _ := decoder(t, imapwire.Limits{}, in+"\r\n")
		if got := d.Mailbox(false); got != want || d.Err() != nil {
			t.Errorf("%s: %q, %v", in, got, d.Err())
		}
	}
	for name, want := range map[string]string{"INBOX": "INBOX", "a b": `"a b"`, "NIL": `"NIL"`, "Entwürfe": "Entw&APw-rfe", `q"\`: `"q\"\\"`, "a%b": `"a%b"`, "": `""`} {
		if got := string(imapwire.AppendMailbox(nil, name, false)); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	if got := string(imapwire.AppendMailbox(nil, "Entwürfe", true)); got != `"Entwürfe"` {
		t.Errorf("UTF-8 name: %s", got)
	}
}

func TestStringEncoding(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": `""`, "a": `"a"`, "a\r\nb": "{4}\r\na\r\nb", "ü": "{2}\r\nü", strings.Repeat("x", 1001): "{1001}\r\n" + strings.Repeat("x", 1001)} {
		if got := string(imapwire.AppendString(nil, in, false)); got != want {
			t.Errorf("%.20q: %.40q", in, got)
		}
	}
}

func TestFetchItems(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"BODY.PEEK[1.2.HEADER.FIELDS (From to)]<3.4>": "[1.2.HEADER.FIELDS (FROM TO)]<3>",
		"BODY[]":                               "[]",
		"BODY[TEXT]":                           "[TEXT]",
		"body[1.mime]":                         "[1.MIME]",
		"BODY[HEADER.FIELDS.NOT (\"X Y\" {1+}": "",
	} {
		d, _ := decoder(t, imapwire.Limits{}, in+"\r\n")
		items := d.FetchItems()
		if want == "" {
			if d.Err() == nil {
				t.Errorf("%s is taken", in)
			}
			continue
		}
		if d.Err() != nil {
			t.Errorf("%s: %v", in, d.Err())
			continue
		}
		if got := string(imapwire.AppendSection(nil, &items[0].Section, items[0].Partial)); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestSearchTree(t *testing.T) {
	t.Parallel()
	d, _ := decoder(t, imapwire.Limits{}, " RETURN (COUNT) CHARSET utf-8 OR (SEEN 1:2) NOT FROM x LARGER 3\r\n")
	got := d.Search()
	if d.Err() != nil {
		t.Fatal(d.Err())
	}
	want := imapwire.SearchCommand{
		Return: imapwire.ReturnOptions{Extended: true, Count: true}, Charset: "UTF-8",
		Key: imapwire.SearchKey{Op: imapwire.SearchAnd, Keys: []imapwire.SearchKey{
			{Op: imapwire.SearchOr, Keys: []imapwire.SearchKey{
				{Op: imapwire.SearchAnd, Keys: []imapwire.SearchKey{{Op: imapwire.SearchFlag, Flag: mail.Seen}, {Op: imapwire.SearchSeq, Set: imapwire.NumSet{Ranges: []imapwire.NumRange{{First: 1, Last: 2}}}}}},
				{Op: imapwire.SearchNot, Keys: []imapwire.SearchKey{{Op: imapwire.SearchHeader, Field: "FROM", Text: "x"}}},
			}},
			{Op: imapwire.SearchLarger, Num: 3},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestBodyStructure(t *testing.T) {
	t.Parallel()
	env := &message.Envelope{Subject: `"in"`}
	m := &message.Message{Parts: []message.Part{
		{Parent: -1, Type: "multipart", Subtype: "mixed", Params: []message.Param{{Name: "boundary", Value: "b"}}},
		{Parent: 0, Type: "multipart", Subtype: "related"}, // opaque: nothing in it
		{Parent: 0, Type: "message", Subtype: "rfc822", Encoding: "8bit", Envelope: env, Body: 10, End: 30, Lines: 2},
		{Parent: 2, Type: "text", Subtype: "plain", Params: []message.Param{{Name: "name", Value: "ü"}}, Body: 15, End: 20, Lines: 1},
		{Parent: 0, Type: "message", Subtype: "rfc822", Body: 30, End: 40}, // too deep
		{Parent: 0, Type: "image", Subtype: "png", Disposition: "attachment", Language: []string{"de", "en"}, Location: "x"},
	}}
	got := string(imapwire.AppendBodyStructure(nil, m, imapwire.StructureStyle{Extended: true}))
	want := `(("text" "plain" NIL NIL NIL "7bit" 0 0 NIL NIL NIL NIL)` +
		`("message" "rfc822" NIL NIL NIL "8bit" 20 (NIL "\"in\"" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("name*" "utf-8''%C3%BC") NIL NIL "7bit" 5 1 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)` +
		`("application" "octet-stream" NIL NIL NIL "7bit" 10 NIL NIL NIL NIL)` +
		`("image" "png" NIL NIL NIL "7bit" 0 NIL ("attachment" NIL) ("de" "en") "x") "mixed" ("boundary" "b") NIL NIL NIL)`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPartialRange(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		p        imapwire.PartialRange
		n        int
		from, to int
	}{
		{imapwire.PartialRange{First: 1, Last: 3}, 5, 0, 3},
		{imapwire.PartialRange{First: 4, Last: 9}, 5, 3, 5},
		{imapwire.PartialRange{First: 6, Last: 9}, 5, 5, 5},
		{imapwire.PartialRange{First: 1, Last: 2, FromEnd: true}, 5, 3, 5},
		{imapwire.PartialRange{First: 4, Last: 9, FromEnd: true}, 5, 0, 2},
		{imapwire.PartialRange{First: 6, Last: 1<<32 - 1, FromEnd: true}, 5, 0, 0},
		{imapwire.PartialRange{First: 1, Last: 1}, 0, 0, 0},
	} {
		if from, to := tc.p.Bounds(tc.n); from != tc.from || to != tc.to {
			t.Errorf("%+v of %d is [%d, %d), want [%d, %d)", tc.p, tc.n, from, to, tc.from, tc.to)
		}
	}
}
