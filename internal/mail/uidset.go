package mail

import (
	"iter"
	"slices"
	"strconv"
)

// UIDRange is a range of UIDs, both ends included, First <= Last.
type UIDRange struct{ First, Last UID }

// UIDSet is a set of UIDs as sorted ranges that neither touch nor overlap.
// Build one with Add or AddRange.
type UIDSet []UIDRange

// Add puts uid into the set. Adding in ascending order costs O(1).
func (s *UIDSet) Add(uid UID) { s.AddRange(uid, uid) }

// AddRange puts first..last into the set, in either order.
func (s *UIDSet) AddRange(first, last UID) {
	if first > last {
		first, last = last, first
	}
	set := *s
	if n := len(set); n > 0 && first > set[n-1].First {
		if end := set[n-1].Last; first <= end || first-1 == end {
			set[n-1].Last = max(end, last)
			return
		}
	}
	if n := len(set); n == 0 || first > set[n-1].Last {
		*s = append(set, UIDRange{first, last})
		return
	}
	// Everything from i touches or follows the new range; j is the first beyond it.
	i, _ := slices.BinarySearchFunc(set, first, func(r UIDRange, uid UID) int {
		if r.Last < uid && uid-r.Last > 1 {
			return -1
		}
		return 1
	})
	j := i
	for j < len(set) && (set[j].First <= last || set[j].First-1 == last) {
		first, last = min(first, set[j].First), max(last, set[j].Last)
		j++
	}
	*s = slices.Replace(set, i, j, UIDRange{first, last})
}

// Contains tells whether uid is in the set.
func (s UIDSet) Contains(uid UID) bool {
	_, ok := slices.BinarySearchFunc(s, uid, func(r UIDRange, uid UID) int {
		switch {
		case r.Last < uid:
			return -1
		case r.First > uid:
			return 1
		}
		return 0
	})
	return ok
}

// Len returns the number of UIDs in the set.
func (s UIDSet) Len() int {
	n := 0
	for _, r := range s {
		n += int(r.Last-r.First) + 1
	}
	return n
}

// All yields the UIDs in ascending order. Bound a set from a client before
// ranging over it: "1:*" holds four thousand million.
func (s UIDSet) All() iter.Seq[UID] {
	return func(yield func(UID) bool) {
		for _, r := range s {
			for uid := r.First; ; uid++ {
				if !yield(uid) {
					return
				}
				if uid == r.Last {
					break
				}
			}
		}
	}
}

// String returns the set as IMAP writes it: "1:3,7".
func (s UIDSet) String() string {
	var b []byte
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last != r.First {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Last), 10)
		}
	}
	return string(b)
}
