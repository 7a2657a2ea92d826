package pst_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"expost/pst"
)

// small writes a mailbox of three items.
func (im *image) small() []byte {
	im.mailbox()
	var ids []uint32
	for i, s := range []string{"one", "two", "three"} {
		nid := nidFirst + uint32(i)<<5
		im.node(im.message(nid, nidMany, letter{subject: s, recipients: 3, attachments: [][]byte{pattern(20000)}, inside: &letter{subject: "in " + s}}))
		ids = append(ids, nid)
	}
	im.folder(nidMany, nidSubtree, "Many", nil, ids...)
	return im.finish()
}

// found returns the ids of the items by the paths of their folders.
func found(t *testing.T, f *pst.File) map[string][]uint32 {
	t.Helper()
	got := make(map[string][]uint32)
	for d, err := range f.Folders() {
		if err != nil {
			t.Errorf("folder: %v", err)
			continue
		}
		path := strings.Join(d.Path(), "/")
		for m, err := range d.Messages() {
			if err != nil {
				t.Errorf("item: %v", err)
				continue
			}
			if _, errs := digest(m); len(errs) > 0 {
				t.Errorf("item %#x: %v", m.ID(), errs)
			}
			got[path] = append(got[path], m.ID())
		}
	}
	return got
}

var allThree = []uint32{nidFirst, nidFirst + 32, nidFirst + 64}

// TestRootsLost zeroes the roots of the trees, and all of their pages.
func TestRootsLost(t *testing.T) {
	t.Parallel()
	for name, make := range images() {
		for _, kinds := range [][]byte{{0x80}, {0x81}, {0x80, 0x81}} {
			im := make()
			b := im.small()
			for at := 0x4400 / im.page * im.page; at+im.page <= len(b); at += im.page {
				c := b[at+im.counts:]
				root := c[3] > 0 || im.page > 512 // the only page of a small tree is both
				if tr := b[at+im.trailer:]; slices.Contains(kinds, tr[0]) && tr[1] == tr[0] && (tr[0] == 0x80 || root && im.page == 512) {
					clear(b[at : at+im.page])
				}
			}
			var reports []error
			f, err := open(b, pst.Options{Report: func(err error) { reports = append(reports, err) }})
			if err != nil {
				t.Errorf("%s, pages %x: %v", name, kinds, err)
				continue
			}
			got := found(t, f)
			if !slices.Equal(got["Many"], allThree) {
				t.Errorf("%s, pages %x: %v", name, kinds, got)
			}
			if len(reports) == 0 && kinds[0] == 0x80 {
				t.Errorf("%s, pages %x: nothing is reported", name, kinds)
			}
		}
	}
}

// TestDeleted writes the trees again without an item.
func TestDeleted(t *testing.T) {
	t.Parallel()
	for name, make := range images() {
		im := make()
		im.small()
		im.nodes = slices.DeleteFunc(im.nodes, func(n imageNode) bool {
			return n.nid == nidFirst+32 || n.nid == nidMany || n.nid>>5 == nidMany>>5
		})
		im.folder(nidMany, nidSubtree, "Many", nil, allThree[0], allThree[2])
		f, err := open(im.finish(), pst.Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := found(t, f); len(got["Many"]) != 2 || len(got) != 1 {
			t.Errorf("%s: before: %v", name, got)
		}
		g, err := f.Recover()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := found(t, g)
		if len(got["Many"]) != 2 || !slices.Equal(got["Recovered"], allThree[1:2]) {
			t.Errorf("%s: recovered: %v", name, got)
		}
		if m, err := g.Message(allThree[1]); err != nil || !m.Deleted() {
			t.Errorf("%s: deleted: %v", name, err)
		}
		if m, err := g.Message(allThree[0]); err != nil || m.Deleted() {
			t.Errorf("%s: alive: %v", name, err)
		}
	}
}

// TestOrphans has items without a folder, in the table only, and in the parent
// link only.
func TestOrphans(t *testing.T) {
	t.Parallel()
	im := unicodeImage(1)
	im.mailbox()
	for i, parent := range []uint32{nidMany, 0xFFE2, 0xFFE2} {
		im.node(im.message(allThree[i], parent, letter{subject: "x"}))
	}
	im.folder(nidMany, nidSubtree, "Many", nil, allThree[1])
	im.folder(0x9002, 0x9022, "Round", nil)
	im.folder(0x9022, 0x9002, "and round", nil)
	im.folder(0x9042, 0xFFE2, "Lost", nil)
	f, err := open(im.finish(), pst.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := found(t, f)
	if !slices.Equal(got["Many"], []uint32{allThree[1], allThree[0]}) || !slices.Equal(got["Recovered"], allThree[2:]) {
		t.Errorf("got %v", got)
	}
	var paths []string
	for d := range f.Folders() {
		paths = append(paths, strings.Join(d.Path(), "/"))
	}
	want := []string{"", "", "Corbeille", "Many", "Recovered", "Recovered/Lost", "Recovered/and round", "Recovered/and round/Round"}
	if !slices.Equal(paths, want) {
		t.Errorf("folders %q", paths)
	}
}

// TestEmbeddedInItself has a message whose attachment is the message.
func TestEmbeddedInItself(t *testing.T) {
	t.Parallel()
	im := unicodeImage(0)
	im.mailbox()
	n := im.message(nidFirst, nidMany, letter{subject: "x", inside: &letter{subject: "y"}})
	// The embedded message's data becomes that of the outer one.
	for _, b := range im.blocks {
		data := im.buf[b.ib : b.ib+uint64(b.cb)]
		if b.bid&2 != 0 && data[0] == 2 && le.Uint32(data[8:]) == 0x200004 {
			le.PutUint64(data[16:], n.data)
			le.PutUint64(data[24:], n.sub)
		}
	}
	im.node(n)
	f, err := open(im.finish(), pst.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Message(nidFirst)
	if err != nil {
		t.Fatal(err)
	}
	if _, errs := digest(m); len(errs) != 1 || !strings.Contains(errs[0].Error(), "embedded in itself") {
		t.Errorf("errors %v", errs)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := unicodeImage(1).small()
	change := func(f func([]byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	for _, c := range []struct {
		name string
		file []byte
		err  error
		text string
	}{
		{"empty", nil, pst.ErrFormat, "empty"},
		{"web page", []byte(" <!DOCTYPE html><html><body>Sign in</body></html>"), pst.ErrFormat, "web page"},
		{"archive", []byte("PK\x03\x04 and more"), pst.ErrFormat, "archive"},
		{"zeros", make([]byte, 1000), pst.ErrFormat, "zeros"},
		{"text", []byte("Hello"), pst.ErrFormat, `"Hell"`},
		{"WIP", change(func(b []byte) { b[513] = 0x10 }), pst.ErrProtected, "Information Protection"},
		{"EFS", append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, []byte("R\x00O\x00B\x00S\x00 raw")...), pst.ErrProtected, "EFS"},
		{"client", change(func(b []byte) { b[8] = 'X' }), pst.ErrFormat, `"XM"`},
		{"version", change(func(b []byte) { b[10] = 3 }), pst.ErrFormat, "version 3"},
		{"header only", good[:400], pst.ErrTruncated, "400 bytes"},
		{"no data", good[:2000], pst.ErrTruncated, "2000 of"},
		{"no trees", change(func(b []byte) { clear(b[1000:]) }), pst.ErrFormat, "nothing readable"},
	} {
		_, err := open(c.file, pst.Options{})
		if !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestTruncated cuts files everywhere: what is left is read.
func TestTruncated(t *testing.T) {
	t.Parallel()
	for name, make := range images() {
		b := make().small()
		for n := 0; n < len(b); n += 509 {
			f, err := open(b[:n], pst.Options{})
			if err != nil {
				continue
			}
			walk(f, nil)
		}
		// Without the trees, which lie at the end, but with all blocks, the items
		// are not named by anything: nothing to find, and no panic.
		if _, err := open(b[:len(b)-len(b)/20], pst.Options{}); err != nil && !errors.Is(err, pst.ErrTruncated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
