package smtpclient

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"expost/internal/mail"
	"expost/internal/sevenbit"
)

// Message is one transaction.
type Message struct {
	From       mail.Address // empty: the null reverse-path
	Recipients []Recipient  // at least one
	Body       io.WriterTo  // CRLF line ends; WriteTo may be called several times
	Size       int64        // bytes of Body
	EightBit   bool         // Body has bytes above 127
	UTF8       bool         // the header has bytes above 127 (RFC 6532)
	RequireTLS bool         // RFC 8689
	Return     string       // RET: "FULL", "HDRS"; empty: not given
	EnvID      string       // ENVID, not encoded; empty: not given
	Priority   int          // MT-PRIORITY (RFC 6710)
	By         time.Time    // deliver-by time (RFC 2852); zero: none
	ByReturn   bool         // it is returned then
	ByTrace    bool
}

// Recipient is one RCPT.
type Recipient struct {
	Address  mail.Address
	Notify   string // NOTIFY: "NEVER", or a list of "SUCCESS", "FAILURE", "DELAY"; empty: not given
	Original string // ORCPT: "rfc822;user@host", not encoded; empty: not given
}

// refusals that are ours, not the server's.
var (
	replyNoUTF8 = Reply{Code: 550, Status: "5.6.7", Text: "the message has an address that is not ASCII, which the receiving server does not take (no SMTPUTF8)"}
	replyNoBy   = Reply{Code: 554, Status: "5.3.3", Text: "the message must be delivered by a certain time, which the receiving server does not promise (no DELIVERBY)"}
	replyNoTLS  = Reply{Code: 550, Status: "5.7.30", Text: "the message may only be sent over verified TLS, which the receiving server does not promise to go on with (no REQUIRETLS)"}
)

// replyNoConversion says why a message cannot be made one that the server takes.
func replyNoConversion(c *Conn, err error) Reply {
	if c.Has("8BITMIME") {
		return Reply{Code: 550, Status: "5.6.7", Text: "the receiving server takes no header in UTF-8 (no SMTPUTF8), and the message cannot be converted: " + err.Error()}
	}
	return Reply{Code: 554, Status: "5.6.3", Text: "the receiving server takes no 8-bit text (no 8BITMIME), and the message cannot be converted: " + err.Error()}
}

// Send sends a message, converted where the server takes 7-bit text only, and
// returns what became of each recipient, in their order. Where the session breaks the error says how; the recipients whose
// Reply has a Code were answered before that. It is an ErrUnheard where nothing
// was answered but a 421.
func (c *Conn) Send(m *Message) ([]Reply, error) {
	replies := make([]Reply, len(m.Recipients))
	if c.converts(m) {
		var err error
		if m, err = c.convert(m); mail.KindOf(err) == mail.KindInvalid {
			return all(replies, replyNoConversion(c, err)), nil
		} else if err != nil {
			return all(replies, Reply{Code: 451, Status: "4.3.0", Text: err.Error()}), nil
		}
	}
	if r, ok := c.unfit(m); ok {
		return all(replies, r), nil
	}
	from, to, ok := c.paths(m)
	if !ok {
		return all(replies, replyNoUTF8), nil
	}
	t := &transaction{Conn: c, m: m, replies: replies, mail: "MAIL FROM:<" + from + ">" + c.mailParams(m)}
	for i, r := range m.Recipients {
		t.rcpt = append(t.rcpt, "RCPT TO:<"+to[i]+">"+c.rcptParams(r))
	}
	heard := c.heard
	err := t.run()
	if c.heard == heard {
		c.broken = true
		if err == nil {
			err = errors.New(replies[0].String())
		}
		err = fmt.Errorf("%w: %w", ErrUnheard, err)
	}
	return replies, err
}

// converts tells whether the server does not take the message as it is.
func (c *Conn) converts(m *Message) bool {
	return m.EightBit && !c.Has("8BITMIME") || m.UTF8 && !c.Has("SMTPUTF8")
}

// convert returns the message as the server takes it (RFC 6152 §3). A header in
// UTF-8 costs its addresses nothing: an envelope that needs SMTPUTF8 is refused
// by paths.
func (c *Conn) convert(m *Message) (*Message, error) {
	scope := sevenbit.Header
	if m.EightBit && !c.Has("8BITMIME") {
		scope = sevenbit.All
	}
	converted, err := sevenbit.Convert(m.Body, scope)
	if err != nil {
		return m, err
	}
	n := *m
	n.Body, n.Size, n.EightBit, n.UTF8 = converted, converted.Size, converted.EightBit, false
	return &n, nil
}

// unfit tells whether the server cannot take the message at all, and why.
func (c *Conn) unfit(m *Message) (Reply, bool) {
	limit := c.sizeLimit()
	switch {
	case limit > 0 && m.Size > limit:
		return Reply{Code: 552, Status: "5.3.4", Text: fmt.Sprintf("the message has %d bytes, the receiving server takes at most %d", m.Size, limit)}, true
	case m.RequireTLS && m.From != "" && !c.requiresTLS(): // RFC 8689 §5: a report goes all the same
		return replyNoTLS, true
	case m.ByReturn && !m.By.IsZero() && !c.Has("DELIVERBY") && !c.opt.LMTP:
		return replyNoBy, true
	}
	return Reply{}, false
}

// requiresTLS tells whether the server promises REQUIRETLS, and proves who it is.
func (c *Conn) requiresTLS() bool { return c.secure && c.opt.TLS.verifies() && c.Has("REQUIRETLS") }

// all sets every reply.
func all(replies []Reply, r Reply) []Reply {
	for i := range replies {
		replies[i] = r
	}
	return replies
}

// paths returns the addresses as they go over the wire. They are false where
// one needs SMTPUTF8 and the server has it not.
func (c *Conn) paths(m *Message) (from string, to []string, ok bool) {
	if from, ok = c.path(m.From); !ok {
		return "", nil, false
	}
	for _, r := range m.Recipients {
		p, ok := c.path(r.Address)
		if !ok {
			return "", nil, false
		}
		to = append(to, p)
	}
	return from, to, true
}

// path returns an address as it stands between angle brackets: its domain in
// ASCII, unless the server knows SMTPUTF8 and the local part needs it.
func (c *Conn) path(a mail.Address) (string, bool) {
	if a == "" {
		return "", true
	}
	local, domain := a.Local(), a.Domain()
	if !ascii(local) {
		return mail.QuotedAddress(a), c.Has("SMTPUTF8")
	}
	if !ascii(domain) {
		var err error
		if domain, err = idna.Lookup.ToASCII(domain); err != nil {
			return "", false
		}
	}
	return mail.QuotedAddress(mail.Address(local + "@" + domain)), true
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// mailParams returns the parameters of MAIL.
func (c *Conn) mailParams(m *Message) string {
	var b strings.Builder
	if c.Has("SIZE") {
		b.WriteString(" SIZE=" + strconv.FormatInt(m.Size, 10))
	}
	if m.EightBit {
		b.WriteString(" BODY=8BITMIME")
	}
	if c.Has("SMTPUTF8") && (m.UTF8 || !m.ascii()) {
		b.WriteString(" SMTPUTF8")
	}
	if m.RequireTLS && c.requiresTLS() {
		b.WriteString(" REQUIRETLS")
	}
	if m.Priority != 0 && c.Has("MT-PRIORITY") {
		b.WriteString(" MT-PRIORITY=" + strconv.Itoa(m.Priority))
	}
	if !m.By.IsZero() && c.Has("DELIVERBY") {
		b.WriteString(" BY=" + m.by())
	}
	if c.Has("DSN") {
		if m.Return != "" {
			b.WriteString(" RET=" + m.Return)
		}
		if m.EnvID != "" {
			b.WriteString(" ENVID=" + Xtext(m.EnvID))
		}
	}
	return b.String()
}

// by returns the value of BY: the seconds left and the mode.
func (m *Message) by() string {
	left, mode := int64(time.Until(m.By)/time.Second), ";N"
	if m.ByReturn {
		left, mode = max(left, 1), ";R"
	}
	if m.ByTrace {
		mode += "T"
	}
	return strconv.FormatInt(left, 10) + mode
}

// ascii tells whether no local part needs SMTPUTF8.
func (m *Message) ascii() bool {
	for _, r := range m.Recipients {
		if !ascii(r.Address.Local()) {
			return false
		}
	}
	return ascii(m.From.Local())
}

// rcptParams returns the parameters of RCPT.
func (c *Conn) rcptParams(r Recipient) string {
	if !c.Has("DSN") {
		return ""
	}
	s := ""
	if r.Notify != "" {
		s += " NOTIFY=" + r.Notify
	}
	if kind, addr, ok := strings.Cut(r.Original, ";"); ok {
		if ascii(addr) || c.Has("SMTPUTF8") {
			s += " ORCPT=" + kind + ";" + Xtext(addr)
		}
	}
	return s
}

// Xtext encodes a value as RFC 3461 §4 says; bytes above 127 stay (RFC 6533 §3).
func Xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '+' || c == '=' || c == 0x7f {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// transaction is a message under way.
type transaction struct {
	*Conn
	m        *Message
	replies  []Reply
	mail     string
	rcpt     []string
	accepted int
}

// chunkAhead is the largest message that is sent with BDAT before the
// recipients are known to be accepted: it costs no more than the wait.
const chunkAhead = 64 << 10

// run carries the transaction out, in one round trip where the server can.
func (t *transaction) run() error {
	pipelining := t.Has("PIPELINING")
	if pipelining && t.Has("CHUNKING") && t.m.Size <= chunkAhead {
		return t.inOneGo()
	}
	if err := t.envelope(pipelining, "DATA"); err != nil || t.accepted == 0 && !pipelining {
		return t.reset(err)
	}
	if !pipelining {
		if err := t.send("DATA"); err != nil {
			return err
		}
	}
	r, err := t.reply(t.opt.Timeouts.DataStart)
	if err != nil {
		return err
	}
	if r.Code != 354 {
		return t.refused(r)
	}
	if t.accepted == 0 { // RFC 2920 §3.1: the server wants a message all the same
		if err := t.send("."); err != nil {
			return err
		}
		_, err := t.reply(t.opt.Timeouts.DataEnd)
		return err
	}
	if err := t.data(); err != nil {
		return err
	}
	return t.results()
}

// inOneGo sends the envelope and the message behind it.
func (t *transaction) inOneGo() error {
	if err := t.sendAll(); err != nil {
		return err
	}
	if err := t.send("BDAT " + strconv.FormatInt(t.m.Size, 10) + " LAST"); err != nil {
		return err
	}
	n, err := t.m.Body.WriteTo(&block{t.Conn})
	if err == nil && n != t.m.Size {
		err = fmt.Errorf("the message has %d bytes and not %d", n, t.m.Size)
	}
	if t.fail(err) != nil {
		return err
	}
	if err := t.envelopeReplies(); err != nil {
		return err
	}
	if t.accepted > 0 {
		return t.results()
	}
	if _, err := t.reply(t.opt.Timeouts.DataEnd); err != nil { // it refuses the chunk
		return err
	}
	return t.reset(nil)
}

// sendAll writes the commands of the envelope.
func (t *transaction) sendAll() error {
	if err := t.send(t.mail); err != nil {
		return err
	}
	for _, line := range t.rcpt {
		if err := t.send(line); err != nil {
			return err
		}
	}
	return nil
}

// envelope sends MAIL and RCPT, and last in the same go where the server takes
// commands so.
func (t *transaction) envelope(pipelining bool, last string) error {
	if pipelining {
		if err := t.sendAll(); err != nil {
			return err
		}
		if err := t.send(last); err != nil {
			return err
		}
		return t.envelopeReplies()
	}
	r, err := t.command(t.mail)
	if err != nil {
		return err
	}
	if !r.Delivered() {
		t.rest(r)
		return nil
	}
	for i, line := range t.rcpt {
		r, err := t.command(line)
		if err != nil {
			return err
		}
		t.recipient(i, r)
	}
	return nil
}

// envelopeReplies reads the replies to MAIL and RCPT.
func (t *transaction) envelopeReplies() error {
	r, err := t.reply(t.opt.Timeouts.Command)
	if err != nil {
		return err
	}
	refusal := r
	for i := range t.rcpt {
		if r, err = t.reply(t.opt.Timeouts.Command); err != nil {
			return err
		}
		if refusal.Delivered() {
			t.recipient(i, r)
		} else {
			t.replies[i] = failure(refusal)
		}
	}
	return nil
}

// recipient takes the reply to a RCPT. 251 and 252 accept too; 552 is what RFC
// 821 had for too many recipients, and is temporary here (RFC 5321 §4.5.3.1.10).
func (t *transaction) recipient(i int, r Reply) {
	if r.Delivered() {
		t.accepted++
		return
	}
	if r.Code == 552 && !strings.HasPrefix(r.Status, "5.2") && !strings.HasPrefix(r.Status, "5.3.4") {
		r.Code, r.Status = 452, "4.5.3"
	}
	t.replies[i] = failure(r)
}

// refused gives r to every recipient that has no reply yet, and makes the
// session ready for the next message.
func (t *transaction) refused(r Reply) error {
	t.rest(r)
	return t.reset(nil)
}

// rest gives r to every recipient that has no reply yet.
func (t *transaction) rest(r Reply) {
	for i := range t.replies {
		if t.replies[i].Code == 0 {
			t.replies[i] = failure(r)
		}
	}
}

// failure makes a reply that refuses of one that makes no sense where it stands.
func failure(r Reply) Reply {
	if r.Code < 400 {
		return Reply{Code: 451, Status: "4.5.0", Text: "the server answered out of turn: " + r.String()}
	}
	return r
}

// reset ends a transaction that the server may believe open.
func (t *transaction) reset(err error) error {
	if err != nil || t.broken {
		return err
	}
	if len(t.replies) > 0 && t.replies[0].Code == 421 {
		t.broken = true
		return nil
	}
	r, err := t.command("RSET")
	if err == nil && r.Code != 250 {
		t.broken = true
	}
	return nil // the recipients have their replies; only the session may be lost
}

// results reads the reply to the message: one, or with LMTP one for each
// recipient that was accepted (RFC 2033 §4.2).
func (t *transaction) results() error {
	var r Reply
	var err error
	for i := range t.replies {
		if t.replies[i].Code != 0 {
			continue
		}
		if r.Code == 0 || t.opt.LMTP {
			if r, err = t.reply(t.opt.Timeouts.DataEnd); err != nil {
				return err
			}
			if r.Code == 421 {
				t.broken = true
			}
		}
		if t.replies[i] = r; !r.Delivered() {
			t.replies[i] = failure(r)
		}
	}
	return nil
}
