package pst_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"expost/pst"
)

// needs skips the test where a peer's program is missing, unless this is CI.
func needs(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", program)
		}
		t.Skipf("%s is not installed", program)
	}
}

// difference is how many items fewer than we a peer writes, and why.
type difference struct {
	readpst, pffexport int
	why                string
}

// differences explains each. All are items that our reader has and that
// were looked at one by one.
var differences = map[string]difference{
	"Yariki__dist-list.pst":       {2, 1, "both drop the free/busy item, readpst the distribution list"},
	"aspose-email__Outlook.pst":   {1, 1, "both drop the free/busy item"},
	"aspose-email__Outlook_1.pst": {1, 1, "both drop the free/busy item"},
	"aspose-email__source.pst":    {1, 1, "both drop the free/busy item"},
	"aspose-email__Test_part1.pst": {2, 12, "pffexport cannot read the properties of 12 contacts, " +
		"readpst drops 2 contacts"},
}

// TestPeersCount compares the number of items with what readpst and pffexport
// write. readpst puts embedded messages into those that hold them; pffexport
// makes a directory of each.
func TestPeersCount(t *testing.T) {
	t.Parallel()
	needs(t, "readpst")
	needs(t, "pffexport")
	for _, path := range fixtures(t) {
		name := filepath.Base(path)
		if _, bad := damagedFixtures[name]; bad {
			continue // both refuse it
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := open(fixture(t, name), pst.Options{})
			if err != nil {
				t.Fatal(err)
			}
			w, d := walk(f, nil), differences[name]
			if n := runReadpst(t, path); n != w.messages-d.readpst {
				t.Errorf("readpst writes %d items, we read %d; explained are %d: %s", n, w.messages, d.readpst, d.why)
			}
			if n := runPffexport(t, path); n != w.messages+w.embed-d.pffexport {
				t.Errorf("pffexport writes %d items, we read %d and %d embedded; explained are %d: %s", n, w.messages, w.embed, d.pffexport, d.why)
			}
		})
	}
}

// runReadpst returns how many items readpst writes, deleted ones too. Only
// without parallel jobs does it write the same ones each time.
func runReadpst(t *testing.T, path string) (n int) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "readpst", "-q", "-D", "-e", "-j", "0", "-o", dir, path).CombinedOutput(); err != nil {
		t.Fatalf("readpst: %v\n%s", err, out)
	}
	count(t, dir, func(e fs.DirEntry) {
		switch filepath.Ext(e.Name()) {
		case ".eml", ".ics", ".vcf":
			n++
		}
	})
	return n
}

// itemDir are the names that pffexport gives the directories of items;
// attachments have one around theirs, and folders without a name look alike.
var itemDir = regexp.MustCompile(`^[A-Za-z]+[0-9]{5}$`)

// runPffexport returns how many items pffexport writes.
func runPffexport(t *testing.T, path string) (n int) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "out")
	if out, err := exec.CommandContext(t.Context(), "pffexport", "-q", "-m", "items", "-t", target, path).CombinedOutput(); err != nil {
		t.Fatalf("pffexport: %v\n%s", err, out)
	}
	count(t, target+".export", func(e fs.DirEntry) {
		if e.IsDir() && itemDir.MatchString(e.Name()) && !strings.HasPrefix(e.Name(), "Attachment") && !strings.HasPrefix(e.Name(), "Folder") {
			n++
		}
	})
	return n
}

// count calls f for everything below dir.
func count(t *testing.T, dir string, f func(fs.DirEntry)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil {
			f(e)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
