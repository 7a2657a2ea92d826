package gal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPST reads the contacts of real files, a distribution list among them.
func TestPST(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "..", "shared", "fixtures", "pst")
	for _, c := range []struct {
		file          string
		people, lists int
		first         string
	}{
		{"HiraokaHyperTools__contacts.pst", 1, 0, "Mr. イグザンプル ドット コム 殿 <test@example.com>"},
		{"Yariki__dist-list.pst", 1, 1, "contact name 1 <contact1@rjohnson.id.au>"},
		{"aspose-email__SampleContacts.pst", 6, 0, "Sebastian Wright <SebastianWright@dayrep.com>"},
	} {
		start := make([]byte, 12)
		f, err := os.Open(filepath.Join(dir, c.file))
		if err != nil {
			t.Skipf("fixture %s is not here: %v", c.file, err)
		}
		if _, err := f.Read(start); err != nil || !isPST(start) {
			t.Fatalf("%s is not told by its first bytes: %v", c.file, err)
		}
		f.Close()
		list, src, report, err := readAll(t, string(start), Options{File: c.file, Folder: os.DirFS(dir)})
		lists := 0
		for _, r := range list {
			if r.Kind == Group {
				if lists++; len(r.Members) == 0 {
					t.Errorf("%s: the list %q has no members", c.file, r.Name())
				}
			}
		}
		first := ""
		if len(list) > 0 {
			first = list[0].Name() + " <" + list[0].Get(Email) + ">"
		}
		if err != nil || len(list)-lists != c.people || lists != c.lists || first != c.first {
			t.Errorf("%s: %d people and %d lists, first %q, %s, %v\n%s", c.file, len(list)-lists, lists, first, src, err, strings.Join(report, "\n"))
		}
	}
}
