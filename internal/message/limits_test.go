package message

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	var parts, deep, messages strings.Builder
	parts.WriteString("Content-Type: multipart/mixed; boundary=b\n\n")
	for i := range 20_000 {
		fmt.Fprintf(&parts, "--b\nContent-Description: %d\n\nx\n", i)
	}
	parts.WriteString("--b--\n")
	for i := range 1000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%04d\n\n--b%04d\n", i, i)
	}
	deep.WriteString("\nx\n")
	messages.WriteString(strings.Repeat("Content-Type: message/rfc822\n\n", 1000) + "Subject: x\n\nx\n")
	for _, tt := range []struct {
		name, raw string
		lim       Limits
		parts     int
	}{
		{"20,000 parts", parts.String(), Limits{}, 10_000},
		{"20,000 parts, all allowed", parts.String(), Limits{Parts: 30_000}, 20_001},
		{"1,000 multiparts deep", deep.String(), Limits{}, 101},
		{"1,000 multiparts deep, all allowed", deep.String(), Limits{Depth: 1000}, 1001},
		{"1,000 messages deep", messages.String(), Limits{}, 101},
		{"1,000 messages deep, all allowed", messages.String(), Limits{Depth: 1000}, 1001},
		{"a header line of 10 MB", "Subject: " + strings.Repeat("x", 10<<20) + "\nTo: a@x.org\n\nx", Limits{Headers: 20 << 20}, 1},
		{"a header line of 10 MB and nothing behind", "Subject: " + strings.Repeat("x", 10<<20), Limits{}, 1},
		{"many header lines", strings.Repeat("To: a@x.org,b@x.org\n", 100_000) + "\nx", Limits{}, 1},
		{"a body line of 10 MB", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + strings.Repeat("-", 10<<20) + "\n--b--", Limits{}, 2},
		{"a delimiter line of 10 MB", "Content-Type: multipart/mixed; boundary=b\n\n--b" + strings.Repeat("-", 10<<20) + "\n", Limits{}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := parseChunks(tt.lim, tt.raw, nil, 4096)
			if len(m.Parts) != tt.parts {
				t.Errorf("%d parts, want %d", len(m.Parts), tt.parts)
			}
			checkMessage(t, m, tt.raw)
			if n := len(m.Append(nil)); n > 2*(8<<20) {
				t.Errorf("%d bytes are kept", n)
			}
		})
	}
}

// TestPartsBeyondLimit checks that what is beyond the limit stays in its parent
// and does not lengthen the last part.
func TestPartsBeyondLimit(t *testing.T) {
	t.Parallel()
	raw := "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b\n\nthree\n--b--\n"
	m := parseChunks(Limits{Parts: 3}, raw, nil, 5)
	want := "multipart/mixed 10 \"…\"\n text/plain 0 \"one\"\n text/plain 0 \"two\"\n"
	if got := outline(m, raw); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestMemory feeds 256 MB of every kind of thing and looks at the heap.
func TestMemory(t *testing.T) {
	for name, piece := range map[string]string{
		"body":       "x\n",
		"base64":     "QUJD\n",
		"parts":      "--b\nContent-Description: " + strings.Repeat("x", 2000) + "\n\n\n",
		"recipients": "--b\nContent-Type: message/rfc822\n\nTo: " + strings.Repeat("a,", 1000) + "\nReferences: " + strings.Repeat("<a>", 300) + "\n\n",
		"html":       "--b\nContent-Type: text/html\n\n<a b=\"" + strings.Repeat("&", 2000) + "\n",
		"charset":    "--b\nContent-Type: text/plain; charset=iso-2022-jp\n\n\x1b$B\n",
	} {
		block := []byte(strings.Repeat(piece, max(1, (1<<20)/len(piece))))
		p := NewParser(Limits{}, io.Discard)
		io.WriteString(p, "Content-Type: multipart/mixed; boundary=b\n\n")
		for range 64 {
			p.Write(block)
		}
		m := p.Finish()
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		t.Logf("%s: %d parts, heap %d KiB", name, len(m.Parts), stats.HeapAlloc>>10)
		if stats.HeapAlloc > 64<<20 {
			t.Errorf("%s: the heap holds %d KiB", name, stats.HeapAlloc>>10)
		}
		runtime.KeepAlive(p)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, raw, text, preview string }{
		{"header", "Subject: =?utf-8?q?M=C3=BC?=\n\nx  y\n", "Subject: Mü\nx  y\n\n", "x y"},
		{"Latin-1", "Content-Type: text/plain; charset=iso-8859-1\n\n\xfc", "Content-Type: text/plain; charset=iso-8859-1\n\u00fc\n", "ü"},
		{"wrong charset", "Content-Type: text/plain; charset=utf-8\n\n\xfc\xc3\xbc", "Content-Type: text/plain; charset=utf-8\n\u00fcü\n", "üü"},
		{"unknown charset", "Content-Type: text/plain; charset=x\n\n\xc3\xbc", "Content-Type: text/plain; charset=x\nü\n", "ü"},
		{"Shift_JIS", "Content-Type: text/plain; charset=cp932\n\n\x8c\xda\x8bq", "Content-Type: text/plain; charset=cp932\n顧客\n", "顧客"},
		{"base64", "Content-Transfer-Encoding: base64\n\nw7x4\nIHk=\nIHo", "Content-Transfer-Encoding: base64\nüx y z\n", "üx y z"},
		{"quoted-printable", "Content-Transfer-Encoding: quoted-printable\n\n=C3=BC=\n x =\r\ny=zz =3", "Content-Transfer-Encoding: quoted-printable\nü x y=zz =3\n", "ü x y=zz =3"},
		{"unknown encoding", "Content-Transfer-Encoding: x\n\na=41", "Content-Transfer-Encoding: x\na=41\n", "a=41"},
		{"HTML", "Content-Type: text/html\n\n<html><head><title>t</title><style>p{}</style></head><body a='>'><p>M&uuml;ller &amp; S&ouml;hne</p><!-- x > y --><script>a<b</script>1 < 2 &unknown; &#8364;<br>x<b>y</b>",
			"Content-Type: text/html\n\n\n\n\n\nMüller & Söhne\n1 < 2 &unknown; €\nxy\n", "Müller & Söhne 1 < 2 &unknown; € xy"},
		{"names", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/pdf; name=\"=?utf-8?q?=C3=BC?=.pdf\"\nContent-Disposition: attachment; filename*=utf-8''%C3%A4.pdf\nContent-Description: of it\n\nxx\n--b--",
			"Content-Type: multipart/mixed; boundary=b\nü.pdf\nä.pdf\nof it\n", ""},
		{"attachment of text", "Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\nContent-Disposition: attachment; filename=a.txt\n\nfirst\n--b\n\nsecond\n--b--",
			"Content-Type: multipart/mixed; boundary=b\na.txt\nfirst\n\nsecond\n\n", "second"},
		{"message inside", "Content-Type: message/rfc822\n\nSubject: in\n\nx", "Content-Type: message/rfc822\nSubject: in\nx\n", "x"},
		{"invisible filler", "\n\u200b\u034f\ufeff a\u00ad \u00a0 b", "\u200b\u034f\ufeff a\u00ad \u00a0 b\n", "a b"},
		{"long", "\n" + strings.Repeat("ü", 300), strings.Repeat("ü", 300) + "\n", strings.Repeat("ü", 256)},
		{"UTF-7", "Content-Type: text/plain; charset=utf-7\n\nM+APw-ller +- +2D3cqQ-", "Content-Type: text/plain; charset=utf-7\nMüller + \U0001f4a9\n", "Müller + \U0001f4a9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var text bytes.Buffer
			m := parseChunks(Limits{}, tt.raw, &text, 3)
			if text.String() != tt.text {
				t.Errorf("text %q, want %q", text.String(), tt.text)
			}
			if m.Preview != tt.preview {
				t.Errorf("preview %q, want %q", m.Preview, tt.preview)
			}
		})
	}
}

// fieldRecorder is a FieldWriter.
type fieldRecorder struct{ bytes.Buffer }

func (r *fieldRecorder) WriteField(name, value string) { fmt.Fprintf(r, "[%s|%s]", name, value) }

func TestFieldWriter(t *testing.T) {
	t.Parallel()
	var r fieldRecorder
	p := NewParser(Limits{}, &r)
	io.WriteString(p, "Subject: a\n b\nContent-Type: message/rfc822\n\nSubject: in\n\nx")
	p.Finish()
	if want := "[Subject|a b][Content-Type|message/rfc822]Subject: in\nx\n"; r.String() != want {
		t.Errorf("got %q, want %q", r.String(), want)
	}
}

// failingWriter takes n bytes.
type failingWriter struct{ n int }

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.n -= len(b); w.n < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

func TestFailingText(t *testing.T) {
	t.Parallel()
	for n := range 40 {
		p := NewParser(Limits{}, &failingWriter{n})
		io.WriteString(p, "Subject: abc\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n--b\n\nthere\n--b--\n")
		if m := p.Finish(); len(m.Parts) != 3 || m.Preview != "hello" || m.Parts[1].Lines != 0 {
			t.Errorf("text failed after %d bytes: %+v", n, m)
		}
	}
}

func TestTransferReader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ encoding, in, want string }{
		{"", "a=41", "a=41"},
		{"base64", "aGVsbG8\r\n gd29ybGQ=", "hello world"},
		{"base64", "aGVsbG8gd29ybGQ", "hello world"},
		{"quoted-printable", "h=C3=\r\n=BC=4", "hü=4"},
	} {
		r, ok := NewTransferReader(strings.NewReader(tt.in), tt.encoding)
		if !ok {
			t.Fatalf("%q is not known", tt.encoding)
		}
		if err := iotest.TestReader(r, []byte(tt.want)); err != nil {
			t.Errorf("%s of %q: %v", tt.encoding, tt.in, err)
		}
	}
	if _, ok := NewTransferReader(nil, "x-uuencode"); ok {
		t.Error("x-uuencode is known")
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	raw := "Content-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a\nContent-Type: message/rfc822\n\n\nplain\n--a\nContent-Type: message/rfc822\n\n" +
		"Content-Type: multipart/alternative; boundary=b\n\n--b\n\nx\n--b\nContent-Type: text/html\n\n<y>\n--b--\n--a--\n"
	m := parse(raw)
	for _, tt := range []struct {
		section []int
		want    int // -1: none
	}{
		{nil, 0}, {[]int{1}, 1}, {[]int{1, 1}, -1}, {[]int{2}, 2}, {[]int{2, 1}, 3}, {[]int{2, 2}, -1}, {[]int{2, 1, 1}, -1},
		{[]int{3}, 4}, {[]int{3, 1}, 6}, {[]int{3, 2}, 7}, {[]int{3, 3}, -1}, {[]int{4}, -1}, {[]int{0}, -1}, {[]int{-1}, -1},
	} {
		i, ok := m.Find(tt.section)
		if !ok {
			i = -1
		}
		if i != tt.want {
			t.Errorf("Find(%v) = %d, want %d", tt.section, i, tt.want)
		}
	}
	if i, ok := parse("Subject: x\n\ny").Find([]int{1}); i != 0 || !ok {
		t.Errorf("section 1 of a plain message is %d, %t", i, ok)
	}
}

func TestDecodeDamaged(t *testing.T) {
	t.Parallel()
	enc := parse(structureTests[len(structureTests)-1].raw).Append(nil)
	for i := range enc {
		if _, err := Decode(enc[:i]); err == nil {
			t.Errorf("the first %d of %d bytes are accepted", i, len(enc))
		}
	}
	if _, err := Decode(append(enc, 0)); err == nil {
		t.Error("a byte too many is accepted")
	}
	enc[0]++
	if _, err := Decode(enc); err == nil {
		t.Error("another version is accepted")
	}
}
