package smtpserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// readBody reads a message out of in and returns what is left of in.
func readBody(in string, opt bodyOptions, wrap func(io.Reader) io.Reader) (got, rest string, err error) {
	if opt.limit == 0 {
		opt.limit = 1 << 30
	}
	br := bufio.NewReaderSize(wrap(strings.NewReader(in)), 16)
	b := newBody(br, opt)
	out, err := io.ReadAll(b)
	left, _ := io.ReadAll(br)
	return string(out), string(left), err
}

func TestBody(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("y", 100)
	for name, tt := range map[string]struct{ in, want, rest string }{
		"plain":                        {"a\r\nb\r\n.\r\nQUIT\r\n", "a\r\nb\r\n", "QUIT\r\n"},
		"empty":                        {".\r\nQUIT\r\n", "", "QUIT\r\n"},
		"dots":                         {"..\r\n..a\r\n.b\r\n.\r\n", ".\r\n.a\r\nb\r\n", ""},
		"dots in long lines":           {".." + long + "\r\n" + long + ".\r\n.\r\n", "." + long + "\r\n" + long + ".\r\n", ""},
		"a dot where the buffer ends":  {strings.Repeat("z", 16) + ".\r\n.\r\n", strings.Repeat("z", 16) + ".\r\n", ""},
		"CR where the buffer ends":     {strings.Repeat("z", 15) + "\r\n.\r\nX", strings.Repeat("z", 15) + "\r\n", "X"},
		"NUL":                          {"a\x00b\r\n.\r\n", "a\x00b\r\n", ""},
		"8-bit":                        {"\xff\xfe\r\n.\r\n", "\xff\xfe\r\n", ""},
		"LF . CRLF is no end":          {"a\n.\r\nb\r\n.\r\n", "a\r\n.\r\nb\r\n", ""},
		"CRLF . LF is no end":          {"a\r\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n", ""},
		"LF . LF is no end":            {"a\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n", ""},
		"CR . CR is no end":            {"a\r.\rb\r\n.\r\n", "a\r\n.\r\nb\r\n", ""},
		"CR . CRLF is no end":          {"a\r.\r\nb\r\n.\r\n", "a\r\n.\r\nb\r\n", ""},
		"CRLF . CR is no end":          {"a\r\n.\rb\r\n.\r\n", "a\r\n\r\nb\r\n", ""},
		"CRLF . CR CRLF is no end":     {"a\r\n.\r\r\nb\r\n.\r\n", "a\r\n.\r\nb\r\n", ""},
		"LF . CR LF after CR CR":       {"a\r\r\n.\r\n", "a\r\n", ""},
		"NUL beside the dot":           {"a\r\n\x00.\r\nb\r\n.\x00\r\nc\r\n.\r\n", "a\r\n\x00.\r\nb\r\n\x00\r\nc\r\n", ""},
		"LF CR . LF CR":                {"a\n\r.\n\rb\r\n.\r\n", "a\r\n\r\n.\r\n\r\nb\r\n", ""},
		"bare LF":                      {"a\nb\n\nc\r\n.\r\n", "a\r\nb\r\n\r\nc\r\n", ""},
		"bare CR":                      {"a\rb\r\rc\r\n.\r\n", "a\r\nb\r\n\r\nc\r\n", ""},
		"doubled CR":                   {"a\r\r\nb\r\r\r\n.\r\n", "a\r\nb\r\n", ""},
		"doubled dot behind a bare LF": {"a\n..b\r\n.\r\n", "a\r\n.b\r\n", ""},
	} {
		for rname, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
		} {
			got, rest, err := readBody(tt.in, bodyOptions{dots: true}, wrap)
			if err != nil || got != tt.want || rest != tt.rest {
				t.Errorf("%s (%s): got %q, rest %q, %v; want %q, rest %q", name, rname, got, rest, err, tt.want, tt.rest)
			}
		}
		got, _, err := readBody(tt.in, bodyOptions{dots: true, strict: true}, func(r io.Reader) io.Reader { return r })
		bare := strings.ContainsAny(strings.ReplaceAll(tt.in, "\r\n", ""), "\r\n")
		if bare && err != errBareNewline || !bare && (err != nil || got != tt.want) {
			t.Errorf("%s, strict: got %q, %v", name, got, err)
		}
	}
}

func TestBodyWithoutDots(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\r\n.\r\n..b\r\n": "a\r\n.\r\n..b\r\n", "": "", "a": "a", "a\r": "a\r\n", "a\nb\r\r\n": "a\r\nb\r\n",
		strings.Repeat("w", 15) + "\r\nx": strings.Repeat("w", 15) + "\r\nx",
	} {
		got, _, err := readBody(in, bodyOptions{}, iotest.OneByteReader)
		if err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestBodyErrors(t *testing.T) {
	t.Parallel()
	if _, _, err := readBody("a\r\nb", bodyOptions{dots: true}, func(r io.Reader) io.Reader { return r }); err != io.ErrUnexpectedEOF {
		t.Errorf("cut: %v", err)
	}
	broken := errors.New("broken")
	_, _, err := readBody("", bodyOptions{dots: true}, func(r io.Reader) io.Reader {
		return io.MultiReader(r, iotest.ErrReader(broken))
	})
	if err != broken {
		t.Errorf("broken: %v", err)
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("12345678\r\n", 10) + ".\r\nQUIT\r\n"
	if got, _, err := readBody(in, bodyOptions{dots: true, limit: 100}, func(r io.Reader) io.Reader { return r }); err != nil || len(got) != 100 {
		t.Errorf("at the limit: %d bytes, %v", len(got), err)
	}
	br := bufio.NewReader(strings.NewReader(in))
	b := newBody(br, bodyOptions{dots: true, limit: 99})
	if _, err := io.Copy(io.Discard, b); err != errTooBig {
		t.Errorf("over the limit: %v", err)
	}
	b.drain()
	if rest, _ := io.ReadAll(br); b.err != io.EOF || string(rest) != "QUIT\r\n" {
		t.Errorf("drained: %v, rest %q", b.err, rest)
	}
}

// FuzzBody checks that a message ends at the first CRLF . CRLF and nowhere else,
// whatever else is in it, and that CRLF is the only line end left.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\nb", "\n.\r\n", "\r\n.\n", "\r.\r", ".\r\n", "..\r\n.", "\r\r\n.\r\n", "\x00\r\n.\x00\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		in = append(in, "\r\n.\r\nREST"...)
		end := bytes.Index(append([]byte("\r\n"), in...), []byte("\r\n.\r\n"))
		wantRest := string(in[end+3:])
		got, rest, err := readBody(string(in), bodyOptions{dots: true}, func(r io.Reader) io.Reader { return r })
		if err != nil || rest != wantRest {
			t.Fatalf("%q: rest %q, %v; want %q", in, rest, err, wantRest)
		}
		if strings.ContainsAny(strings.ReplaceAll(got, "\r\n", ""), "\r\n") {
			t.Fatalf("%q: a bare line end is left in %q", in, got)
		}
		slow, _, err := readBody(string(in), bodyOptions{dots: true}, iotest.OneByteReader)
		if err != nil || slow != got {
			t.Fatalf("%q: byte by byte %q, %v; else %q", in, slow, err, got)
		}
	})
}

func BenchmarkBody(b *testing.B) {
	in := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1300) + ".\r\n"
	b.SetBytes(int64(len(in)))
	src := strings.NewReader("")
	br := bufio.NewReaderSize(src, readBuffer)
	for b.Loop() {
		src.Reset(in)
		br.Reset(src)
		if _, err := io.Copy(io.Discard, newBody(br, bodyOptions{dots: true, strict: true, limit: 1 << 30})); err != nil {
			b.Fatal(err)
		}
	}
}
