// Package message reads RFC 5322 messages and their MIME structure (RFC
// 2045-2049, 2047, 2231, 6532) in one streaming pass that never fails: what
// cannot be parsed is opaque content.
package message

import "io"

// Limits bound what one message may cost. The zero value of a field means the
// default named beside it.
type Limits struct {
	Parts      int // parts that get a Part of their own: 10,000; the rest stays inside its parent
	Depth      int // nesting of multiparts and messages: 100; deeper ones are opaque
	HeaderSize int // bytes kept of one header field: 64 KiB; the rest is skipped, not lost
	Headers    int // bytes kept of one header block: 1 MiB
}

// Message is what one pass over a message yields. It holds no body text.
type Message struct {
	Size     int64    // bytes, as RFC822.SIZE counts them
	Envelope Envelope // of the outermost header
	Parts    []Part   // pre-order; Parts[0] is the message itself
	Preview  string   // the first 256 or fewer characters of readable text (RFC 8970 §3.2)
	Refs     Refs     // what threads are made of
}

// Envelope is the ENVELOPE of RFC 9051 §7.5.2. Text is unfolded and otherwise
// as it stands in the header, encoded words and 8-bit bytes included.
type Envelope struct {
	Date, Subject, InReplyTo, MessageID string
	From, Sender, ReplyTo, To, Cc, Bcc  []Address
}

// Address is one member of an address list (RFC 9051 §7.5.2). A group starts
// with an Address whose Host is empty and Mailbox the group's name, and ends
// with one that is empty.
type Address struct{ Name, Route, Mailbox, Host string }

// Refs are the fields threads are made of, message ids without angle brackets.
type Refs struct {
	MessageID  string
	References []string // References, else In-Reply-To; oldest first
}

// Param is a parameter of a Content-Type or Content-Disposition, decoded
// (RFC 2231), with its name in lower case.
type Param struct{ Name, Value string }

// Part is one entity of a message: the message itself, a body part, or the
// message inside a message/rfc822 part. Offsets are bytes from the start of
// the outermost message.
type Part struct {
	Parent      int    // index in Message.Parts; -1 for the first
	Type        string // "text", lower case
	Subtype     string // "plain", lower case
	Params      []Param
	ID          string // Content-ID, with angle brackets
	Description string
	Encoding    string // Content-Transfer-Encoding, lower case; "7bit" where absent
	MD5         string
	Disposition string // lower case; empty where absent
	DispParams  []Param
	Language    []string
	Location    string
	Header      int64     // offset of the entity's header
	Body        int64     // offset of the entity's body
	End         int64     // offset behind the entity's body
	Lines       int64     // lines of the body (RFC 9051 §7.5.2)
	Envelope    *Envelope // of the message inside, for message/rfc822 and message/global
}

// Parser is an io.Writer that reads the message written to it.
type Parser struct{}

// NewParser returns a Parser. Where text is not nil, the decoded text of the
// message (header text, text parts as UTF-8, HTML as text, attachments' names)
// is written to it as it appears; an error of text ends that, not the parse.
func NewParser(lim Limits, text io.Writer) *Parser { panic("message: being written") }

// Write takes the next bytes of the message. It never fails.
func (p *Parser) Write(b []byte) (int, error) { panic("message: being written") }

// Finish returns what the bytes written so far amount to.
func (p *Parser) Finish() *Message { panic("message: being written") }

// Append appends m's compact, versioned binary form to dst.
func (m *Message) Append(dst []byte) []byte { panic("message: being written") }

// Decode is the inverse of Append. It bounds every length, and returns an
// error of mail.KindCorrupt for bytes that Append did not make.
func Decode(b []byte) (*Message, error) { panic("message: being written") }

// Children yields the indexes of the direct children of part i.
func (m *Message) Children(i int) []int { panic("message: being written") }

// Find returns the index of the part that an IMAP section number names
// (RFC 9051 §6.4.5.1), and false where there is none.
func (m *Message) Find(section []int) (int, bool) { panic("message: being written") }

// DecodeHeader returns a header value as UTF-8: encoded words decoded (RFC
// 2047), raw 8-bit bytes taken as UTF-8 where valid, else as Windows-1252.
func DecodeHeader(s string) string { panic("message: being written") }
