package files

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// readAll returns the messages of an mbox file.
func readAll(t testing.TB, path string) ([]migrate.Item, []string) {
	t.Helper()
	m := &mbox{path: path}
	_, items, err := m.scan()
	if err != nil {
		t.Fatal(err)
	}
	var bodies []string
	for _, it := range items {
		r, err := m.open(it)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(newCRLFReader(r))
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		bodies = append(bodies, string(b))
	}
	return items, bodies
}

func TestMboxDialects(t *testing.T) {
	t.Parallel()
	const from = "From a@example.org Thu May  1 12:00:00 2003\n"
	const nested = "one\n\n" + from + "Subject: forwarded\n\n>From x\n"
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"one":                      {from + "Subject: a\n\ntext\n\n", []string{"Subject: a\r\n\r\ntext\r\n"}},
		"no line end at the end":   {from + "Subject: a\n\ntext", []string{"Subject: a\r\n\r\ntext"}},
		"two":                      {from + "Subject: a\n\ntext\n\n" + from + "Subject: b\n\nmore\n\n", []string{"Subject: a\r\n\r\ntext\r\n", "Subject: b\r\n\r\nmore\r\n"}},
		"CRLF":                     {strings.ReplaceAll(from+"Subject: a\n\ntext\n\n"+from+"Subject: b\n\nmore\n\n", "\n", "\r\n"), []string{"Subject: a\r\n\r\ntext\r\n", "Subject: b\r\n\r\nmore\r\n"}},
		"mboxrd quoting":           {from + "Subject: a\n\n>From here\n>>From there\n> From no\n\n", []string{"Subject: a\r\n\r\nFrom here\r\n>From there\r\n> From no\r\n"}},
		"From in the text":         {from + "Subject: a\n\none\n\nFrom here on it is text\nand more\n\n", []string{"Subject: a\r\n\r\none\r\n\r\nFrom here on it is text\r\nand more\r\n"}},
		"Content-Length":           {from + fmt.Sprintf("Content-Length: %d\nSubject: a\n\n", len(nested)) + nested + "\n" + from + "Subject: b\n\n", []string{"Subject: a\r\n\r\none\r\n\r\n" + strings.TrimSuffix(from, "\n") + "\r\nSubject: forwarded\r\n\r\n>From x\r\n", "Subject: b\r\n\r\n"}},
		"Content-Length that lies": {from + "Content-Length: 7\nSubject: a\n\ntext\n\n" + from + "Subject: b\n\n", []string{"Subject: a\r\n\r\ntext\r\n", "Subject: b\r\n\r\n"}},
		"empty lines at the end":   {from + "Subject: a\n\ntext\n\n\n\n" + from + "Subject: b\n\n", []string{"Subject: a\r\n\r\ntext\r\n\r\n\r\n", "Subject: b\r\n\r\n"}},
		"Thunderbird's bare From":  {"From \nX-Mozilla-Status: 0001\nSubject: a\n\ntext\n\nFrom \nX-Mozilla-Status: 0000\nSubject: b\n\n", []string{"Subject: a\r\n\r\ntext\r\n", "Subject: b\r\n\r\n"}},
		"no header":                {from + "\ntext\n\n" + from + "\nmore\n", []string{"\r\ntext\r\n", "\r\nmore\r\n"}},
		"folded Status":            {from + "Status: R\n O\nX-Keywords: a\n b\nSubject: a\n\n", []string{"Subject: a\r\n\r\n"}},
		"c-client's own message":   {from + "From: Mail System\nSubject: DON'T DELETE THIS MESSAGE\nX-IMAP: 1051790400 0000000017\n\nThis text\n\n" + from + "Subject: b\n\n", []string{"Subject: b\r\n\r\n"}},
		"empty":                    {"", nil},
		"long line":                {from + "Subject: a\n\n" + strings.Repeat("x", 200_000) + "\n\n" + from + "Subject: b\n\n", []string{"Subject: a\r\n\r\n" + strings.Repeat("x", 200_000) + "\r\n", "Subject: b\r\n\r\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "mbox")
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			_, got := readAll(t, path)
			if fmt.Sprintf("%.300q", got) != fmt.Sprintf("%.300q", c.want) {
				t.Errorf("messages are\n%.300q, want\n%.300q", got, c.want)
			}
		})
	}
}

func TestMboxMarks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mbox")
	text := "From - Sat May 20 10:24:49 2017 +0200\nX-Mozilla-Status: 1007\nX-Mozilla-Keys: $label1 bad]word\nSubject: a\n\n\n" +
		"From x@example.org\nStatus: RO\nX-Status: AFDT\nDate: Thu, 01 May 2003 12:00:00 +0530\nSubject: b\n\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	items, _ := readAll(t, path)
	if len(items) != 2 {
		t.Fatalf("%d messages, want 2", len(items))
	}
	if a := items[0]; a.Flags != mail.Seen|mail.Answered|mail.Flagged || a.Keywords.String() != "$Forwarded $label1" || a.Date.Time().Format(time.RFC3339) != "2017-05-20T10:24:49+02:00" {
		t.Errorf("first: %s, %s, %s", a.Flags, a.Keywords, a.Date.Time())
	}
	if b := items[1]; b.Flags != mail.Seen|mail.Answered|mail.Flagged|mail.Deleted|mail.Draft || b.Date.Time().Format(time.RFC3339) != "2003-05-01T12:00:00+05:30" {
		t.Errorf("second: %s, %s", b.Flags, b.Date.Time())
	}
}

// TestMboxGrows adds messages and changes flags: what was there keeps its key.
func TestMboxGrows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mbox")
	keys := func(text string) string {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		items, _ := readAll(t, path)
		var keys []string
		for _, it := range items {
			keys = append(keys, it.Key)
		}
		return strings.Join(keys, " ")
	}
	const from = "From a@example.org Thu May  1 12:00:00 2003\n"
	before := keys(from + "Subject: a\n\ntext\n\n" + from + "Subject: a\n\ntext\n")
	after := keys(from + "Status: RO\nSubject: a\n\ntext\n\n" + from + "Subject: a\n\ntext\n\n" + from + "Subject: c\n\n")
	if !strings.HasPrefix(after, before+" ") || strings.Fields(before)[0] == strings.Fields(before)[1] {
		t.Errorf("keys were %s and are %s", before, after)
	}
}

func TestMboxFixtures(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "..", "..", "..", "shared", "fixtures", "mbox")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the fixtures are not here")
	}
	for name, want := range map[string]int{
		"apache__complex.mbox": 3, "apache__headers.mbox": 1, "apache__multiline.mbox": 1, "apache__multiline2.mbox": 1, "apache__quoted.mbox": 1,
		"apache__simple.mbox": 2, "apache__single_mail.mbox": 1, "apache__testMBOX_complex.mbox": 1,
		"apache__testMBOX_lengthy_x-headers.mbox": 1, "aspose-email__ExampleMbox.mbox": 1, "hoover__shapelib.mbox": 30,
	} {
		items, bodies := readAll(t, filepath.Join(dir, name))
		if len(items) != want {
			t.Errorf("%s has %d messages, want %d", name, len(items), want)
		}
		for i, b := range bodies {
			if strings.HasPrefix(b, "From ") || len(b) == 0 {
				t.Errorf("%s: message %d starts with its From_ line or is empty", name, i)
			}
		}
	}
}

func FuzzMbox(f *testing.F) {
	f.Add([]byte("From a Thu May  1 12:00:00 2003\nStatus: RO\nContent-Length: 5\n\ntext\n\nFrom b Thu May  1 12:00:00 2003\n\n"))
	f.Add([]byte("From \nX-Mozilla-Status: 0001\n\n>From x\r\n\r\nFrom "))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "mbox")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		items, bodies := readAll(t, path)
		total := 0
		for i, it := range items {
			if it.Size < 0 {
				t.Errorf("message %d has %d bytes", i, it.Size)
			}
			total += strings.Count(bodies[i], "\n")
		}
		if total > bytes.Count(b, []byte("\n"))+len(items) {
			t.Errorf("%d lines came out of %d", total, bytes.Count(b, []byte("\n")))
		}
	})
}

func TestCRLF(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "a": "a", "a\nb": "a\r\nb", "a\r\nb\n": "a\r\nb\r\n", "\n\n": "\r\n\r\n", "a\rb": "a\rb", "\r\n": "\r\n", "\r\r\n": "\r\r\n",
		strings.Repeat("x", 32<<10-1) + "\r\ny": strings.Repeat("x", 32<<10-1) + "\r\ny",
		strings.Repeat("x", 64<<10) + "\ny\n":   strings.Repeat("x", 64<<10) + "\r\ny\r\n",
	} {
		got, err := io.ReadAll(newCRLFReader(strings.NewReader(in)))
		if err != nil || string(got) != want {
			t.Errorf("%.40q becomes %.40q, want %.40q: %v", in, got, want, err)
		}
	}
}
