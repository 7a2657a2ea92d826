package message

import (
	"encoding/binary"
	"math"

	"expost/internal/mail"
)

// codecVersion begins every encoded Message. The form behind it: the numbers of
// parts, nested envelopes, addresses, parameters and list strings (so that each
// kind is allocated once), then the Message field by field. Integers are
// uvarints; offsets are relative to the one before. A string is a uvarint n and
// where n is even n/2 bytes, else the word n/2 of codecWords.
const codecVersion = 1

// codecWords are frequent strings. The list belongs to the version: a change
// makes a new one.
var codecWords = [...]string{
	"text", "plain", "html", "multipart", "alternative", "mixed", "related", "report", "signed", "digest",
	"message", "rfc822", "delivery-status", "application", "octet-stream", "pdf", "image", "jpeg", "png", "gif",
	"7bit", "8bit", "binary", "base64", "quoted-printable", "charset", "utf-8", "us-ascii", "iso-8859-1", "windows-1252",
	"boundary", "name", "filename", "format", "flowed", "delsp", "type", "attachment", "inline", "size",
	"creation-date", "modification-date", "UTF-8", "US-ASCII", "ISO-8859-1", "Windows-1252", "iso-8859-15", "report-type", "text/html", "multipart/alternative",
}

var codecIndex = func() map[string]uint64 {
	index := make(map[string]uint64, len(codecWords))
	for i, w := range codecWords {
		index[w] = uint64(i)<<1 | 1
	}
	return index
}()

// Append appends m's compact, versioned binary form to dst.
func (m *Message) Append(dst []byte) []byte {
	e := encoder{b: append(dst, codecVersion)}
	n := m.counts()
	for _, c := range []int{n.parts, n.envelopes, n.addresses, n.params, n.words} {
		e.int(int64(c))
	}
	e.int(m.Size)
	e.envelope(&m.Envelope)
	e.string(m.Refs.MessageID)
	e.strings(m.Refs.References)
	e.string(m.Preview)
	var last int64
	for i := range m.Parts {
		e.part(&m.Parts[i], i, last)
		last = m.Parts[i].Header
	}
	return e.b
}

// counts are the numbers of things in a Message that Decode allocates.
type counts struct{ parts, envelopes, addresses, params, words int }

func (m *Message) counts() counts {
	n := counts{parts: len(m.Parts), words: len(m.Refs.References), addresses: m.Envelope.addresses()}
	for i := range m.Parts {
		p := &m.Parts[i]
		n.params += len(p.Params) + len(p.DispParams)
		n.words += len(p.Language)
		if p.Envelope != nil {
			n.envelopes++
			n.addresses += p.Envelope.addresses()
		}
	}
	return n
}

// lists are the address lists of an envelope.
func (env *Envelope) lists() [6]*[]Address {
	return [6]*[]Address{&env.From, &env.Sender, &env.ReplyTo, &env.To, &env.Cc, &env.Bcc}
}

func (env *Envelope) addresses() int {
	n := 0
	for _, list := range env.lists() {
		n += len(*list)
	}
	return n
}

// encoder appends to b.
type encoder struct{ b []byte }

func (e *encoder) int(n int64) { e.b = binary.AppendUvarint(e.b, uint64(n)) }

func (e *encoder) string(s string) {
	if i, ok := codecIndex[s]; ok {
		e.b = binary.AppendUvarint(e.b, i)
		return
	}
	e.b = binary.AppendUvarint(e.b, uint64(len(s))<<1)
	e.b = append(e.b, s...)
}

func (e *encoder) strings(list []string) {
	e.int(int64(len(list)))
	for _, s := range list {
		e.string(s)
	}
}

func (e *encoder) params(list []Param) {
	e.int(int64(len(list)))
	for _, p := range list {
		e.string(p.Name)
		e.string(p.Value)
	}
}

func (e *encoder) envelope(env *Envelope) {
	e.string(env.Date)
	e.string(env.Subject)
	e.string(env.InReplyTo)
	e.string(env.MessageID)
	for _, list := range env.lists() {
		e.int(int64(len(*list)))
		for _, a := range *list {
			e.string(a.Name)
			e.string(a.Route)
			e.string(a.Mailbox)
			e.string(a.Host)
		}
	}
}

// part appends part i; last is the Header of the part before.
func (e *encoder) part(p *Part, i int, last int64) {
	e.int(int64(i - p.Parent))
	e.int(p.Header - last)
	e.int(p.Body - p.Header)
	e.int(p.End - p.Body)
	e.int(p.Lines)
	for _, s := range p.strings() {
		e.string(*s)
	}
	e.params(p.Params)
	e.params(p.DispParams)
	e.strings(p.Language)
	if p.Envelope == nil {
		e.int(0)
		return
	}
	e.int(1)
	e.envelope(p.Envelope)
}

// strings are the string fields of a part.
func (p *Part) strings() [8]*string {
	return [8]*string{&p.Type, &p.Subtype, &p.ID, &p.Description, &p.Encoding, &p.MD5, &p.Disposition, &p.Location}
}

// Decode is the inverse of Append. It bounds every length, and returns an
// error of mail.KindCorrupt for bytes that Append did not make. The strings of
// the Message share one copy of b.
func Decode(b []byte) (*Message, error) { return DecodeString(string(b)) }

// DecodeString is Decode of bytes that the strings of the Message share.
func DecodeString(s string) (*Message, error) {
	if len(s) == 0 || s[0] != codecVersion {
		return nil, mail.Errorf(mail.KindCorrupt, "the stored structure of a message is of no known version")
	}
	d := decoder{s: s[1:]}
	var n counts
	for _, c := range []*int{&n.parts, &n.envelopes, &n.addresses, &n.params, &n.words} {
		*c = d.count()
	}
	m := &Message{Size: d.int()}
	if d.bad {
		return nil, errCorrupt()
	}
	d.addresses = make([]Address, n.addresses)
	d.params = make([]Param, n.params)
	d.words = make([]string, n.words)
	d.envelopes = make([]Envelope, n.envelopes)
	m.Parts = make([]Part, n.parts)
	d.envelope(&m.Envelope)
	m.Refs.MessageID = d.string()
	m.Refs.References = d.wordList()
	m.Preview = d.string()
	var last int64
	for i := range m.Parts {
		d.part(&m.Parts[i], i, last)
		last = m.Parts[i].Header
	}
	if d.bad || d.s != "" || !m.sound() {
		return nil, errCorrupt()
	}
	return m, nil
}

func errCorrupt() error {
	return mail.Errorf(mail.KindCorrupt, "the stored structure of a message is damaged")
}

// sound tells whether the offsets of m make sense, so that who cuts by them
// need not look.
func (m *Message) sound() bool {
	if len(m.Parts) == 0 || m.Size < 0 {
		return false
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		if p.Header < 0 || p.Body < p.Header || p.End < p.Body || p.End > m.Size || p.Lines < 0 {
			return false
		}
		if i == 0 {
			if p.Parent != -1 {
				return false
			}
		} else if p.Parent < 0 || p.Parent >= i || p.Header < m.Parts[p.Parent].Body {
			return false
		}
	}
	return true
}

// decoder reads from s. The slices are what is left of the things that were
// counted beforehand.
type decoder struct {
	s         string
	bad       bool
	addresses []Address
	params    []Param
	words     []string
	envelopes []Envelope
}

func (d *decoder) fail() {
	d.bad = true
	d.s = ""
}

func (d *decoder) uint() uint64 {
	var n uint64
	for i := 0; i < len(d.s) && i < binary.MaxVarintLen64; i++ {
		c := d.s[i]
		if c < 0x80 {
			d.s = d.s[i+1:]
			return n | uint64(c)<<(7*i)
		}
		n |= uint64(c&0x7f) << (7 * i)
	}
	d.fail()
	return 0
}

func (d *decoder) int() int64 {
	n := d.uint()
	if n > math.MaxInt64/4 { // so that the sum of two does not overflow
		d.fail()
		return 0
	}
	return int64(n)
}

// count reads a number of things that each take a byte or more.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.s)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	n := d.uint()
	if n&1 == 1 {
		if n >>= 1; n < uint64(len(codecWords)) {
			return codecWords[n]
		}
		d.fail()
		return ""
	}
	n >>= 1
	if n > uint64(len(d.s)) {
		d.fail()
		return ""
	}
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}

// take cuts the next n off what is left of a kind of thing; nil for none.
func take[T any](d *decoder, left *[]T) []T {
	n := d.count()
	if n == 0 {
		return nil
	}
	if n > len(*left) {
		d.fail()
		return nil
	}
	list := (*left)[:n:n]
	*left = (*left)[n:]
	return list
}

func (d *decoder) wordList() []string {
	list := take(d, &d.words)
	for i := range list {
		list[i] = d.string()
	}
	return list
}

func (d *decoder) paramList() []Param {
	list := take(d, &d.params)
	for i := range list {
		list[i] = Param{Name: d.string(), Value: d.string()}
	}
	return list
}

func (d *decoder) addressList() []Address {
	list := take(d, &d.addresses)
	for i := range list {
		list[i] = Address{Name: d.string(), Route: d.string(), Mailbox: d.string(), Host: d.string()}
	}
	return list
}

func (d *decoder) envelope(env *Envelope) {
	env.Date = d.string()
	env.Subject = d.string()
	env.InReplyTo = d.string()
	env.MessageID = d.string()
	for _, list := range env.lists() {
		*list = d.addressList()
	}
}

// part reads part i; last is the Header of the part before.
func (d *decoder) part(p *Part, i int, last int64) {
	p.Parent = i - int(d.int())
	p.Header = last + d.int()
	p.Body = p.Header + d.int()
	p.End = p.Body + d.int()
	p.Lines = d.int()
	for _, s := range p.strings() {
		*s = d.string()
	}
	p.Params = d.paramList()
	p.DispParams = d.paramList()
	p.Language = d.wordList()
	if d.uint() == 0 {
		return
	}
	if len(d.envelopes) == 0 {
		d.fail()
		return
	}
	p.Envelope = &d.envelopes[0]
	d.envelopes = d.envelopes[1:]
	d.envelope(p.Envelope)
}
