package pst

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRaw4K reads pages and a block that were cut from an OST of Outlook 2013.
// They do not tell their offset, which the signature does.
func TestRaw4K(t *testing.T) {
	t.Parallel()
	f := largeFormat()
	for _, c := range []struct {
		name           string
		kind           byte
		level, entries int
	}{
		{"btree_leaf_block", pageBBT, 0, 100},
		{"btree_leaf_node", pageNBT, 0, 117},
		{"node", pageNBT, 1, 6},
		{"block", pageBBT, 1, 31},
	} {
		b := raw4K(t, c.name)
		bid := le.Uint64(b[f.trailer+8:])
		sig := le.Uint16(b[f.trailer+2:])
		p, err := f.parsePage(b, ref{bid, uint64(sig ^ signature(0, bid))}, c.kind)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if p.level != c.level || p.count() != c.entries {
			t.Errorf("%s: level %d, %d entries", c.name, p.level, p.count())
		}
		if c.name == "btree_leaf_block" {
			if e := f.blockEntry(p.entry(0)); e != (blockEntry{4, 0x25000, 0xAC, 0xAC}) {
				t.Errorf("first block: %+v", e)
			}
		}
		if c.name == "btree_leaf_node" {
			if e := f.nodeEntry(p.entry(1)); e != (nodeEntry{nidNames, 0, 0x10834, 0x1083A}) {
				t.Errorf("second node: %+v", e)
			}
		}
	}
	b := raw4K(t, "block_raw")
	e := blockEntry{bid: 0x110BC, cb: 0x1C8}
	e.ib = uint64(f.blockTrailerOf(b).sig ^ signature(0, e.bid))
	if fatal, err := f.checkBlock(b, e); fatal || err != nil {
		t.Error(err)
	}
	if tr := f.blockTrailerOf(b); tr.inflated != 0x1C8 {
		t.Errorf("inflated size %#x", tr.inflated)
	}
}

func raw4K(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../shared/fixtures/pst-raw-4k", "artemis__"+name+".raw"))
	if os.IsNotExist(err) {
		t.Skip("no sample pages in ../shared/fixtures/pst-raw-4k")
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}
