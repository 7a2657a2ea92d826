package pst_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"expost/mapi"
	"expost/pst"
)

// memoryFile is an io.WriterAt in memory.
type memoryFile struct{ b []byte }

func (m *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	if n := int(off) + len(p); n > len(m.b) {
		m.b = append(m.b, make([]byte, n-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

// rewrite writes everything in a file into a new one.
func rewrite(t testing.TB, f *pst.File) []byte {
	t.Helper()
	out := &memoryFile{}
	w, err := pst.NewWriter(out, pst.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]*pst.FolderWriter{"": w.Subtree()}
	for d, err := range f.Folders() {
		if err != nil {
			continue
		}
		path := d.Path()
		key := ""
		for i, name := range path {
			up := made[key]
			key += "/" + name
			if made[key] == nil {
				opt := pst.FolderOptions{Name: name}
				if i == len(path)-1 && d.Visible() {
					opt.Class, opt.Kind = d.Class(), d.Kind()
				}
				if made[key], err = up.Folder(opt); err != nil {
					t.Fatal(err)
				}
			}
		}
		for m, err := range d.Messages() {
			if err != nil {
				continue
			}
			if _, err := made[key].Add(m); err != nil {
				t.Errorf("item %#x: %v", m.ID(), err)
			}
		}
		for m, err := range d.Associated() {
			if err != nil {
				continue
			}
			if _, err := made[key].AddHidden(m); err != nil {
				t.Errorf("hidden item %#x: %v", m.ID(), err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.b
}

// mails describes each item of a file by the mail it becomes.
func mails(t testing.TB, f *pst.File) []string {
	t.Helper()
	var out []string
	for d, err := range f.Folders() {
		if err != nil {
			continue
		}
		for m, err := range d.Messages() {
			if err != nil {
				continue
			}
			var b bytes.Buffer
			mail, err := (&mapi.Converter{}).Convert(&b, m)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%q %s %q %q %v %d\n%s", d.Path(), mail.Class, mail.Flags, mail.Keywords, mail.Received, len(mail.Problems), b.String()))
		}
	}
	return out
}

// unequal returns the first line in which two texts differ.
func unequal(got, want string) string {
	g, w := strings.Split(made.ReplaceAllString(got, ""), "\n"), strings.Split(made.ReplaceAllString(want, ""), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is %q, want %q", i, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// made are ids and times that are made for items without any: the writer gives
// each item a search key, of which they are made, and times, which all must have.
var made = regexp.MustCompile(`[0-9a-f]{40}@migrated\.invalid|=_[0-9a-f]{24}|(CREATED|LAST-MODIFIED|DTSTAMP|REV):[0-9TZ]+\r\n`)

// sound fails the test where a file is damaged.
func sound(t testing.TB, f *pst.File) {
	t.Helper()
	for err := range f.Check() {
		t.Error("damaged: ", err)
	}
}

// TestWriterRewritesFixtures writes every sample file anew: it must hold the
// same items, and every block and page of it must be sound.
func TestWriterRewritesFixtures(t *testing.T) {
	t.Parallel()
	for _, path := range fixtures(t) {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := open(fixture(t, name), pst.Options{})
			if err != nil {
				t.Fatal(err)
			}
			b := rewrite(t, f)
			if os.Getenv("EXPOST_KEEP") != "" {
				_ = os.WriteFile(filepath.Join(os.Getenv("EXPOST_KEEP"), name), b, 0o600)
			}
			g, err := open(b, pst.Options{Report: func(err error) { t.Error("damaged: ", err) }})
			if err != nil {
				t.Fatal(err)
			}
			sound(t, g)
			want, got := mails(t, f), mails(t, g)
			if len(got) != len(want) {
				t.Fatalf("%d items, want %d", len(got), len(want))
			}
			for i := range want {
				if made.ReplaceAllString(got[i], "") != made.ReplaceAllString(want[i], "") {
					t.Errorf("item %d: %s", i, unequal(got[i], want[i]))
					break
				}
			}
		})
	}
}

// TestWriterAndPeers has readpst and pffexport read both the sample files and
// what the writer makes of them: they must find the same items, and pffexport
// the same texts and attachments.
func TestWriterAndPeers(t *testing.T) {
	t.Parallel()
	needs(t, "readpst")
	needs(t, "pffexport")
	better := map[string]string{
		"HiraokaHyperTools__nonUnicodeCP932.pst": "pffexport takes the sample's Shift-JIS for Windows-1252; ours is Unicode",
		"aspose-email__Test_part1.pst":           "pffexport cannot read 12 contacts of the sample, and can read them in what the writer makes of it",
	}
	for _, path := range fixtures(t) {
		name := filepath.Base(path)
		if _, bad := damagedFixtures[name]; bad {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := open(fixture(t, name), pst.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if walk(f, nil).messages == 0 && name != "microsoft__Empty.pst" {
				return // one that is empty is enough
			}
			ours := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(ours, rewrite(t, f), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, want := runReadpst(t, ours), runReadpst(t, path); got != want {
				t.Errorf("readpst writes %d items of ours, %d of the sample", got, want)
			}
			if better[name] != "" {
				return
			}
			got, want := pffContent(t, ours), pffContent(t, path)
			for file, n := range want {
				if got[file] != n {
					t.Errorf("pffexport writes %q %d times of ours, %d times of the sample", file, got[file], n)
				}
			}
			if len(got) != len(want) {
				t.Errorf("pffexport writes %d different files of ours, %d of the sample", len(got), len(want))
			}
		})
	}
}

// added are the lines of what the writer adds to items, or computes anew.
var added = regexp.MustCompile(`(?m)^(Size|Status|Creation time|Modification time|Flags|Message class):.*\n`)

// pffContent returns the texts and attachments that pffexport writes, by the
// name and the hash of each, with their numbers.
func pffContent(t *testing.T, path string) map[string]int {
	t.Helper()
	target := filepath.Join(t.TempDir(), "out")
	if out, err := exec.CommandContext(t.Context(), "pffexport", "-q", "-m", "items", "-t", target, path).CombinedOutput(); err != nil {
		t.Fatalf("pffexport: %v\n%s", err, out)
	}
	files := map[string]int{}
	err := filepath.WalkDir(target+".export", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := e.Name()
		b, err := os.ReadFile(p)
		if strings.HasSuffix(name, ".txt") && filepath.Base(filepath.Dir(p)) != "Attachments" {
			b = added.ReplaceAll(b, nil)
		}
		files[fmt.Sprintf("%s %x", name, sha256.Sum256(b))]++
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return files
}
