package sqlite

import (
	"strings"
	"testing"
)

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a.b", "Ajay", "a/b", "%", "%41", "jürgen", "\xff\x00", "ÄÖ", "a b", "-x", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := escape(s)
		if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\\\x00 \n") {
			t.Errorf("%q becomes %q", s, name)
		}
		if back, ok := unescape(name); !ok || back != s {
			t.Errorf("%q becomes %q and comes back as %q, %v", s, name, back, ok)
		}
		if back, ok := unescape(s); ok && escape(back) != s {
			t.Errorf("name %q is read as %q, which is written %q", s, back, escape(back))
		}
	})
}
