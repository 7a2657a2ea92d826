package mapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Converter makes mail of messages. The zero Converter works; it is for
// concurrent use if Resolve is.
type Converter struct {
	// Codepage is of the 8-bit strings of messages that do not name their own:
	// that of the store or folder. Zero is Windows-1252.
	Codepage int
	// Domain stands in addresses that are known by no SMTP address
	// (IMCEAEX-…@Domain) and in message ids that are made. "" is
	// "migrated.invalid".
	Domain string
	// Resolve returns the SMTP address of another one, "" where it knows none.
	Resolve func(Address) string
	// TNEF reads an attachment in Outlook's own format (winmail.dat), for what is
	// in it to be beside it in the mail; mapi/tnef.Read does. nil leaves it as
	// it is.
	TNEF func(io.Reader) (Message, error)
	// MaxDepth bounds messages in messages; deeper ones become their properties
	// as JSON. Zero is 50.
	MaxDepth int
}

// Result is what a mailbox keeps beside the mail itself.
type Result struct {
	Class     string
	MessageID string // with its angle brackets
	Flags     []string
	Keywords  []string  // categories, as they are written
	Received  time.Time // INTERNALDATE; zero where nothing tells
	// Unresolved are addresses that stay in an Exchange form.
	Unresolved []Address
	// Problems are what could not be read; all else was converted.
	Problems []error
}

// Mail is a message on its way to mail (RFC 5322, MIME). What its Result says is
// known before it is written; writing may add Problems.
type Mail struct {
	Result
	conv *conversion
	root *part
}

// Read reads a message, its attachments aside, which WriteTo reads as it
// writes them. Damage in m is a problem in the Result.
func (c *Converter) Read(m Message) *Mail {
	mail := &Mail{}
	mail.conv = c.conversion(m, &mail.Result, 0)
	mail.root = mail.conv.message()
	mail.conv.metadata()
	return mail
}

// Marks returns what is known of a message without its text: all that Read's
// Result says but MessageID and Unresolved.
func (c *Converter) Marks(m Message) *Result {
	r := &Result{}
	conv := &conversion{Converter: c, m: m, r: r}
	conv.view = view{Properties: m, problem: conv.report, cp: Codepage(m, c.Codepage)}
	r.Class = conv.text(idMessageClass)
	conv.class = upper(r.Class)
	conv.headers = parseFields(conv.text(idTransportHeaders))
	conv.metadata()
	return r
}

// WriteTo writes the mail. Its error is that of w. It may be called again.
func (m *Mail) WriteTo(w io.Writer) (int64, error) {
	out := &writer{w: w}
	m.root.write(out)
	out.endLine()
	if out.err != nil {
		return out.n, fmt.Errorf("writing a message: %w", out.err)
	}
	return out.n, nil
}

// Sidecar returns a JSON object of the properties that the mail does not hold.
func (m *Mail) Sidecar() []byte { return m.conv.sidecar() }

// Convert writes m as mail to w: Read and WriteTo together.
func (c *Converter) Convert(w io.Writer, m Message) (*Mail, error) {
	mail := c.Read(m)
	_, err := mail.WriteTo(w)
	return mail, err
}

// conversion is the work on one message.
type conversion struct {
	*Converter
	view
	m        Message
	r        *Result
	depth    int
	class    string // in capitals
	headers  fields // of the transport, nil where there are none to trust
	people   []person
	attached []attachment
	seed     string // of boundaries
}

func (c *Converter) conversion(m Message, r *Result, depth int) *conversion {
	conv := &conversion{Converter: c, m: m, r: r, depth: depth}
	conv.view = view{Properties: m, problem: conv.report, cp: Codepage(m, c.Codepage)}
	class := conv.text(idMessageClass)
	conv.class = upper(class)
	conv.headers = parseFields(conv.text(idTransportHeaders))
	conv.readPeople()
	conv.readAttachments()
	id := conv.messageID()
	if depth == 0 {
		r.Class, r.MessageID = class, id
	}
	sum := sha256.Sum256(fmt.Append(nil, id, depth))
	conv.seed = hex.EncodeToString(sum[:12])
	return conv
}

func (c *conversion) report(err error) {
	const most = 1000
	if len(c.r.Problems) < most {
		c.r.Problems = append(c.r.Problems, err)
	}
}

func (c *conversion) isClass(prefix string) bool {
	return c.class == prefix || strings.HasPrefix(c.class, prefix+".")
}

// messageID returns the message's id, made of what identifies it where it has none.
func (c *conversion) messageID() string {
	id := strings.TrimSpace(c.text(idMessageID))
	if id == "" {
		id = c.headers.get("Message-ID")
	}
	if id != "" && !strings.ContainsAny(id, "\r\n") {
		if !strings.HasPrefix(id, "<") {
			id = "<" + id + ">"
		}
		return id
	}
	h := sha256.New()
	created, _ := c.time(idCreationTime)
	sent, _ := c.time(idClientSubmitTime)
	key := c.bytes(idSearchKey)
	fmt.Fprintf(h, "%x %d %d %q %q %q", key, created, sent, c.subject(), c.text(idSenderName), c.text(idDisplayTo))
	if len(key) == 0 {
		io.WriteString(h, c.text(idBody))
	}
	return "<" + hex.EncodeToString(h.Sum(nil)[:20]) + "@" + c.domain() + ">"
}

func (c *conversion) domain() string {
	if c.Domain != "" {
		return c.Domain
	}
	return "migrated.invalid"
}

// subject returns the subject without the marker of its prefix, which some
// files have in front: 0x01 and a length ([MS-PST] 2.5.3.1.1.1).
func (c *conversion) subject() string {
	s := c.text(idSubject)
	if s == "" {
		s = c.text(idSubjectPrefix) + c.text(idNormalizedSubject)
	}
	if strings.HasPrefix(s, "\x01") {
		r := []rune(s)
		s = string(r[min(2, len(r)):])
	}
	return s
}

// message returns the whole mail as a tree of parts.
func (c *conversion) message() *part {
	root := c.content()
	root.fields = append(c.header(), root.fields...)
	root.root = true
	return root
}

// metadata fills in flags, keywords and the date.
func (c *conversion) metadata() {
	flags, _ := c.int(idMessageFlags)
	verb, _ := c.int(idLastVerb)
	icon, _ := c.int(idIconIndex)
	add := func(on bool, flag string) {
		if on {
			c.r.Flags = append(c.r.Flags, flag)
		}
	}
	flag, _ := c.int(idFlagStatus)
	status, _ := c.int(idMessageStatus)
	add(flags&1 != 0, `\Seen`)
	add(verb == 102 || verb == 103 || verb == 0 && icon == 261, `\Answered`)
	add(flag == 2, `\Flagged`)
	add(flags&8 != 0, `\Draft`)
	add(status&8 != 0, `\Deleted`)
	add(verb == 104 || verb == 0 && icon == 262, "$Forwarded")
	add(c.wantsReceipt() || flags&1 != 0 && c.isClass("REPORT"), "$MDNSent")
	c.r.Keywords = c.categories()
	for _, word := range c.namedStrings(keywordsName) {
		if !slices.Contains(c.r.Flags, word) {
			add(true, word)
		}
	}
	order := []uint16{idDeliveryTime, idClientSubmitTime, idCreationTime, idModificationTime}
	if flags&8 != 0 { // of a draft it is when somebody opened it
		order = []uint16{idCreationTime, idModificationTime, idClientSubmitTime}
	}
	for _, id := range order {
		if at, ok := c.instant(id); ok {
			c.r.Received = at
			return
		}
	}
}

// keywordsName is a property of our own: keywords of IMAP that neither flags nor
// categories are, for the way back.
var keywordsName = Name{Set: SetPublicStrings, String: "IMAPKeywords"}

// namedStrings returns a property of many strings that has a name.
func (v *view) namedStrings(name Name) []string {
	t, ok := v.Lookup(name, TypeString|MultiValued)
	if !ok {
		return nil
	}
	return v.texts(t.ID())
}

func (c *conversion) wantsReceipt() bool {
	return c.bool(idReadReceipt) || c.headers.get("Disposition-Notification-To") != ""
}

func (c *conversion) categories() []string {
	return c.namedStrings(Name{Set: SetPublicStrings, String: "Keywords"})
}
