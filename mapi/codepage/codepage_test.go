package codepage

import "testing"

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cp       int
		in, want string
	}{
		{1252, "caf\xe9 \x80", "café €"},
		{932, "\x93\xfa\x96{\x8c\xea", "日本語"},
		{50220, "\x1b$BF|K\\\x1b(B", "日本"},
		{UTF16, "a\x00\xe9\x00", "aé"},
		{UTF7, "Hi +ZeVnLA- 1+- 2", "Hi 日本 1+ 2"},
		{UTF7, "+", "+"},
		{UTF8, "\xc3\xa9\xff", "é\uFFFD"},
		{0, "é", "é"},
		{0, "\xe9", "é"},
		{ASCII, "\xe9", "é"},
		{99999, "plain", "plain"},
	} {
		if got := Decode(c.cp, []byte(c.in)); got != c.want {
			t.Errorf("Decode(%d, %q) = %q, want %q", c.cp, c.in, got, c.want)
		}
	}
}

func TestByCharset(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"UTF-8": UTF8, "iso-2022-jp": 50220, "windows-1251": 1251, "none": 0, "gb2312": 936} {
		if got := ByCharset(name); got != want {
			t.Errorf("ByCharset(%q) = %d, want %d", name, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(UTF7, []byte("+ZeVnLA-"))
	f.Add(932, []byte("\x93\xfa"))
	f.Fuzz(func(_ *testing.T, cp int, b []byte) { Decode(cp, b) })
}
