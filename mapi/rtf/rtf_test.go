package rtf

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const fixtures = "../../../shared/fixtures/rtf"

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixtures, name))
	if err != nil {
		t.Skip("no fixture: ", err)
	}
	return b
}

// squeeze takes out what does not show: blank space.
func squeeze(s string) string { return strings.Join(strings.Fields(s), "") }

// Where our HTML is not what the fixture expects, and why ours is right:
//
//	bulletnumber, ..., unicode   expected without the line ends that Outlook writes as \par, so blank space is not compared
//	newlines, cpg1200            \fromtext: the expected file wraps the text in a <div>; we return text
func TestUnwrapHTML(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"mazira__encapsulated.rtf":                            "mazira__encapsulated.html",
		"rtf2html__in_bulletnumber-test.rtf":                  "rtf2html__outlookout_bulletnumber-test.html",
		"rtf2html__in_chinese-exotic-test.rtf":                "rtf2html__outlookout_chinese-exotic-test.html",
		"rtf2html__in_complex-test.rtf":                       "rtf2html__outlookout_complex-test.html",
		"rtf2html__in_hebrew-test.rtf":                        "rtf2html__outlookout_hebrew-test.html",
		"rtf2html__in_mixed-charsets-test.rtf":                "rtf2html__outlookout_mixed-charsets-test.html",
		"rtf2html__in_russian-test.rtf":                       "rtf2html__outlookout_russian-test.html",
		"rtf2html__in_simple-test.rtf":                        "rtf2html__outlookout_simple-test.html",
		"rtf2html__in_unicode-test.rtf":                       "rtf2html__outlookout_unicode-test.html",
		"rtf2html__in_chinese-fontbased-charset-override.rtf": "rtf2html__outlookout_chinese-fontbased-charset-override-test.html",
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			got, form := Unwrap(fixture(t, in))
			if form != HTML {
				t.Fatalf("form %d", form)
			}
			g, w := squeeze(got), squeeze(string(fixture(t, want)))
			for i := range min(len(g), len(w)) {
				if g[i] != w[i] {
					t.Fatalf("differs at %d:\n got %q\nwant %q", i, g[max(0, i-60):min(len(g), i+60)], w[max(0, i-60):min(len(w), i+60)])
				}
			}
			if len(g) != len(w) {
				t.Fatalf("%d bytes, want %d: %q %q", len(g), len(w), g[min(len(g), len(w)):], w[min(len(g), len(w)):])
			}
		})
	}
}

func TestUnwrapText(t *testing.T) {
	t.Parallel()
	got, form := Unwrap(fixture(t, "mazira__jis-test.rtf"))
	want := strings.TrimRight(string(fixture(t, "mazira__jis-test.txt")), "\r\n")
	if form != Text || strings.TrimRight(strings.ReplaceAll(got, "\r\n", "\n"), "\n") != strings.ReplaceAll(want, "\r\n", "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
	got, _ = Unwrap(fixture(t, "mazira__cpg1200.rtf"))
	if want := "Plain text body: ! < > \" ' € œ ¤ ´ ¼ ½ 𠜎 𩶘 😀\r\n"; strings.ReplaceAll(got, "\u00a0", " ") != want {
		t.Errorf("got %q", got)
	}
}

func TestDecompress(t *testing.T) {
	t.Parallel()
	// The examples of [MS-OXRTFCP] 4.1 and 4.2.
	for _, c := range []struct{ in, want string }{
		{"\x2d\x00\x00\x00\x2b\x00\x00\x00LZFu\xf1\xc5\xc7\xa7\x03\x00\x0a\x00rcpg125B2\x0a\xf3 hel\x09\x00 bw\x05\xb0ld}\x0a\x80\x0f\xa0",
			"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"},
		{"\x1a\x00\x00\x00\x1c\x00\x00\x00LZFu\xe2\xd4KQA\x00\x04 WXYZ\rn}\x01\x0e\xb0", "{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"},
	} {
		got, err := Decompress([]byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("got %q, %v; want %q", got, err, c.want)
		}
	}
	got, err := Decompress(fixture(t, "rubymsg-LZFu__test_rtf.data"))
	// The file's own checksum is wrong; its text is whole.
	if err != ErrCRC || len(got) != 0x1e2 || !bytes.HasPrefix(got, []byte(`{\rtf1`)) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if _, err := Decompress([]byte("\x1a\x00\x00\x00\x1c\x00\x00\x00LZFu\xe2\xd4KRA\x00\x04 WXYZ\rn}\x01\x0e\xb0")); err != ErrCRC {
		t.Errorf("a wrong checksum gives %v", err)
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	in := `{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Arial;}{\f1\fcharset128 MS Gothic;}}{\colortbl;\red255\green0\blue0;}` +
		`\pard\qc\b Bold\b0  \cf1 red\cf0 \f1\'93\'fa\f0\par {\field{\*\fldinst HYPERLINK "http://a.example/"}{\fldrslt link}}` +
		`{\field{\*\fldinst HYPERLINK "javascript:x"}{\fldrslt no}}\par\trowd\intbl a\cell b\cell\row\pard <end>\u9731?\par}`
	got := Render([]byte(in))
	for _, want := range []string{"<b>Bold</b>", "color:#ff0000", "日", `<a href="http://a.example/">`, "&lt;end&gt;☃", "text-align:center", "</td></tr>", "</table>"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if strings.Contains(got, "javascript") {
		t.Error("a script link stays")
	}
	if got, want := PlainText([]byte(in)), "Bold red日\r\nlinkno\r\na\tb\t\r\n<end>☃\r\n"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	deep := `{\rtf1 ` + strings.Repeat("{", 100000) + "x" + strings.Repeat("}", 100000) + "y}"
	if got := PlainText([]byte(deep)); got != "xy" {
		t.Errorf("got %q", got)
	}
}

func FuzzDecompress(f *testing.F) {
	f.Add([]byte("\x1a\x00\x00\x00\x1c\x00\x00\x00LZFu\xe2\xd4KQA\x00\x04 WXYZ\rn}\x01\x0e\xb0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, _ := Decompress(b); len(out) > 9*len(b)+dictSize {
			t.Errorf("%d bytes of %d", len(out), len(b))
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{`{\rtf1\ansi\fromhtml1{\fonttbl{\f0\fcharset128 x;}}{\*\htmltag64 <p>}\htmlrtf x\htmlrtf0\u-10179?\'93}`,
		`{\rtf1\trowd\intbl a\cell\row\bin3 xyz{\field{\*\fldinst HYPERLINK "a"}{\fldrslt b}}}`, `{\rtf1\ansicpg65000\'2b\fromtext`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		Unwrap(b)
		PlainText(b)
		Render(b)
	})
}
