package message_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"expost/internal/message"
	"expost/internal/sample"
	"expost/internal/sample/dovecottest"
)

// TestDovecot compares what is found in real and broken messages with what a
// real Dovecot says of them: ENVELOPE, BODYSTRUCTURE, and the bytes of each
// section. Line ends are made CRLF beforehand, as Dovecot does on the way out.
func TestDovecot(t *testing.T) {
	t.Parallel()
	names, raws := peerCorpus(t)
	dir := filepath.Join(t.TempDir(), "Maildir")
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var list strings.Builder
	fmt.Fprintf(&list, "3 V1 N%d G%032x\n", len(raws)+1, 1)
	for i, raw := range raws {
		name := fmt.Sprintf("1.M%d.x", i)
		fmt.Fprintf(&list, "%d :%s\n", i+1, name)
		if err := os.WriteFile(filepath.Join(dir, "cur", name+":2,"), []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "dovecot-uidlist"), []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, dovecottest.Dial(t, dir))
	p.command("EXAMINE INBOX")
	for i, raw := range raws {
		t.Run(names[i], func(t *testing.T) {
			parser := message.NewParser(message.Limits{}, nil)
			io.WriteString(parser, raw)
			differences := compareWithPeer(p, i+1, raw, parser.Finish())
			reason, meant := explained()[names[i]]
			switch {
			case !meant:
				for _, d := range differences {
					t.Error(d)
				}
			case len(differences) == 0:
				t.Errorf("Dovecot agrees, in spite of: %s", reason)
			}
		})
	}
}

// peerCorpus returns the messages to compare, with CRLF line ends.
func peerCorpus(t *testing.T) (names, raws []string) {
	add := func(name, raw string) {
		names = append(names, name)
		raws = append(raws, strings.ReplaceAll(strings.ReplaceAll(raw, "\r\n", "\n"), "\n", "\r\n"))
	}
	for _, odd := range oddities() {
		add(odd.name, odd.raw)
	}
	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "fixtures", "eml", "*"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		add(filepath.Base(f), string(b))
	}
	m := sample.New(sample.Options{Messages: 60}).Mailbox(4)
	for f, folder := range m.Folders {
		for msg := range m.Messages(f) {
			add(fmt.Sprintf("%s %d", folder.Name, msg.UID), string(msg.Body))
		}
	}
	return names, raws
}

// explained says of messages of which Dovecot 2.3 says something else, why.
func explained() map[string]string {
	const (
		epilogue = "behind a closing delimiter Dovecot counts the line end before the next delimiter to the part; RFC 2046 §5.1.1 counts it to the delimiter"
		nothing  = "of a multipart without parts Dovecot has no bytes to give; here section 1 is the whole body, so that nothing is out of reach"
		noType   = "Dovecot leaves a broken Content-Type empty; here it is the nearest that makes sense"
		address  = "Dovecot gives up at a broken address; here what can be read is"
	)
	return map[string]string{
		"two From":                         "of a field that must not be there twice Dovecot takes the last, here the first counts",
		"odd addresses":                    address,
		"same boundary inside":             epilogue,
		"message of header only":           "Dovecot has the last line end in BODY[1] but not in BODY[1.HEADER]; here it is the delimiter's in both",
		"no boundary":                      nothing,
		"boundary never seen":              nothing,
		"type without subtype":             noType,
		"type without semicolon":           noType,
		"long boundary":                    "Dovecot compares no more than 80 bytes of a boundary and misses the closing one",
		"mimekit__body.5.txt":              epilogue,
		"mimekit__body.6.txt":              epilogue,
		"mimekit__body.7.txt":              epilogue,
		"mimekit__rfc2060.txt":             epilogue,
		"mimekit__content-length.mbox.txt": "Dovecot finds no boundary in \"multipart/mixed;; Boundary=…\"",
		"mimekit__feedback-report.txt":     address,
		"mimekit__issue358.txt":            address,
		"mimekit__stack-overflow.txt":      address,
		"mimekit__missing-subtype.txt":     noType,
	}
}

// oddity is a message that is odd.
type oddity struct{ name, raw string }

func oddities() []oddity {
	return []oddity{
		{"two From", "From: a@x.org\nFrom: b@x.org\nTo: c@x.org\nTo: d@x.org\nSubject: 1\nSubject: 2\n\nx\n"},
		{"folded subject", "Subject: one\n\ttwo\n  three \n\nx\n"},
		{"sender empty", "From: a@x.org\nSender:\nReply-To: \n\nx\n"},
		{"groups", "From: a@x.org\nTo: Team: b@x.org, C <c@x.org>;, d@x.org\nCc: undisclosed-recipients:;\n\nx\n"},
		{"odd addresses", "From: root\nTo: Ajay Sharma, <>, a@x.org (Ajay), \"q p\"@x.org, <@r.org:b@x.org>\nCc: Ajay <ajay@x.org\nBcc: ;,a@,@b\n\nx\n"},
		{"comments", "From: (one) A (two) <a@x.org> (three)\nTo: b@x.org (B (nested) b)\n\nx\n"},
		{"quotes", "From: \"A \\\"B\\\" C\" <a@x.org>\nTo: \"D\" E <d@x.org>\n\nx\n"},
		{"no last line end", "Subject: x\n\na\nb"},
		{"header only", "Subject: x\n"},
		{"empty part", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b\nX: y\n\n--b--\n"},
		{"part of header only", "Content-Type: multipart/mixed; boundary=b\n\n--b\nX: y\n--b--\n"},
		{"delimiter at the end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b"},
		{"delimiter line at the end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n"},
		{"unterminated", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n"},
		{"boundary is a prefix of a line", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--bcd\n\ntwo\n--b--\n"},
		{"parts behind the end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n--b\n\ntwo\n--b--\n"},
		{"inner not terminated", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\n\none\n--a\n\ntwo\n--a--\n"},
		{"same boundary inside", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a--\n--a\n\ntwo\n--a--\n"},
		{"message", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\nFrom: a@x.org\nSubject: in\n\nx\ny\n--a--\n"},
		{"message of header only", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\nSubject: in\n--a--\n"},
		{"message of a multipart", "Content-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a\nContent-Type: message/rfc822\n\nSubject: x\n\ntwo\n--a--\n"},
		{"empty message", "Content-Type: message/rfc822\n\n"},
		{"digest", "Content-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: in\n\nx\n--a\nContent-Type: text/plain\n\ny\n--a--\n"},
		{"fields of a part", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: image/png; name=\"a b.png\"\nContent-ID: <i@x>\nContent-Description: of a\n part\nContent-MD5: Q2hlY2s=\nContent-Disposition: inline; filename=a.png; size=12\nContent-Language: en, de\nContent-Location: http://x.org/\nContent-Transfer-Encoding: BASE64\n\nAAAA\n--a--\n"},
		{"no boundary", "Content-Type: multipart/mixed\n\n--b\n\none\n"},
		{"boundary never seen", "Content-Type: multipart/mixed; boundary=b\n\none\n"},
		{"type without subtype", "Content-Type: text\n\none\n"},
		{"type twice", "Content-Type: text/html\nContent-Type: text/plain\n\none\n"},
		{"encoding with comment", "Content-Transfer-Encoding: (x) base64 (y)\nContent-Type: text/plain (c); charset=us-ascii (Plain text)\n\none\n"},
		{"type without semicolon", "Content-Type: text/plain charset=utf-8\n\none\n"},
		{"continuations", "Content-Type: application/x; name*0=\"a b\"; name*1=c\n\none\n"},
		{"8-bit", "From: M\xfcller <m@x.org>\nSubject: M\xfcller\nContent-Type: text/plain; name=\"M\xc3\xbc\"\n\n\xfc\n"},
		{"line without colon", "Subject: x\nthis is no field\nTo: a@x.org\n\none\n"},
		{"From line", "From ajay Mon Jan  5 10:00:00 2004\nSubject: x\n\none\n"},
		{"space before colon", "Subject : x\nTo\t: a@x.org\n\none\n"},
		{"begins with space", " x\nSubject: y\n\none\n"},
		{"long boundary", "Content-Type: multipart/mixed; boundary=\"" + strings.Repeat("x", 100) + "\"\n\n--" + strings.Repeat("x", 100) + "\n\none\n--" + strings.Repeat("x", 100) + "--\n"},
	}
}

// compareWithPeer compares m, which is raw parsed, with the peer's message seq
// and returns the differences.
func compareWithPeer(p *peer, seq int, raw string, m *message.Message) []string {
	var differences []string
	compare := func(what, got, want string) {
		if !strings.EqualFold(got, want) {
			differences = append(differences, fmt.Sprintf("%s is\n%.2000s, Dovecot has\n%.2000s", what, got, want))
		}
	}
	items := p.fetch(seq, "RFC822.SIZE ENVELOPE BODYSTRUCTURE")
	compare("the size", strconv.FormatInt(m.Size, 10), items["RFC822.SIZE"])
	compare("ENVELOPE", envelope(&m.Envelope), items["ENVELOPE"])
	compare("BODYSTRUCTURE", structure(m, 0), items["BODYSTRUCTURE"])
	for section, want := range sections(m, raw) {
		compare("BODY["+section+"]", strconv.Quote(want), p.fetch(seq, "BODY.PEEK["+section+"]")["BODY["+section+"]"])
	}
	return differences
}

// sections returns the bytes of every section of m.
func sections(m *message.Message, raw string) map[string]string {
	all := map[string]string{"": raw, "HEADER": raw[:m.Parts[0].Body], "TEXT": raw[m.Parts[0].Body:]}
	var walk func(path []int)
	walk = func(path []int) {
		i, ok := m.Find(path)
		if !ok {
			return
		}
		part := m.Parts[i]
		name := strings.Trim(strings.ReplaceAll(fmt.Sprint(path), " ", "."), "[]")
		if name != "" {
			all[name] = raw[part.Body:part.End]
			all[name+".MIME"] = raw[part.Header:part.Body]
			if kids := m.Children(i); part.IsMessage() && len(kids) == 1 {
				in := m.Parts[kids[0]]
				all[name+".HEADER"], all[name+".TEXT"] = raw[in.Header:in.Body], raw[in.Body:in.End]
			}
		}
		if len(path) == 0 || part.IsMultipart() || part.IsMessage() {
			for n := 1; n <= len(m.Parts); n++ {
				walk(append(slices.Clone(path), n))
			}
		}
	}
	walk(nil)
	return all
}

// The rest writes what IMAP writes, in the notation of peer.value.

func nstring(s string) string {
	if s == "" {
		return "NIL"
	}
	return strconv.Quote(s)
}

func list(items ...string) string { return "(" + strings.Join(items, " ") + ")" }

func addresses(all []message.Address) string {
	if len(all) == 0 {
		return "NIL"
	}
	var items []string
	for _, a := range all {
		items = append(items, list(nstring(a.Name), nstring(a.Route), nstring(a.Mailbox), nstring(a.Host)))
	}
	return "(" + strings.Join(items, "") + ")" // Dovecot does without the spaces
}

func envelope(e *message.Envelope) string {
	sender, replyTo := e.Sender, e.ReplyTo
	if len(sender) == 0 {
		sender = e.From
	}
	if len(replyTo) == 0 {
		replyTo = e.From
	}
	return list(nstring(e.Date), nstring(e.Subject), addresses(e.From), addresses(sender), addresses(replyTo),
		addresses(e.To), addresses(e.Cc), addresses(e.Bcc), nstring(e.InReplyTo), nstring(e.MessageID))
}

func params(all []message.Param) string {
	if len(all) == 0 {
		return "NIL"
	}
	var items []string
	for _, p := range all {
		name, value := p.Name, p.Value
		if strings.HasPrefix(name, "filename") {
			name, value = p.ASCII() // Dovecot leaves the extended form as it is
		}
		items = append(items, strconv.Quote(name), strconv.Quote(value))
	}
	return list(items...)
}

func structure(m *message.Message, i int) string {
	p := &m.Parts[i]
	kids := m.Children(i)
	disposition, language := "NIL", "NIL"
	if p.Disposition != "" {
		disposition = list(strconv.Quote(p.Disposition), params(p.DispParams))
	}
	var tags []string
	for _, tag := range p.Language {
		tags = append(tags, strconv.Quote(tag))
	}
	if tags != nil {
		language = list(tags...)
	}
	if p.IsMultipart() {
		parts := ""
		for _, k := range kids {
			parts += structure(m, k)
		}
		if parts == "" {
			parts = `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)`
		}
		return list(parts, strconv.Quote(p.Subtype), params(p.Params), disposition, language, nstring(p.Location))
	}
	if p.Type == "text" && p.Param("charset") == "" {
		p.Params = append(p.Params, message.Param{Name: "charset", Value: "us-ascii"})
	}
	items := []string{strconv.Quote(p.Type), strconv.Quote(p.Subtype), params(p.Params), nstring(p.ID), nstring(p.Description),
		strconv.Quote(p.Encoding), strconv.FormatInt(p.End-p.Body, 10)}
	switch {
	case p.IsMessage() && len(kids) == 1:
		items = append(items, envelope(p.Envelope), structure(m, kids[0]), strconv.FormatInt(p.Lines, 10))
	case p.Type == "text":
		items = append(items, strconv.FormatInt(p.Lines, 10))
	}
	return list(append(items, nstring(p.MD5), disposition, language, nstring(p.Location))...)
}

// peer is an IMAP server that is logged in.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func newPeer(t *testing.T, conn net.Conn) *peer {
	p := &peer{t, conn, bufio.NewReader(conn)}
	p.line()
	return p
}

func (p *peer) line() string {
	p.t.Helper()
	s, err := p.r.ReadString('\n')
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// command sends a command and skips its answer.
func (p *peer) command(cmd string) {
	fmt.Fprintf(p.conn, "a %s\r\n", cmd)
	for !strings.HasPrefix(p.line(), "a ") {
	}
}

// fetch returns the items of a FETCH, strings quoted as Go has them.
func (p *peer) fetch(seq int, items string) map[string]string {
	p.t.Helper()
	fmt.Fprintf(p.conn, "a FETCH %d (%s)\r\n", seq, items)
	got := map[string]string{}
	for {
		if b, _ := p.r.Peek(2); string(b) == "a " {
			if s := p.line(); !strings.HasPrefix(s, "a OK") {
				p.t.Errorf("FETCH %s: %s", items, s)
			}
			return got
		}
		if _, err := p.r.ReadString('('); err != nil {
			p.t.Fatal(err)
		}
		for {
			name := p.value()
			p.r.ReadByte()
			got[name] = p.value()
			if c, _ := p.r.ReadByte(); c == ')' {
				break
			}
		}
		p.line()
	}
}

// value reads a value: an atom, a list, or a string, which it returns quoted
// as Go has it.
func (p *peer) value() string {
	c, _ := p.r.ReadByte()
	switch c {
	case '(':
		var b strings.Builder
		b.WriteByte('(')
		for {
			c, _ := p.r.ReadByte()
			if c == ' ' {
				b.WriteByte(' ')
				continue
			}
			if c == ')' {
				return b.String() + ")"
			}
			p.r.UnreadByte()
			b.WriteString(p.value())
		}
	case '"':
		var b strings.Builder
		for {
			c, err := p.r.ReadByte()
			if c == '\\' {
				c, _ = p.r.ReadByte()
			} else if c == '"' || err != nil {
				return strconv.Quote(b.String())
			}
			b.WriteByte(c)
		}
	case '{':
		size, _ := strconv.Atoi(strings.TrimRight(p.line(), "}\r\n"))
		b := make([]byte, size)
		if _, err := io.ReadFull(p.r, b); err != nil {
			p.t.Fatal(err)
		}
		return strconv.Quote(string(b))
	}
	b := []byte{c}
	for {
		c, err := p.r.ReadByte()
		if err != nil || c == ' ' || c == ')' {
			p.r.UnreadByte()
			return string(b)
		}
		b = append(b, c)
	}
}
