package pst_test

import (
	"cmp"
	"fmt"
	"hash/crc64"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"expost/mapi"
	"expost/pst"
)

// traced notes what is read of a file.
type traced struct {
	io.ReaderAt
	spans [][2]int64
}

func (r *traced) ReadAt(p []byte, off int64) (int, error) {
	r.spans = append(r.spans, [2]int64{off, off + int64(len(p))})
	return r.ReaderAt.ReadAt(p, off)
}

// known is what an undamaged item is: what it holds, and where that lies.
type known struct {
	digest uint64
	spans  [][2]int64
}

// touched tells whether damage of b[from:to] can be felt.
func (k known) touched(from, to int64) bool {
	for _, s := range k.spans {
		if from < s[1] && to > s[0] {
			return true
		}
	}
	return false
}

// digest sums up an item and all below it.
func digest(m *pst.Message) (uint64, []error) {
	h, w := crc64.New(crc64.MakeTable(crc64.ECMA)), &tally{}
	w.message(m.ID(), m, func(_ uint32, tag mapi.Tag, v any) {
		switch v := v.(type) {
		case []byte:
			_, _ = h.Write(v)
		case string:
			_, _ = io.WriteString(h, v)
		default:
			fmt.Fprintf(h, "%x %v\n", uint32(tag), v)
		}
	}, 0)
	return h.Sum64(), w.errs
}

// items returns the ids of all items of a file by a walk.
func items(f *pst.File) map[uint32]bool {
	ids := make(map[uint32]bool)
	for d := range f.Folders() {
		if d == nil {
			continue
		}
		for m := range d.Messages() {
			if m != nil {
				ids[m.ID()] = true
			}
		}
	}
	return ids
}

// baseline reads each item alone, to know what it depends on.
func baseline(t *testing.T, b []byte) map[uint32]known {
	t.Helper()
	whole, err := open(b, pst.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[uint32]known)
	for id := range items(whole) {
		r := &traced{ReaderAt: readerAt(b)}
		f, err := pst.Open(r, int64(len(b)), pst.Options{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.Message(id)
		if err != nil {
			t.Fatal(err)
		}
		sum, errs := digest(m)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		all[id] = known{sum, r.spans}
	}
	return all
}

// readerAt reads from bytes without the state of a bytes.Reader.
type readerAt []byte

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(r)) {
		return 0, io.EOF
	}
	n := copy(p, r[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// TestCorruption damages files at random: a byte, or 64 to 512 of them. Nothing
// may panic or hang, and the items whose bytes were not touched are read and
// found as before. EXPOST_SEED is another start of the random numbers.
func TestCorruption(t *testing.T) {
	t.Parallel()
	rounds := 2000
	if testing.Short() {
		rounds = 100
	}
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("EXPOST_SEED"), "1"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"HiraokaHyperTools__alpha-beta-gamma-delta.pst",
		"HiraokaHyperTools__nonUnicodeCP932.pst",
		"aspose-email__passwordprotectedPST.pst",
		"aspose-email__SampleContacts.pst",
		"aspose-email__source.pst",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture(t, name)
			good := baseline(t, b)
			rnd := rand.New(rand.NewPCG(seed, uint64(len(name))))
			for i := range rounds {
				corrupt(t, rnd, b, good, i%2 == 0)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// corrupt damages b, reads it, and repairs it.
func corrupt(t *testing.T, rnd *rand.Rand, b []byte, good map[uint32]known, single bool) {
	t.Helper()
	n := 1
	if !single {
		n = 64 << rnd.IntN(4)
	}
	from := rnd.IntN(len(b) - n)
	saved := append([]byte(nil), b[from:from+n]...)
	defer copy(b[from:], saved)
	for j := range n {
		b[from+j] ^= byte(1 + rnd.IntN(255))
	}
	if from < 512 { // the header may make it another file
		if f, err := open(b, pst.Options{}); err == nil {
			walk(f, nil)
		}
		return
	}
	f, err := open(b, pst.Options{})
	if err != nil {
		t.Errorf("%d bytes at %d: %v", n, from, err)
		return
	}
	walk(f, nil)
	found := items(f)
	for id, k := range good {
		if k.touched(int64(from), int64(from+n)) {
			continue
		}
		if !found[id] {
			t.Errorf("%d bytes at %d: item %#x is not found", n, from, id)
		}
		m, err := f.Message(id)
		if err != nil {
			t.Errorf("%d bytes at %d: %v", n, from, err)
			continue
		}
		if sum, _ := digest(m); sum != k.digest {
			t.Errorf("%d bytes at %d: item %#x has changed", n, from, id)
		}
	}
}
