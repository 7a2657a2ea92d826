package fulltext

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"

	"github.com/klauspost/compress/s2"

	"expost/internal/mail"
)

// BlockSize is how much text a block holds before the next one is begun, bytes.
const BlockSize = 64 << 10

// maxText bounds the text of a block that is read, bytes.
const maxText = 64 << 20

// Entry is an email of a block.
type Entry struct {
	ID   mail.EmailID
	Text Text // nil: it is too long, and was left out
}

// Head is what is read of each block: which emails it holds, and a filter of
// what is in their text.
type Head struct {
	IDs  []mail.EmailID
	ends []int // of their texts, the same as the one before: left out
	bits []byte
}

// Indexed tells whether the block holds the text of the email at i.
func (h *Head) Indexed(i int) bool { return h.start(i) < h.ends[i] }

// start returns where the text at i starts.
func (h *Head) start(i int) int {
	if i == 0 {
		return 0
	}
	return h.ends[i-1]
}

// Size returns the bytes of text.
func (h *Head) Size() int { return h.start(len(h.ends)) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Pack packs emails, which ascend by id, into the two parts of a block.
func Pack(entries []Entry) (head, data []byte) {
	var text []byte
	head = binary.AppendUvarint(nil, uint64(len(entries)))
	last := mail.EmailID(0)
	for _, e := range entries {
		head = binary.AppendUvarint(head, uint64(e.ID-last))
		head = binary.AppendUvarint(head, uint64(len(e.Text)))
		last = e.ID
		text = append(text, e.Text...)
	}
	head = append(head, newFilter(text)...)
	return withSum(head), withSum(s2.Encode(nil, text))
}

// withSum appends the checksum of b to it.
func withSum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// ReadHead reads the first part of a block into h. The filter is valid as long
// as b is.
func (h *Head) ReadHead(b []byte) error {
	b, err := checked(b)
	if err != nil {
		return err
	}
	h.IDs, h.ends = h.IDs[:0], h.ends[:0]
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)) {
		return errDamaged()
	}
	b = b[size:]
	id, end := uint64(0), uint64(0)
	for range n {
		delta, n1 := binary.Uvarint(b)
		if n1 <= 0 || delta == 0 {
			return errDamaged()
		}
		length, n2 := binary.Uvarint(b[n1:])
		if n2 <= 0 || length > maxText || end+length > maxText {
			return errDamaged()
		}
		b = b[n1+n2:]
		id, end = id+delta, end+length
		h.IDs, h.ends = append(h.IDs, mail.EmailID(id)), append(h.ends, int(end))
	}
	if len(b) == 0 || len(b)&(len(b)-1) != 0 {
		return errDamaged()
	}
	h.bits = b
	return nil
}

// checked returns b without the checksum at its end.
func checked(b []byte) ([]byte, error) {
	n := len(b) - 4
	if n < 0 || binary.LittleEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return nil, errDamaged()
	}
	return b[:n], nil
}

func errDamaged() error {
	return mail.Errorf(mail.KindCorrupt, "a block of the search index is damaged")
}

// Unpack returns the texts of a block, in buf where that is large enough.
func (h *Head) Unpack(data, buf []byte) (texts []byte, err error) {
	if data, err = checked(data); err != nil {
		return nil, err
	}
	if n, err := s2.DecodedLen(data); err != nil || n != h.Size() {
		return nil, errDamaged()
	}
	texts, err = s2.Decode(buf[:cap(buf)], data)
	if err != nil || len(texts) != h.Size() {
		return nil, errDamaged()
	}
	return texts, nil
}

// Text returns the text at i out of what Unpack returned.
func (h *Head) Text(texts []byte, i int) Text { return Text(texts[h.start(i):h.ends[i]]) }

// gram is how many bytes the filter knows together.
const gram = 4

// newFilter returns a Bloom filter, two bits of about nine each, of all runs of
// four bytes in a text. Its length is a power of two.
func newFilter(text []byte) []byte {
	if len(text) < gram {
		return []byte{0}
	}
	large := make([]byte, ceil(len(text))) // a bit for each hash, to count the different ones
	different := 0
	each(text, func(h uint32) bool {
		i := h & (uint32(len(large))*8 - 1)
		if large[i/8]&(1<<(i%8)) == 0 {
			large[i/8] |= 1 << (i % 8)
			different++
		}
		return true
	})
	filter := make([]byte, ceil(different*6/8))
	mask := uint32(len(filter))*8 - 1
	each(text, func(h uint32) bool {
		i, j := h&mask, second(h)&mask
		filter[i/8] |= 1 << (i % 8)
		filter[j/8] |= 1 << (j % 8)
		return true
	})
	return filter
}

// ceil returns the power of two that is n or next above.
func ceil(n int) int { return 1 << bits.Len(uint(max(n, 1)-1)) }

// second returns another hash out of the first.
func second(h uint32) uint32 { return h>>16 | h<<16 ^ h>>7 }

// each calls fn with a hash of each run of four bytes until it returns false.
func each(text []byte, fn func(h uint32) bool) {
	for i := 0; i+gram <= len(text); i++ {
		h := binary.LittleEndian.Uint32(text[i:]) * 0x9E3779B1
		h ^= h >> 15
		h *= 0x85EBCA77
		if h ^= h >> 13; !fn(h) {
			return
		}
	}
}

// May tells whether a needle may be in the block: false is certain.
func (h *Head) May(n *Needle) bool {
	may := true
	mask := uint32(len(h.bits))*8 - 1
	each(n.Text, func(hash uint32) bool {
		i, j := hash&mask, second(hash)&mask
		may = h.bits[i/8]&(1<<(i%8)) != 0 && h.bits[j/8]&(1<<(j%8)) != 0
		return may
	})
	return may
}
