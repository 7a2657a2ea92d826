package pst

import "iter"

// bth is a B-tree on a heap ([MS-PST] 2.3.2).
type bth struct {
	heap       *heap
	key, value int // the sizes of a record's parts
	levels     int
	root       uint32
}

// openBTH opens the tree whose header is at hid, and checks that its records
// have at least the sizes given.
func openBTH(h *heap, hid uint32, key, value int) (*bth, error) {
	b, err := h.get(hid)
	if err != nil {
		return nil, err
	}
	if len(b) < 8 || b[0] != clientBTH {
		return nil, damaged(h.place(), "no tree is at %#x of the heap", hid)
	}
	t := &bth{h, int(b[1]), int(b[2]), int(b[3]), le.Uint32(b[4:])}
	if t.key < key || t.value < value || t.levels > 8 {
		return nil, damaged(h.place(), "the tree at %#x of the heap has keys of %d bytes, values of %d and %d levels", hid, t.key, t.value, t.levels)
	}
	return t, nil
}

// count guesses the number of records: it is right where the tree has one level.
func (t *bth) count() int {
	if t.levels > 0 {
		return 128
	}
	b, err := t.heap.get(t.root)
	if err != nil {
		return 0
	}
	return len(b) / (t.key + t.value)
}

// records yields key and value of each record together, and an error for each
// part of the tree that cannot be read. It yields no more records than the
// heap has room for.
func (t *bth) records() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		budget := t.heap.tree.Size()
		if t.root != 0 {
			t.walk(t.root, t.levels, &budget, yield)
		}
	}
}

func (t *bth) walk(hid uint32, level int, budget *int64, yield func([]byte, error) bool) bool {
	b, err := t.heap.get(hid)
	if err != nil {
		*budget -= 4
		return yield(nil, err) && *budget > 0
	}
	width := t.key + t.value
	if level > 0 {
		width = t.key + 4
	}
	for ; len(b) >= width; b = b[width:] {
		if *budget -= int64(width); *budget < 0 {
			return yield(nil, damaged(t.heap.place(), "a tree on the heap refers to parts of itself")) && false
		}
		if level > 0 {
			if !t.walk(le.Uint32(b[t.key:]), level-1, budget, yield) {
				return false
			}
		} else if !yield(b[:width], nil) {
			return false
		}
	}
	return true
}
