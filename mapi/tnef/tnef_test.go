package tnef

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/mapi"
)

const fixtures = "../../../shared/fixtures/"

// TestFixtures converts every file; what is attached must be as MimeKit has it,
// where the fixtures hold its output.
func TestFixtures(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob(fixtures + "tnef/*")
	more, _ := filepath.Glob(fixtures + "tnef-expected/*.tnef")
	files = append(files, more...)
	if len(files) == 0 {
		t.Skip("no fixtures")
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Read(bytes.NewReader(b))
			if m == nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Log("damaged: ", err)
			}
			var out bytes.Buffer
			r, err := (&mapi.Converter{}).Convert(&out, m)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range r.Problems {
				t.Log(p)
			}
			compare(t, m, strings.TrimSuffix(name, ".tnef")+"__")
		})
	}
}

func compare(t *testing.T, m mapi.Message, prefix string) {
	t.Helper()
	for a, err := range m.Attachments() {
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := mapi.Text(a, 0x3707, 1252)
		if name == "" {
			name, _, _ = mapi.Text(a, 0x3704, 1252)
		}
		want, err := os.ReadFile(prefix + name)
		if name == "" || err != nil {
			continue
		}
		got, _, _ := a.Value(mapi.NewTag(0x3701, mapi.TypeBinary))
		if b, _ := got.([]byte); !bytes.Equal(b, want) {
			t.Errorf("%s: %d bytes, want %d", name, len(b), len(want))
		} else {
			t.Logf("%s is equal", name)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "hello, world", "\x78\x9f\x3e"} {
		if m, err := Read(strings.NewReader(s)); m != nil || err == nil {
			t.Errorf("%q is read", s)
		}
	}
}

func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob(fixtures + "tnef/*")
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && len(b) < 20000 {
			f.Add(b)
		}
	}
	f.Add([]byte("\x78\x9f\x3e\x22\x01\x00\x01\x03\x90\x06\x00\x08\x00\x00\x00\x01\x00\x00\x00\x1e\x00\x37\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _ := Read(bytes.NewReader(b))
		if m == nil {
			return
		}
		if _, err := (&mapi.Converter{}).Convert(io.Discard, m); err != nil {
			t.Error(err)
		}
	})
}
