package pst_test

import (
	"errors"
	"testing"

	"expost/pst"
)

// TestCheck damages each block of a file in turn: Check tells of it, by its id.
func TestCheck(t *testing.T) {
	t.Parallel()
	im := unicodeImage(1)
	b := im.small()
	check := func() (places []pst.Place) {
		note := func(err error) {
			var d *pst.Damage
			if errors.As(err, &d) {
				places = append(places, d.Place)
			} else {
				t.Errorf("error without a place: %v", err)
			}
		}
		f, err := open(b, pst.Options{Report: note})
		if err != nil {
			t.Fatal(err)
		}
		for err := range f.Check() {
			note(err)
		}
		return places
	}
	if p := check(); len(p) > 0 {
		t.Fatalf("a good file: %v", p)
	}
	for _, block := range im.blocks {
		b[block.ib] ^= 1
		if p := check(); len(p) == 0 || p[0].Offset != int64(block.ib) || p[0].Block != block.bid {
			t.Errorf("block %#x: %v", block.bid, p)
		}
		b[block.ib] ^= 1
	}
}
