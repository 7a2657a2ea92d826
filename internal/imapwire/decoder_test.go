package imapwire_test

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"expost/internal/imapwire"
)

// decoder returns a Decoder that has read the first line of input, and the
// number of literals it was asked for.
func decoder(t testing.TB, lim imapwire.Limits, input string) (*imapwire.Decoder, *int) {
	t.Helper()
	asked := 0
	d := imapwire.NewDecoder(lim, func() error { asked++; return nil })
	if err := d.Next(bufio.NewReaderSize(strings.NewReader(input), 16)); err != nil {
		t.Fatalf("reading %.50q: %v", input, err)
	}
	return d, &asked
}

func TestStrings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in, want string
		asked          int
	}{
		{"atom", "abc]x\r\n", "abc]x", 0},
		{"bare LF", "abc\n", "abc", 0},
		{"quoted", `"a b"` + "\r\n", "a b", 0},
		{"escapes", `"a\"b\\c"` + "\r\n", `a"b\c`, 0},
		{"empty", `""` + "\r\n", "", 0},
		{"longer than the buffer", `"` + strings.Repeat("x", 100) + `"` + "\r\n", strings.Repeat("x", 100), 0},
		{"literal", "{5}\r\na\r\nb \r\n", "a\r\nb ", 1},
		{"non-synchronizing literal", "{3+}\r\nabc\r\n", "abc", 0},
		{"LITERAL-", "{3-}\r\nabc\r\n", "abc", 0},
		{"literal8", "~{3}\r\na\x00b\r\n", "a\x00b", 1},
		{"UTF-8 in quotes", "\"ü\"\r\n", "ü", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d, asked := decoder(t, imapwire.Limits{}, tc.in)
			got := d.AString()
			if d.End(); d.Err() != nil || got != tc.want || *asked != tc.asked {
				t.Errorf("got %q, asked %d times, error %v", got, *asked, d.Err())
			}
		})
	}
}

func TestBadStrings(t *testing.T) {
	t.Parallel()
	for in, at := range map[string]int64{
		"\r\n":                   0,
		"(\r\n":                  0,
		"\"abc\r\n":              0,
		"\"a\x00b\"\r\n":         0,
		"{3}x\r\n":               3,
		"{}\r\n":                 1,
		"{3\r\n":                 2,
		"{-1}\r\n":               1,
		"{2+}\r\na\x00\r\n":      8,
		"{9999999999+}\r\n":      12,
		"{99999999999999999999}": 0,
	} {
		d, _ := decoder(t, imapwire.Limits{}, strings.TrimSuffix(in, "\r\n")+"\r\n")
		d.AString()
		var syntax *imapwire.SyntaxError
		var big *imapwire.TooBigError
		switch err := d.Err(); {
		case errors.As(err, &syntax):
			if at != 0 && syntax.Pos != at {
				t.Errorf("%q: %v, want position %d", in, err, at)
			}
		case errors.As(err, &big):
		default:
			t.Errorf("%q: error is %v", in, err)
		}
	}
}

// After a failure Finish finds the start of the next command.
func TestFinish(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"a\r\n",
		"( more of it\r\n",
		"\"unfinished\r\n",
		"({10+}\r\nb NOOP\r\nxx (\r\n",
		"({3+}\r\nabc {4+}\r\ndefg )\r\n",
		"({3}\r\n",
		"\"" + strings.Repeat("long", 1000) + "\"\r\n",
		strings.Repeat("long", 1000) + " {4+}\r\nabcd\r\n",
		"{4+}\r\nabcd (\r\n",
		"{300+}\r\n" + strings.Repeat("y", 300) + "\r\n",
	} {
		r := bufio.NewReaderSize(strings.NewReader(in+"next\r\n"), 16)
		d := imapwire.NewDecoder(imapwire.Limits{Line: 200, Literal: 100}, func() error { return nil })
		if err := d.Next(r); err != nil {
			t.Fatal(err)
		}
		d.AString()
		d.End()
		if err := d.Finish(); err != nil {
			t.Errorf("%.40q: finishing: %v", in, err)
		}
		if err := d.Next(r); err != nil {
			t.Errorf("%.40q: next: %v", in, err)
		} else if got := d.Rest(); got != "next" {
			t.Errorf("%.40q: next command is %q (%v)", in, got, d.Err())
		}
	}
}

func TestFlood(t *testing.T) {
	t.Parallel()
	d, _ := decoder(t, imapwire.Limits{Skip: 100}, "( {101+}\r\n")
	if err := d.Finish(); !errors.Is(err, imapwire.ErrFlood) {
		t.Errorf("error is %v", err)
	}
}

func TestBrokenOff(t *testing.T) {
	t.Parallel()
	d := imapwire.NewDecoder(imapwire.Limits{}, nil)
	if err := d.Next(bufio.NewReader(strings.NewReader("a NOO"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a line: %v", err)
	}
	if err := d.Next(bufio.NewReader(strings.NewReader(""))); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
	d, _ = decoder(t, imapwire.Limits{}, "{10+}\r\nhalf")
	if d.AString(); !errors.Is(d.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("half a literal: %v", d.Err())
	}
}

func TestStreamedLiteral(t *testing.T) {
	t.Parallel()
	d, asked := decoder(t, imapwire.Limits{Literal: 5}, "x {26}\r\nabcdefghijklmnopqrstuvwxyz rest\r\n")
	d.Atom()
	d.SP()
	lit := d.LiteralHeader()
	r, err := d.OpenLiteral(lit)
	if err != nil || lit.Size != 26 || !lit.Asked || *asked != 1 {
		t.Fatalf("opening %+v: %v, asked %d times", lit, err, *asked)
	}
	b := make([]byte, 3)
	if _, err := io.ReadFull(r, b); err != nil || string(b) != "abc" {
		t.Fatalf("read %q, %v", b, err)
	}
	if err := d.CloseLiteral(); err != nil {
		t.Fatal(err)
	}
	d.SP()
	if got := d.Atom(); got != "rest" || d.Err() != nil {
		t.Errorf("behind the literal: %q, %v", got, d.Err())
	}
	if d.Fail("here"); d.Err().Error() != "here at position 39" {
		t.Errorf("error is %v", d.Err())
	}
}

func TestListLimits(t *testing.T) {
	t.Parallel()
	lim := imapwire.Limits{List: 3, Depth: 3}
	for in, good := range map[string]bool{
		"(a b c)": true, "(a b c d)": false, "()": true, "(a )": true,
	} {
		d, _ := decoder(t, lim, in+"\r\n")
		if d.List(func() { d.Atom() }); (d.Err() == nil) != good {
			t.Errorf("%s: %v", in, d.Err())
		}
	}
	for in, good := range map[string]bool{"1,2,3": true, "1,2,3,4": false, "1:*": true, "$": true, "*:7": true, "0": false, "1:": false, "4294967296": false} {
		d, _ := decoder(t, lim, in+"\r\n")
		if d.NumSet(); (d.Err() == nil) != good {
			t.Errorf("%s: %v", in, d.Err())
		}
	}
	for in, good := range map[string]bool{"NOT NOT ALL": true, "NOT NOT NOT ALL": false, "((1))": true, "(((1)))": false} {
		d, _ := decoder(t, lim, in+"\r\n")
		if d.SearchKeys(); (d.Err() == nil) != good {
			t.Errorf("%s: %v", in, d.Err())
		}
	}
}
