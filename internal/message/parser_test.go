package message

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// parse reads raw in one piece.
func parse(raw string) *Message { return parseChunks(Limits{}, raw, nil, len(raw)) }

// parseChunks reads raw in pieces of n bytes.
func parseChunks(lim Limits, raw string, text *bytes.Buffer, n int) *Message {
	var p *Parser
	if text == nil {
		p = NewParser(lim, nil)
	} else {
		p = NewParser(lim, text)
	}
	for b := []byte(raw); len(b) > 0; {
		k := min(max(n, 1), len(b))
		// A copy, so that a Parser that keeps a slice of it is found out.
		piece := bytes.Clone(b[:k])
		p.Write(piece)
		for i := range piece {
			piece[i] = 0xAA
		}
		b = b[k:]
	}
	return p.Finish()
}

// outline shows the parts of m, one a line: section depth, type, body as it is
// cut from raw, and number of lines.
func outline(m *Message, raw string) string {
	var b strings.Builder
	for i, p := range m.Parts {
		depth := 0
		for j := i; m.Parts[j].Parent >= 0; j = m.Parts[j].Parent {
			depth++
		}
		body := raw[p.Body:p.End]
		if len(m.Children(i)) > 0 {
			body = "…"
		}
		fmt.Fprintf(&b, "%s%s/%s %d %q\n", strings.Repeat(" ", depth), p.Type, p.Subtype, p.Lines, body)
	}
	return b.String()
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

var structureTests = []struct {
	name, raw, want string
}{
	{"empty", "", "text/plain 0 \"\"\n"},
	{"header only", "Subject: x", "text/plain 0 \"\"\n"},
	{"header only, line end", "Subject: x\n", "text/plain 0 \"\"\n"},
	{"plain", "Subject: x\n\na\nb\n", "text/plain 2 \"a\\nb\\n\"\n"},
	{"no last line end", "Subject: x\n\na\nb", "text/plain 1 \"a\\nb\"\n"},
	{"no header", "\nbody\n", "text/plain 1 \"body\\n\"\n"},
	{"CRLF", "Subject: x\r\n\r\na\r\n", "text/plain 1 \"a\\r\\n\"\n"},
	{"CR CR LF", "Subject: x\r\r\n\r\r\na\r\r\n", "text/plain 1 \"a\\r\\r\\n\"\n"},
	{"bare CR", "Subject: x\rTo: y\r\ra\rb\r", "text/plain 2 \"a\\rb\\r\"\n"},
	{"bare CR inside", "Subject: x\r\nTo: y\rz\r\n\r\na\rb\r\n", "text/plain 1 \"a\\rb\\r\\n\"\n"},
	{"From line", "From ajay Mon Jan  5 10:00:00 2004\nSubject: x\n\na\n", "text/plain 1 \"a\\n\"\n"},
	{"multipart", crlf("Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\none\n--b\nContent-Type: text/html\n\n<p>\n--b--\npost\n"),
		"multipart/mixed 10 \"…\"\n text/plain 0 \"one\"\n text/html 0 \"<p>\"\n"},
	{"bare LF multipart", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n\n--b--\n",
		"multipart/mixed 5 \"…\"\n text/plain 1 \"one\\n\"\n"},
	{"empty part body", crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b\nX: y\n\n--b--\n"),
		"multipart/mixed 6 \"…\"\n text/plain 0 \"\"\n text/plain 0 \"\"\n"},
	{"part without blank line", crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nX: y\n--b--\n"),
		"multipart/mixed 3 \"…\"\n text/plain 0 \"\"\n"},
	{"unterminated", crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n"),
		"multipart/mixed 3 \"…\"\n text/plain 1 \"one\\r\\n\"\n"},
	{"no boundary parameter", "Content-Type: multipart/mixed\n\n--b\n\none\n", "multipart/mixed 3 \"--b\\n\\none\\n\"\n"},
	{"boundary never seen", "Content-Type: multipart/mixed; boundary=b\n\none\n", "multipart/mixed 1 \"one\\n\"\n"},
	{"delimiter without line end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--",
		"multipart/mixed 3 \"…\"\n text/plain 0 \"one\"\n"},
	{"padding behind the boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b \t\n\none\n--b-- \n",
		"multipart/mixed 4 \"…\"\n text/plain 0 \"one\"\n"},
	{"inner not terminated", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--a\n\ntwo\n--a--\n",
		"multipart/mixed 10 \"…\"\n multipart/mixed 2 \"…\"\n  text/plain 0 \"one\"\n text/plain 0 \"two\"\n"},
	{"inner shares prefix", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\n\none\n--ab--\n--a\n\ntwo\n--a--\n",
		"multipart/mixed 11 \"…\"\n multipart/mixed 3 \"…\"\n  text/plain 0 \"one\"\n text/plain 0 \"two\"\n"},
	{"outer is the longer", "Content-Type: multipart/mixed; boundary=ab\n\n--ab\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a--\n--ab\n\ntwo\n--ab--\n",
		"multipart/mixed 11 \"…\"\n multipart/mixed 3 \"…\"\n  text/plain 0 \"one\"\n text/plain 0 \"two\"\n"},
	{"inner has the same", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a--\n--a\n\ntwo\n--a--\n",
		"multipart/mixed 11 \"…\"\n multipart/mixed 3 \"…\"\n  text/plain 0 \"one\"\n text/plain 0 \"two\"\n"},
	{"message", crlf("Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\nSubject: in\n\nx\n--a--\n"),
		"multipart/mixed 7 \"…\"\n message/rfc822 2 \"…\"\n  text/plain 0 \"x\"\n"},
	{"message with header only", crlf("Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\nSubject: in\n--a--\n"),
		"multipart/mixed 5 \"…\"\n message/rfc822 0 \"…\"\n  text/plain 0 \"\"\n"},
	{"digest", crlf("Content-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: in\n\nx\n--a--\n"),
		"multipart/digest 6 \"…\"\n message/rfc822 2 \"…\"\n  text/plain 0 \"x\"\n"},
	{"message at the end", "Content-Type: message/rfc822\n\n", "message/rfc822 0 \"…\"\n text/plain 0 \"\"\n"},
	{"no subtype", "Content-Type: text\n\nx", "text/plain 0 \"x\"\n"},
	{"garbage type", "Content-Type: ;;; \"\n\nx", "text/plain 0 \"x\"\n"},
	{"folded boundary", "Content-Type: multipart/mixed;\n\tboundary=\"=_b c\"\n\n--=_b c\n\none\n--=_b c--\n",
		"multipart/mixed 4 \"…\"\n text/plain 0 \"one\"\n"},
}

func TestStructure(t *testing.T) {
	t.Parallel()
	for _, tt := range structureTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := parse(tt.raw)
			if got := outline(m, tt.raw); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
			checkMessage(t, m, tt.raw)
		})
	}
}

// checkMessage checks what holds for every message.
func checkMessage(t *testing.T, m *Message, raw string) {
	t.Helper()
	if m.Size != int64(len(raw)) {
		t.Errorf("Size = %d, want %d", m.Size, len(raw))
	}
	if !m.sound() {
		t.Errorf("offsets are not sound: %+v", m.Parts)
	}
	eol := "\n"
	if i := strings.IndexAny(raw, "\r\n"); i >= 0 && i+1 < len(raw) && raw[i] == '\r' && raw[i+1] > ' ' && raw[i+1] < 0x7f {
		eol = "\r"
	}
	for i, p := range m.Parts {
		if n := strings.Count(raw[p.Body:p.End], eol); int64(n) != p.Lines {
			t.Errorf("part %d: Lines = %d, but its body has %d", i, p.Lines, n)
		}
		if p.Parent >= 0 && p.End > m.Parts[p.Parent].End {
			t.Errorf("part %d ends at %d, behind its parent's end at %d", i, p.End, m.Parts[p.Parent].End)
		}
		if kids := m.Children(i); len(kids) > 0 && p.IsMessage() != (p.Envelope != nil) {
			t.Errorf("part %d: %s/%s with envelope %v", i, p.Type, p.Subtype, p.Envelope)
		}
	}
	back, err := Decode(m.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, back) {
		t.Errorf("Append and Decode give\n%+v\nof\n%+v", back, m)
	}
}

// corpus returns the messages of the structure tests and the fixtures.
func corpus(t testing.TB) map[string]string {
	all := map[string]string{}
	for _, tt := range structureTests {
		all[tt.name] = tt.raw
	}
	for _, pattern := range []string{"eml/*", "mbox/*", "msg-expected/*"} {
		files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "fixtures", filepath.FromSlash(pattern)))
		if len(files) == 0 {
			t.Logf("no fixtures %s", pattern)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.Base(f)] = string(b)
		}
	}
	return all
}

func TestChunks(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewSource(1))
	for name, raw := range corpus(t) {
		var wantText bytes.Buffer
		want := parseChunks(Limits{}, raw, &wantText, len(raw))
		checkMessage(t, want, raw)
		for _, n := range []int{1, 2, 3, 7, 64, 1000 + r.Intn(3000)} {
			var text bytes.Buffer
			got := parseChunks(Limits{}, raw, &text, n)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s in pieces of %d:\n%s\nwant\n%s", name, n, outline(got, raw), outline(want, raw))
			}
			if text.String() != wantText.String() {
				t.Errorf("%s in pieces of %d has another text", name, n)
			}
		}
	}
}
