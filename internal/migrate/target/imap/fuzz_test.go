package imap_test

import (
	"bytes"
	"io"
	"testing"

	targetimap "expost/internal/migrate/target/imap"
)

// FuzzMend mends any bytes: what comes out has nothing wrong with it, and ends
// with the original.
func FuzzMend(f *testing.F) {
	for _, seed := range []string{"", "Subject: x\r\n\r\ntext\r\n", "From here\r\nSubject: \xff\r\n\r\n\x00", "no header"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, why, err := targetimap.Mend(t.Context(), bytes.NewReader(b), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if m == nil {
			return
		}
		defer m.Close()
		r, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, what, err := targetimap.Mend(t.Context(), bytes.NewReader(text), t.TempDir()); again != nil || err != nil {
			t.Errorf("mended because %s, and again because %s: %v\n%q", why, what, err, text)
		}
	})
}
