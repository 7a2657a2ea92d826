package store

import (
	"encoding/binary"
	"strings"

	"expost/internal/mail"
)

// varints reads packed integers. bad is set where the bytes do not hold what
// was asked for, and stays set.
type varints struct {
	b   []byte
	bad bool
}

// uint reads an unsigned integer.
func (r *varints) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// int reads a signed integer.
func (r *varints) int() int64 {
	u := r.uint()
	return int64(u>>1) ^ -int64(u&1)
}

// byte reads one byte.
func (r *varints) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// bytes reads n bytes.
func (r *varints) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// keywordsOf returns the set that Keywords.String wrote.
func keywordsOf(words string) mail.Keywords { return mail.NewKeywords(strings.Fields(words)...) }

// appendUIDSet appends the packed form of a set: the number of ranges, then of
// each the distance to the one before and its length.
func appendUIDSet(b []byte, set mail.UIDSet) []byte {
	b = binary.AppendUvarint(b, uint64(len(set)))
	before := mail.UID(0)
	for _, r := range set {
		b = binary.AppendUvarint(b, uint64(r.First-before))
		b = binary.AppendUvarint(b, uint64(r.Last-r.First))
		before = r.Last
	}
	return b
}

// readUIDSet is the inverse of appendUIDSet.
func readUIDSet(b []byte) (mail.UIDSet, error) {
	r := varints{b: b}
	var set mail.UIDSet
	before := uint64(0)
	for n := r.uint(); n > 0 && !r.bad; n-- {
		first := before + r.uint()
		last := first + r.uint()
		if first == 0 || first < before || last < first || last > 1<<32-1 {
			r.bad = true
			break
		}
		set.AddRange(mail.UID(first), mail.UID(last))
		before = last
	}
	if r.bad || len(r.b) != 0 {
		return nil, mail.Errorf(mail.KindCorrupt, "a row of the expunge history is damaged")
	}
	return set, nil
}
