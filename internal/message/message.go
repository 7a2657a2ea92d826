// Package message reads RFC 5322 messages and their MIME structure (RFC
// 2045-2049, 2047, 2231, 6532) in one streaming pass that never fails: what
// cannot be parsed is opaque content.
package message

// Limits bound what one message may cost. The zero value of a field means the
// default named beside it.
type Limits struct {
	Parts      int // parts that get a Part of their own: 10,000; the rest stays inside its parent
	Depth      int // nesting of multiparts and messages: 100; deeper ones are opaque
	HeaderSize int // bytes kept of one header field: 64 KiB; the rest is skipped, not lost
	Headers    int // bytes read of one header block: 1 MiB; fields behind are skipped, not lost
	Kept       int // bytes kept of the fields of all parts together: 8 MiB; the rest is skipped, not lost
}

// withDefaults returns lim with its zero fields set.
func (lim Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{{&lim.Parts, 10_000}, {&lim.Depth, 100}, {&lim.HeaderSize, 64 << 10}, {&lim.Headers, 1 << 20}, {&lim.Kept, 8 << 20}} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return lim
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
// as it stands in the header, encoded words and 8-bit bytes included. Sender
// and ReplyTo are empty where the header has none; ENVELOPE repeats From then.
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

// Param is a parameter of a Content-Type or Content-Disposition with its name
// in lower case. A value in the extended form of RFC 2231 is UTF-8; any other
// is as it stands in the header, encoded words and 8-bit bytes included.
type Param struct{ Name, Value string }

// Part is one entity of a message: the message itself, a body part, or the
// message inside a message/rfc822 part. Offsets are bytes from the start of
// the outermost message. The line end before a boundary belongs to the
// boundary. A multipart or message that could not be taken apart (no boundary,
// too deep, too many parts) has no children.
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
	Lines       int64     // line ends in the body (RFC 9051 §7.5.2)
	Envelope    *Envelope // of the message inside; nil where the part has no child that is a message
}

// IsMultipart tells whether the part is of a multipart type.
func (p *Part) IsMultipart() bool { return p.Type == "multipart" }

// IsMessage tells whether the part is of a type that holds a message: its
// child, where it has one, is that message.
func (p *Part) IsMessage() bool {
	return p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global")
}

// Param returns the value of a Content-Type parameter, "" where it is absent.
func (p *Part) Param(name string) string { return paramValue(p.Params, name) }

// Filename returns the name the part suggests for a file as UTF-8: the
// disposition's, else the type's; "" where there is none.
func (p *Part) Filename() string {
	name := paramValue(p.DispParams, "filename")
	if name == "" {
		name = paramValue(p.Params, "name")
	}
	return DecodeHeader(name)
}

func paramValue(params []Param, name string) string {
	for _, p := range params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Children yields the indexes of the direct children of part i.
func (m *Message) Children(i int) []int {
	var children []int
	for j := i + 1; j < len(m.Parts) && m.Parts[j].Parent >= i; j++ {
		if m.Parts[j].Parent == i {
			children = append(children, j)
		}
	}
	return children
}

// Find returns the index of the part that an IMAP section number names
// (RFC 9051 §6.4.5.1), and false where there is none. The index of a
// message/rfc822 part is that of the part; HEADER and TEXT of it are those of
// its child. The only part of a message that is no multipart is the message's
// own entity.
func (m *Message) Find(section []int) (int, bool) {
	i := 0
	for step, n := range section {
		entity := step == 0 // part i is a message's own entity, which "1" may name
		if !entity && m.Parts[i].IsMessage() {
			if i+1 >= len(m.Parts) || m.Parts[i+1].Parent != i {
				return 0, false
			}
			i, entity = i+1, true
		}
		child, ok := m.child(i, n)
		switch {
		case ok && m.Parts[i].IsMultipart():
			i = child
		case entity && n == 1 && (!m.Parts[i].IsMultipart() || !ok):
			// The body of the entity itself.
		default:
			return 0, false
		}
	}
	return i, true
}

// child returns the index of the nth direct child of part i, from 1.
func (m *Message) child(i, n int) (int, bool) {
	for j := i + 1; j < len(m.Parts) && m.Parts[j].Parent >= i; j++ {
		if m.Parts[j].Parent == i {
			if n--; n == 0 {
				return j, true
			}
		}
	}
	return 0, false
}
