package msg

import (
	"bytes"
	"io"
	"net/mail"
	"os"
	"path/filepath"
	"testing"

	"expost/mapi"
)

// Files that are no message, and why.
var refused = map[string]string{}

func TestFixtures(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("../../../shared/fixtures/msg/*.msg")
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
			m, err := Open(bytes.NewReader(b), int64(len(b)))
			if m == nil {
				if why, ok := refused[filepath.Base(name)]; !ok {
					t.Fatalf("refused: %v (%s)", err, why)
				}
				return
			}
			if err != nil {
				t.Log("damaged: ", err)
			}
			var out bytes.Buffer
			c := mapi.Converter{}
			r, err := c.Convert(&out, m)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range r.Problems {
				t.Log(p)
			}
			check(t, out.Bytes())
			var again bytes.Buffer
			if _, err := c.Convert(&again, m); err != nil || !bytes.Equal(out.Bytes(), again.Bytes()) {
				t.Error("a second conversion differs")
			}
		})
	}
}

func check(t *testing.T, b []byte) {
	t.Helper()
	for line := range bytes.Lines(b) {
		if len(line) > 1000 || !bytes.HasSuffix(line, []byte("\r\n")) {
			t.Errorf("line %.80q of %d bytes", line, len(line))
			return
		}
	}
	parsed, err := mail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"From", "To", "Cc", "Bcc", "Reply-To"} {
		if v := parsed.Header.Get(name); v != "" {
			if _, err := parsed.Header.AddressList(name); err != nil {
				t.Errorf("%s: %q: %v", name, v, err)
			}
		}
	}
	if parsed.Header.Get("Message-ID") == "" || parsed.Header.Get("Content-Type") == "" {
		t.Error("no Message-ID or Content-Type")
	}
}

func FuzzOpen(f *testing.F) {
	files, _ := filepath.Glob("../../../shared/fixtures/msg/*.msg")
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && len(b) < 20000 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _ := Open(bytes.NewReader(b), int64(len(b)))
		if m == nil {
			return
		}
		if _, err := (&mapi.Converter{}).Convert(io.Discard, m); err != nil {
			t.Error(err)
		}
	})
}
