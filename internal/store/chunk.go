package store

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"sync/atomic"
	"weak"

	"expost/internal/mail"
)

// chunkCap is the number of messages of a full chunk: about 2 KiB packed, so
// that a delivery rewrites one page of the database.
const chunkCap = 128

// chunkVersion is the first byte of a packed chunk.
const chunkVersion = 1

// maxKeywordsLen bounds the text of one message's keywords, in bytes.
const maxKeywordsLen = 64 << 10

// chunk is up to chunkCap messages of a mailbox, ascending by UID. It is
// immutable. It stays packed in memory; what is unpacked to answer a request
// is dropped by the garbage collector.
//
// Packed, integers as varints:
//
//	version byte, CRC-32C of the rest (4 bytes, little-endian)
//	messages, unseen, deleted
//	first UID, highest modseq, lowest email, earliest internal date (signed)
//	number of keyword sets, each: length, words
//	number of zones, each: minutes (signed)
//	messages, each:
//	  head byte: flags, and which of keywords, thread, zone follow
//	  UID − the one before, highest modseq − modseq, email − lowest email
//	  size, internal date − earliest, save date − internal date (signed)
//	  [keyword set number] [thread − email (signed)] [zone number]
type chunk struct {
	key      mail.UID // names the chunk's row; at most the first UID, for ever
	first    mail.UID
	last     mail.UID
	n        int
	unseen   int
	deleted  int
	data     []byte
	sets     []mail.Keywords // that its messages have
	over     *ownFlags       // what to unpack instead of data; nil: data
	unpacked atomic.Pointer[weak.Pointer[page]]
}

// page is the messages of a chunk.
type page struct{ messages []mail.Message }

// What the head byte of a message says beside its five flags.
const (
	headKeywords = 1 << (5 + iota)
	headThread
	headZone
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// newChunk packs messages, of which there must be at least one.
func newChunk(key mail.UID, messages []mail.Message) *chunk {
	data, sets := packChunk(messages)
	return &chunk{
		key: key, first: messages[0].UID, last: messages[len(messages)-1].UID, n: len(messages),
		unseen:  countFlag(messages, mail.Seen, 0),
		deleted: countFlag(messages, mail.Deleted, mail.Deleted),
		data:    data,
		sets:    sets,
	}
}

// countFlag counts the messages whose flag is as want says.
func countFlag(messages []mail.Message, flag, want mail.Flags) int {
	n := 0
	for i := range messages {
		if messages[i].Flags&flag == want {
			n++
		}
	}
	return n
}

// messages returns the chunk's messages. Do not change them.
func (c *chunk) messages() []mail.Message {
	if w := c.unpacked.Load(); w != nil {
		if p := w.Value(); p != nil {
			return p.messages
		}
	}
	p := &page{c.unpack(nil)}
	w := weak.Make(p)
	c.unpacked.Store(&w)
	return p.messages
}

// read is messages, which are unpacked into once, unless that is nil or somebody
// has them unpacked.
func (c *chunk) read(once *page) []mail.Message {
	if once == nil {
		return c.messages()
	}
	if w := c.unpacked.Load(); w != nil {
		if p := w.Value(); p != nil {
			return p.messages
		}
	}
	once.messages = c.unpack(once.messages)
	return once.messages
}

// unpack returns the chunk's messages, in buf where that is large enough.
func (c *chunk) unpack(buf []mail.Message) []mail.Message {
	if c.over != nil {
		messages := c.over.base.unpack(buf)
		c.over.apply(messages)
		return messages
	}
	r := varints{b: c.data[5:]}
	h := r.head(c.sets)
	messages, err := r.messages(&h, slices.Grow(buf[:0], c.n))
	if err != nil {
		panic("store: a chunk that was checked when it was read is damaged: " + err.Error())
	}
	return messages
}

// find returns the place of uid in the chunk, or where it would be.
func (c *chunk) find(uid mail.UID) (int, bool) {
	return slices.BinarySearchFunc(c.messages(), uid, compareUID)
}

func compareUID(m mail.Message, uid mail.UID) int {
	switch {
	case m.UID < uid:
		return -1
	case m.UID > uid:
		return 1
	}
	return 0
}

// readChunk checks the packed bytes of the chunk named key, of which it keeps
// a copy. buf is scratch; it is returned for the next call.
func readChunk(key mail.UID, data []byte, buf []mail.Message) (*chunk, []mail.Message, error) {
	messages, sets, err := unpackChunk(data, buf[:0])
	if err != nil {
		return nil, buf, err
	}
	if messages[0].UID < key {
		return nil, buf, errChunk("a UID is below the chunk's first")
	}
	return &chunk{
		key: key, first: messages[0].UID, last: messages[len(messages)-1].UID, n: len(messages),
		unseen:  countFlag(messages, mail.Seen, 0),
		deleted: countFlag(messages, mail.Deleted, mail.Deleted),
		data:    slices.Clone(data),
		sets:    sets,
	}, messages, nil
}

// packChunk returns the packed form of messages, and the sets of keywords they
// have.
func packChunk(messages []mail.Message) ([]byte, []mail.Keywords) {
	h := headOf(messages)
	b := h.append(make([]byte, 5, 64+16*len(messages)))
	b[0] = chunkVersion
	before := messages[0].UID
	for i := range messages {
		b = h.appendMessage(b, &messages[i], before)
		before = messages[i].UID
	}
	return seal(b), h.sets
}

// seal writes the checksum into a packed chunk.
func seal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[1:], crc32.Checksum(b[5:], crcTable))
	return b
}

// errChunk returns the error of a damaged chunk.
func errChunk(what string) error {
	return mail.Errorf(mail.KindCorrupt, "a piece of the mailbox index is damaged: %s", what)
}

// chunkHead is what stands before the messages of a packed chunk.
type chunkHead struct {
	n        uint64
	uid      uint64
	top      uint64
	lowest   uint64
	earliest int64
	sets     []mail.Keywords
	zones    []int16
}

// headOf returns the head of a chunk of messages.
func headOf(messages []mail.Message) chunkHead {
	m := &messages[0]
	h := chunkHead{
		n: uint64(len(messages)), uid: uint64(m.UID), top: uint64(m.ModSeq), lowest: uint64(m.Email), earliest: m.InternalDate.Unix,
	}
	for i := range messages {
		m := &messages[i]
		h.top, h.lowest, h.earliest = max(h.top, uint64(m.ModSeq)), min(h.lowest, uint64(m.Email)), min(h.earliest, m.InternalDate.Unix)
		if m.Keywords != (mail.Keywords{}) && !slices.Contains(h.sets, m.Keywords) {
			h.sets = append(h.sets, m.Keywords)
		}
		if m.InternalDate.Offset != 0 && !slices.Contains(h.zones, m.InternalDate.Offset) {
			h.zones = append(h.zones, m.InternalDate.Offset)
		}
	}
	return h
}

// append appends the packed head.
func (h *chunkHead) append(b []byte) []byte {
	for _, n := range [...]uint64{h.n, h.uid, h.top, h.lowest} {
		b = binary.AppendUvarint(b, n)
	}
	b = binary.AppendVarint(b, h.earliest)
	b = binary.AppendUvarint(b, uint64(len(h.sets)))
	for _, k := range h.sets {
		b = binary.AppendUvarint(b, uint64(len(k.String())))
		b = append(b, k.String()...)
	}
	b = binary.AppendUvarint(b, uint64(len(h.zones)))
	for _, z := range h.zones {
		b = binary.AppendVarint(b, int64(z))
	}
	return b
}

// appendMessage appends a packed message that follows the one of UID before.
func (h *chunkHead) appendMessage(b []byte, m *mail.Message, before mail.UID) []byte {
	head := byte(m.Flags)
	if m.Keywords != (mail.Keywords{}) {
		head |= headKeywords
	}
	if uint64(m.Thread) != uint64(m.Email) {
		head |= headThread
	}
	if m.InternalDate.Offset != 0 {
		head |= headZone
	}
	b = append(b, head)
	b = binary.AppendUvarint(b, uint64(m.UID-before))
	b = binary.AppendUvarint(b, h.top-uint64(m.ModSeq))
	b = binary.AppendUvarint(b, uint64(m.Email)-h.lowest)
	b = binary.AppendUvarint(b, uint64(m.Size))
	b = binary.AppendUvarint(b, uint64(m.InternalDate.Unix-h.earliest))
	b = binary.AppendVarint(b, m.SaveDate-m.InternalDate.Unix)
	if head&headKeywords != 0 {
		b = binary.AppendUvarint(b, uint64(slices.Index(h.sets, m.Keywords)))
	}
	if head&headThread != 0 {
		b = binary.AppendVarint(b, int64(m.Thread)-int64(m.Email))
	}
	if head&headZone != 0 {
		b = binary.AppendUvarint(b, uint64(slices.Index(h.zones, m.InternalDate.Offset)))
	}
	return b
}

// unpackChunk appends the messages of packed bytes to dst, and returns the sets
// of keywords they have.
func unpackChunk(data []byte, dst []mail.Message) ([]mail.Message, []mail.Keywords, error) {
	if len(data) < 5 || data[0] != chunkVersion {
		return dst, nil, errChunk("unknown version")
	}
	if binary.LittleEndian.Uint32(data[1:]) != crc32.Checksum(data[5:], crcTable) {
		return dst, nil, errChunk("checksum")
	}
	r := varints{b: data[5:]}
	h := r.head(nil)
	dst, err := r.messages(&h, dst)
	return dst, h.sets, err
}

// messages appends the messages behind the head to dst.
func (r *varints) messages(h *chunkHead, dst []mail.Message) ([]mail.Message, error) {
	if r.bad || h.n == 0 || h.n > uint64(len(r.b)) {
		return dst, errChunk("head")
	}
	uid := h.uid
	for i := range h.n {
		m := r.message(h)
		if i > 0 && m.UID == 0 {
			r.bad = true
		}
		uid += uint64(m.UID)
		if r.bad || uid == 0 || uid > 1<<32-1 {
			return dst, errChunk("message")
		}
		m.UID = mail.UID(uid)
		dst = append(dst, m)
	}
	if len(r.b) != 0 {
		return dst, errChunk("bytes left over")
	}
	return dst, nil
}

// head reads what stands before the messages; sets are those of the keywords,
// where they are known.
func (r *varints) head(sets []mail.Keywords) chunkHead {
	h := chunkHead{n: r.uint(), uid: r.uint(), top: r.uint(), lowest: r.uint(), earliest: r.int(), sets: sets}
	for n := r.uint(); n > 0 && !r.bad; n-- {
		switch words := r.bytes(r.uint()); {
		case len(words) == 0 || len(words) > maxKeywordsLen:
			r.bad = true
		case sets == nil:
			h.sets = append(h.sets, keywordsOf(string(words)))
		}
	}
	for n := r.uint(); n > 0 && !r.bad; n-- {
		h.zones = append(h.zones, int16(r.int()))
	}
	return h
}

// message reads one message; its UID is the distance to the one before.
func (r *varints) message(h *chunkHead) mail.Message {
	head := r.byte()
	m := mail.Message{Flags: mail.Flags(head & 0x1f), UID: mail.UID(min(r.uint(), 1<<32-1))}
	m.ModSeq = mail.ModSeq(h.top - r.uint())
	m.Email = mail.EmailID(h.lowest + r.uint())
	m.Thread = mail.ThreadID(m.Email)
	m.Size = int64(r.uint())
	m.InternalDate.Unix = h.earliest + int64(r.uint())
	m.SaveDate = m.InternalDate.Unix + r.int()
	if head&headKeywords != 0 {
		if i := r.uint(); i < uint64(len(h.sets)) {
			m.Keywords = h.sets[i]
		} else {
			r.bad = true
		}
	}
	if head&headThread != 0 {
		m.Thread = mail.ThreadID(int64(m.Email) + r.int())
	}
	if head&headZone != 0 {
		if i := r.uint(); i < uint64(len(h.zones)) {
			m.InternalDate.Offset = h.zones[i]
		} else {
			r.bad = true
		}
	}
	return m
}
