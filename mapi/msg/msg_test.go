package msg

import (
	"bytes"
	"io"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// absent are the samples whose expected output is among the fixtures and which are
// not there themselves: the collection that they are of publishes the output only.
var absent = []string{"Swetlana_Novikova", "contact-unicode", "contact", "qwerty2", "qwerty3", "qwerty_1-orig", "qwerty_2-with_custom_properties"}

// TestExpected looks for the sample of each expected output. One that turns up is
// to be compared here.
func TestExpected(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("../../../shared/fixtures/msg-expected/rubymsg__*")
	if len(files) == 0 {
		t.Skip("no expected outputs in ../shared/fixtures/msg-expected")
	}
	for _, path := range files {
		base := filepath.Base(path)
		name := strings.TrimSuffix(strings.TrimPrefix(base, "rubymsg__"), filepath.Ext(base))
		t.Run(base, func(t *testing.T) {
			_, err := os.Stat("../../../shared/fixtures/msg/rubymsg__" + name + ".msg")
			switch {
			case err == nil:
				t.Errorf("the sample is there now: compare it with %s", base)
			case slices.Contains(absent, name):
				t.Skipf("%s.msg is not among the fixtures, only what is expected of it", name)
			default:
				t.Errorf("neither is the sample there nor is it said why")
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
