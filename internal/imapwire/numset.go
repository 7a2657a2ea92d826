package imapwire

import (
	"strconv"

	"expost/internal/mail"
)

// NumRange is a range of sequence numbers or UIDs as a client wrote it; 0
// stands for "*".
type NumRange struct{ First, Last uint32 }

// NumSet is a sequence-set (RFC 9051 §9). The zero NumSet is empty, which no
// client can write.
type NumSet struct {
	Saved  bool // "$": the saved search result (RFC 5182)
	Ranges []NumRange
}

// NumSet reads a sequence-set.
func (d *Decoder) NumSet() NumSet {
	if d.Try('$') {
		return NumSet{Saved: true}
	}
	var set NumSet
	for d.err == nil {
		if len(set.Ranges) >= d.lim.List {
			d.tooBig("a set has more than " + strconv.Itoa(d.lim.List) + " ranges")
			break
		}
		r := NumRange{First: d.setNumber()}
		if r.Last = r.First; d.Try(':') {
			r.Last = d.setNumber()
		}
		set.Ranges = append(set.Ranges, r)
		if !d.Try(',') {
			break
		}
	}
	return set
}

// Message reads the number or UID of one message.
func (d *Decoder) Message() NumSet {
	n := d.setNumber()
	return NumSet{Ranges: []NumRange{{n, n}}}
}

// setNumber reads a number or "*".
func (d *Decoder) setNumber() uint32 {
	if d.Try('*') {
		return 0
	}
	return d.nz32()
}

// Resolve returns the set with largest in the place of "*", its ranges in
// order and apart. Numbers beyond what exists stay in.
func (s NumSet) Resolve(largest uint32) mail.UIDSet {
	var set mail.UIDSet
	for _, r := range s.Ranges {
		first, last := r.First, r.Last
		if first == 0 {
			first = largest
		}
		if last == 0 {
			last = largest
		}
		if first == 0 || last == 0 {
			continue
		}
		set.AddRange(mail.UID(first), mail.UID(last))
	}
	return set
}

// AppendNumSet appends a set of numbers: "1:3,7".
func AppendNumSet(dst []byte, set mail.UIDSet) []byte {
	for i, r := range set {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(r.First), 10)
		if r.Last != r.First {
			dst = append(dst, ':')
			dst = strconv.AppendUint(dst, uint64(r.Last), 10)
		}
	}
	return dst
}

// AppendNumList appends numbers in the order given, neighbours that ascend by
// one as ranges, as COPYUID wants it (RFC 4315 §3).
func AppendNumList(dst []byte, nums []mail.UID) []byte {
	for i := 0; i < len(nums); {
		j := i
		for j+1 < len(nums) && nums[j+1] == nums[j]+1 {
			j++
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(nums[i]), 10)
		if j > i {
			dst = append(dst, ':')
			dst = strconv.AppendUint(dst, uint64(nums[j]), 10)
		}
		i = j + 1
	}
	return dst
}
