package pst_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"expost/mapi"
	"expost/pst"
)

// contents counts what items hold: attachments by the sums of their bytes, and
// subjects and bodies by their text.
type contents struct {
	attachments, subjects, bodies map[string]int
}

func newContents() contents {
	return contents{make(map[string]int), make(map[string]int), make(map[string]int)}
}

func sum(b []byte) string { return fmt.Sprintf("%d bytes, %x", len(b), sha256.Sum256(b)) }

// plain is a text without what the two ways of writing it differ in.
func plain(s string) string {
	s = strings.TrimPrefix(s, "\uFEFF")
	return strings.TrimRight(strings.ReplaceAll(s, "\r", ""), "\x00 \n\t")
}

// ours reads the contents of all items but hidden ones.
func (c contents) ours(t *testing.T, f *pst.File) {
	t.Helper()
	for d, err := range f.Folders() {
		if err != nil {
			t.Fatal(err)
		}
		for m, err := range d.Messages() {
			if err != nil {
				t.Fatal(err)
			}
			c.message(t, m)
		}
	}
}

func (c contents) message(t *testing.T, m mapi.Message) {
	t.Helper()
	if v, _, _ := m.Value(0x0037001F); v != nil {
		s := v.(string)
		if len(s) > 1 && s[0] == 1 { // the length of the prefix follows ([MS-PST] 2.5.3.1.1.1)
			s = string([]rune(s)[2:])
		}
		c.subjects[plain(s)]++
	}
	if v, _, _ := m.Value(0x1000001F); v != nil {
		c.bodies[plain(v.(string))]++
	}
	for a, err := range m.Attachments() {
		if err != nil {
			t.Fatal(err)
		}
		if v, _, _ := a.Value(0x37010102); v != nil {
			c.attachments[sum(v.([]byte))]++
		}
		e, ok, err := a.Message()
		if ok && err == nil {
			c.message(t, e)
		} else if s, err := a.Open(0x3701000D); err == nil { // an OLE object
			b, err := io.ReadAll(s)
			if err != nil {
				t.Error(err)
			}
			c.attachments[sum(b)]++
		}
	}
}

// theirs reads what pffexport has written below dir.
func (c contents) theirs(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		switch {
		case filepath.Base(filepath.Dir(path)) == "Attachments":
			c.attachments[sum(b)]++
		case e.Name() == "Message.txt":
			c.bodies[plain(string(b))]++
		}
		for line := range strings.Lines(string(b)) {
			if s, ok := strings.CutPrefix(line, "Subject:"); ok && e.Name() == "OutlookHeaders.txt" {
				c.subjects[plain(strings.TrimLeft(s, "\t"))]++
			}
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// missing returns what is in b more often than in a.
func missing(a, b map[string]int) (out []string) {
	for s := range maps.Keys(b) {
		if n := b[s] - a[s]; n > 0 {
			out = append(out, fmt.Sprintf("%d × %.80q", n, s))
		}
	}
	return out
}

// TestPeersContent compares subjects, bodies and the bytes of attachments with
// what pffexport writes: we have all of it.
func TestPeersContent(t *testing.T) {
	t.Parallel()
	needs(t, "pffexport")
	for _, path := range fixtures(t) {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := open(fixture(t, name), pst.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if f.Type() == "" || strings.Contains(f.Format(), "ANSI") || damagedFixtures[name] != "" {
				t.Skip("in a code page, or refused by pffexport")
			}
			target := filepath.Join(t.TempDir(), "out")
			if out, err := exec.CommandContext(t.Context(), "pffexport", "-q", "-f", "all", "-m", "items", "-t", target, path).CombinedOutput(); err != nil {
				t.Fatalf("pffexport: %v\n%s", err, out)
			}
			ours, theirs := newContents(), newContents()
			ours.ours(t, f)
			theirs.theirs(t, target+".export")
			for what, m := range map[string][2]map[string]int{
				"attachments": {ours.attachments, theirs.attachments},
				"subjects":    {ours.subjects, theirs.subjects},
				"bodies":      {ours.bodies, theirs.bodies},
			} {
				if d := missing(m[0], m[1]); len(d) > 0 {
					t.Errorf("%s that only pffexport has: %s", what, d)
				}
				t.Logf("%s: %d, pffexport %d; more than it: %s", what, len(m[0]), len(m[1]), missing(m[1], m[0]))
			}
		})
	}
}
