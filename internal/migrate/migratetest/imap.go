package migratetest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"expost/internal/mail"
)

// IMAP is a small IMAP server that does what its Quirks say, also wrong. It
// speaks enough IMAP for a source and fails the test at any command that is
// not for reading only.
type IMAP struct {
	Address string

	t      testing.TB
	mu     sync.Mutex
	boxes  []*Box
	quirks Quirks
	logins int
	bytes  int // of bodies that were fetched
	log    []string

	connections atomic.Int64
	sessions    sync.WaitGroup
}

// Box is a mailbox of an IMAP server. Name is as on the wire.
type Box struct {
	Name        string
	Attributes  string // of LIST: `\Sent`
	Subscribed  bool
	Hidden      bool // not listed
	UIDValidity mail.UIDValidity
	UIDNext     mail.UID
	ModSeq      uint64 // 0: none
	Messages    []Message
	NoModSeq    bool              // EXAMINE says NOMODSEQ
	Expunged    map[uint64]string // sets of UIDs by MODSEQ, for VANISHED (EARLIER)
}

// Message is a message of a Box. Flags and Date are as on the wire.
type Message struct {
	UID    mail.UID
	Flags  string
	Date   string
	Body   string
	ModSeq uint64 // 0: CHANGEDSINCE always shows it
	Email  string // EMAILID; shown where the capabilities have OBJECTID
}

// Quirks say what the server does wrong. Functions that are nil do nothing; they
// are called with the server locked.
type Quirks struct {
	Greeting     string                                                 // "ready" where empty
	Capabilities string                                                 // beside IMAP4rev1
	Delimiter    string                                                 // of LIST; "/" where empty
	Namespace    string                                                 // answer to NAMESPACE
	Size         func(m Message) int                                    // RFC822.SIZE
	Command      func(n int, line string) string                        // an answer ("NO …", "BAD …") instead of carrying the nth command of a connection out; "drop" ends the connection
	Fetch        func(m Message, whole bool) (answer string, drop bool) // a FETCH response instead of the right one; drop ends the connection behind it
	Status       func(command string) string                            // the tagged status of a FETCH that was carried out
	Unordered    bool                                                   // responses in descending order
	Unlisted     func(m Message) bool                                   // left out where no body is asked for
	LateUID      bool                                                   // UID and FLAGS stand behind BODY[]
	Chatter      string                                                 // an untagged line before every response
	LateEnd      bool                                                   // a FETCH ends when the next one has been answered, if it is there
	Connect      func(n int) bool                                       // false ends the nth connection at once
}

// StartIMAP starts a server for the length of the test.
func StartIMAP(t testing.TB, q Quirks, boxes ...*Box) *IMAP {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewIMAP(t, q, boxes...)
	s.Address = l.Addr().String()
	s.sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.accept(conn)
		}
	})
	t.Cleanup(func() { l.Close() })
	return s
}

// NewIMAP returns a server that is reached by Dial only: inside a synctest
// bubble, where a test has a clock of its own.
func NewIMAP(t testing.TB, q Quirks, boxes ...*Box) *IMAP {
	s := &IMAP{Address: "fake:143", t: t, boxes: boxes, quirks: q}
	t.Cleanup(s.sessions.Wait)
	return s
}

// Dial makes a connection to the server within the process.
func (s *IMAP) Dial(context.Context, string) (net.Conn, error) {
	client, server := net.Pipe()
	s.accept(newPatient(server))
	return client, nil
}

// accept serves a connection.
func (s *IMAP) accept(conn net.Conn) {
	n := int(s.connections.Add(1))
	s.sessions.Go(func() {
		defer conn.Close()
		if s.quirks.Connect == nil || s.quirks.Connect(n) {
			s.serve(conn)
		}
	})
}

// patient is the server's end of a pipe. It takes all that a client sends, so that
// a client may send its next command before it reads the answer to the last.
type patient struct {
	net.Conn
	mu   sync.Mutex
	more *sync.Cond
	buf  bytes.Buffer
	err  error
}

func newPatient(conn net.Conn) *patient {
	p := &patient{Conn: conn}
	p.more = sync.NewCond(&p.mu)
	go func() {
		for b := make([]byte, 4<<10); ; {
			n, err := conn.Read(b)
			p.mu.Lock()
			p.buf.Write(b[:n])
			p.err = err
			p.more.Broadcast()
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.buf.Len() == 0 && p.err == nil {
		p.more.Wait()
	}
	if p.buf.Len() == 0 {
		return 0, p.err
	}
	return p.buf.Read(b)
}

// Change calls fn with the mailboxes, while no command is carried out.
func (s *IMAP) Change(fn func(boxes []*Box)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s.boxes)
}

// Logins returns how many logins there were.
func (s *IMAP) Logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// Add adds a mailbox.
func (s *IMAP) Add(b *Box) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boxes = append(s.boxes, b)
}

// Delete deletes a mailbox.
func (s *IMAP) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boxes = slices.DeleteFunc(s.boxes, func(b *Box) bool { return b.Name == name })
}

// Bytes returns how many bytes of bodies were fetched, and forgets them.
func (s *IMAP) Bytes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.bytes
	s.bytes = 0
	return n
}

// Commands returns the commands that were received, without tags, and forgets
// them.
func (s *IMAP) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// imapSession is one connection.
type imapSession struct {
	*IMAP
	r   *bufio.Reader
	w   *bufio.Writer
	n   int // commands so far
	box *Box

	pending string // the end of the FETCH before
}

// errDrop ends a connection.
var errDrop = fmt.Errorf("drop")

// serve carries out commands until the connection ends.
func (s *IMAP) serve(conn net.Conn) {
	// The whole of an answer is written behind the lock: a client may be slow.
	c := &imapSession{IMAP: s, r: bufio.NewReader(conn), w: bufio.NewWriterSize(conn, 1<<20)}
	greeting := s.quirks.Greeting
	if greeting == "" {
		greeting = "ready"
	}
	fmt.Fprintf(c.w, "* OK %s\r\n", greeting)
	for c.w.Flush() == nil {
		line, err := c.readCommand()
		if err != nil {
			return
		}
		s.mu.Lock()
		err = c.command(line)
		s.mu.Unlock()
		if c.w.Flush() != nil || err != nil {
			return
		}
	}
}

// readCommand reads a command with its literals put in as quoted strings.
func (c *imapSession) readCommand() (string, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	for strings.HasSuffix(line, "}") {
		at := strings.LastIndexByte(line, '{')
		size, err := strconv.Atoi(line[at+1 : len(line)-1])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(c.w, "+ go on\r\n")
		if err := c.w.Flush(); err != nil {
			return "", err
		}
		literal := make([]byte, size)
		for n := 0; n < size; {
			k, err := c.r.Read(literal[n:])
			if err != nil {
				return "", err
			}
			n += k
		}
		rest, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = line[:at] + strconv.Quote(string(literal)) + strings.TrimRight(rest, "\r\n")
	}
	return line, nil
}

// command carries out one command.
func (c *imapSession) command(line string) error {
	tag, rest, _ := strings.Cut(line, " ")
	c.n++
	c.log = append(c.log, rest)
	if c.quirks.Command != nil {
		if answer := c.quirks.Command(c.n, rest); answer == "drop" {
			return errDrop
		} else if answer != "" {
			fmt.Fprintf(c.w, "%s %s\r\n", tag, answer)
			return nil
		}
	}
	name, args, _ := strings.Cut(rest, " ")
	if !strings.HasPrefix(rest, "UID FETCH ") {
		fmt.Fprint(c.w, c.pending)
		c.pending = ""
	}
	status := "OK done"
	switch strings.ToUpper(name) {
	case "CAPABILITY":
		fmt.Fprintf(c.w, "* CAPABILITY IMAP4rev1 %s\r\n", c.quirks.Capabilities)
	case "LOGIN":
		c.logins++
	case "ENABLE":
		fmt.Fprintf(c.w, "* ENABLED %s\r\n", args)
	case "NAMESPACE":
		fmt.Fprintf(c.w, "* NAMESPACE %s\r\n", c.quirks.Namespace)
	case "LIST", "LSUB":
		c.list(strings.ToUpper(name))
	case "STATUS":
		status = c.statusOf(args)
	case "EXAMINE":
		status = c.examine(args)
	case "UID":
		return c.uid(tag, args)
	case "LOGOUT":
		fmt.Fprintf(c.w, "* BYE\r\n%s OK\r\n", tag)
		return errDrop
	default:
		c.t.Errorf("the source was sent %q, which is not for reading only", rest)
		status = "BAD unknown command"
	}
	fmt.Fprintf(c.w, "%s %s\r\n", tag, status)
	return nil
}

// list answers LIST and LSUB.
func (c *imapSession) list(name string) {
	delimiter := c.quirks.Delimiter
	if delimiter == "" {
		delimiter = "/"
	}
	for _, b := range c.boxes {
		if !b.Hidden && (name == "LIST" || b.Subscribed) {
			fmt.Fprintf(c.w, "* %s (%s) %q %s\r\n", name, b.Attributes, delimiter, literal(b.Name))
		}
	}
}

// literal writes a name as a literal.
func literal(s string) string { return fmt.Sprintf("{%d}\r\n%s", len(s), s) }

// find returns the mailbox that args name first.
func (c *imapSession) find(args string) *Box {
	for _, b := range c.boxes {
		if strings.HasPrefix(args, strconv.Quote(b.Name)) {
			return b
		}
	}
	return nil
}

func (c *imapSession) statusOf(args string) string {
	b := c.find(args)
	if b == nil {
		return "NO [NONEXISTENT] no such mailbox"
	}
	modseq := ""
	if strings.Contains(args, "HIGHESTMODSEQ") {
		modseq = fmt.Sprintf(" HIGHESTMODSEQ %d", b.ModSeq)
	}
	fmt.Fprintf(c.w, "* STATUS %s (MESSAGES %d UIDNEXT %d UIDVALIDITY %d%s)\r\n", literal(b.Name), len(b.Messages), b.UIDNext, b.UIDValidity, modseq)
	return "OK done"
}

func (c *imapSession) examine(args string) string {
	c.box = c.find(args)
	if c.box == nil {
		return "NO [NONEXISTENT] no such mailbox"
	}
	fmt.Fprintf(c.w, "* %d EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY %d] ok\r\n* OK [UIDNEXT %d] ok\r\n", len(c.box.Messages), c.box.UIDValidity, c.box.UIDNext)
	if c.box.NoModSeq {
		fmt.Fprintf(c.w, "* OK [NOMODSEQ] none\r\n")
	} else if c.box.ModSeq > 0 {
		fmt.Fprintf(c.w, "* OK [HIGHESTMODSEQ %d] ok\r\n", c.box.ModSeq)
	}
	return "OK [READ-ONLY] done"
}

// uid answers UID SEARCH and UID FETCH.
func (c *imapSession) uid(tag, args string) error {
	name, rest, _ := strings.Cut(args, " ")
	if c.box == nil || name != "SEARCH" && name != "FETCH" {
		c.t.Errorf("the source was sent UID %q", args)
		return errDrop
	}
	if name == "SEARCH" {
		fmt.Fprintf(c.w, "* SEARCH")
		for _, m := range c.box.Messages {
			fmt.Fprintf(c.w, " %d", m.UID)
		}
		fmt.Fprintf(c.w, "\r\n%s OK done\r\n", tag)
		return nil
	}
	set, items, _ := strings.Cut(rest, " ")
	if strings.Contains(items, "BODY.PEEK[HEADER.FIELDS ") {
		c.headers(set, items[strings.Index(items, "["):strings.Index(items, "]")+1])
		fmt.Fprintf(c.w, "%s OK done\r\n", tag)
		return nil
	}
	whole := strings.Contains(items, "BODY.PEEK[]")
	since := c.changedSince(items)
	if strings.Contains(items, "BODY[") {
		c.t.Errorf("the source was sent %q, which sets \\Seen", args)
	}
	n := len(c.box.Messages)
	for i := range c.box.Messages {
		seq := i + 1
		if c.quirks.Unordered {
			seq = n - i
		}
		m := c.box.Messages[seq-1]
		if m.ModSeq != 0 && m.ModSeq <= since {
			continue
		}
		if !inSet(set, m.UID) || !whole && c.quirks.Unlisted != nil && c.quirks.Unlisted(m) {
			continue
		}
		if err := c.fetch(seq, m, whole); err != nil {
			return err
		}
	}
	status := "OK done"
	if c.quirks.Status != nil && whole {
		status = c.quirks.Status(set)
	}
	fmt.Fprint(c.w, c.pending)
	c.pending = fmt.Sprintf("%s %s\r\n", tag, status)
	if !c.quirks.LateEnd || c.r.Buffered() == 0 {
		fmt.Fprint(c.w, c.pending)
		c.pending = ""
	}
	return nil
}

// changedSince returns the MODSEQ of a CHANGEDSINCE, or 0, and tells what has
// vanished since where it is asked to.
func (c *imapSession) changedSince(items string) uint64 {
	_, rest, ok := strings.Cut(items, "(CHANGEDSINCE ")
	if !ok {
		return 0
	}
	number, vanished, _ := strings.Cut(strings.TrimSuffix(rest, ")"), " ")
	since, err := strconv.ParseUint(number, 10, 64)
	if err != nil || vanished != "" && vanished != "VANISHED" {
		c.t.Errorf("the source was sent %q", items)
	}
	for modseq, set := range c.box.Expunged {
		if vanished != "" && modseq > since {
			fmt.Fprintf(c.w, "* VANISHED (EARLIER) %s\r\n", set)
		}
	}
	return since
}

// headers answers with header fields; with all there are, which the source has
// to bear.
func (c *imapSession) headers(set, section string) {
	for i, m := range c.box.Messages {
		if inSet(set, m.UID) {
			header, _, _ := strings.Cut(m.Body, "\r\n\r\n")
			fmt.Fprintf(c.w, "* %d FETCH (UID %d BODY%s %s)\r\n", i+1, m.UID, section, literal(header+"\r\n\r\n"))
		}
	}
}

// fetch writes the response for one message.
func (c *imapSession) fetch(seq int, m Message, whole bool) error {
	if c.quirks.Chatter != "" {
		fmt.Fprintf(c.w, "%s\r\n", c.quirks.Chatter)
	}
	if c.quirks.Fetch != nil {
		if answer, drop := c.quirks.Fetch(m, whole); drop {
			c.w.WriteString(answer)
			return errDrop
		} else if answer != "" {
			_, err := c.w.WriteString(answer)
			return err
		}
	}
	size := len(m.Body)
	if c.quirks.Size != nil {
		size = c.quirks.Size(m)
	}
	known := fmt.Sprintf("UID %d FLAGS (%s)", m.UID, m.Flags)
	if strings.Contains(c.quirks.Capabilities, "OBJECTID") && m.Email != "" {
		known += fmt.Sprintf(" EMAILID (%s)", m.Email)
	}
	if whole {
		c.bytes += len(m.Body)
	}
	if !whole {
		fmt.Fprintf(c.w, "* %d FETCH (%s INTERNALDATE %q RFC822.SIZE %d)\r\n", seq, known, m.Date, size)
		return nil
	}
	body := fmt.Sprintf("BODY[] {%d}\r\n%s", len(m.Body), m.Body)
	if c.quirks.LateUID {
		fmt.Fprintf(c.w, "* %d FETCH (%s INTERNALDATE %q %s)\r\n", seq, body, m.Date, known)
	} else {
		fmt.Fprintf(c.w, "* %d FETCH (%s INTERNALDATE %q %s)\r\n", seq, known, m.Date, body)
	}
	return nil
}

// inSet tells whether a sequence-set holds uid.
func inSet(set string, uid mail.UID) bool {
	for part := range strings.SplitSeq(set, ",") {
		first, last, isRange := strings.Cut(part, ":")
		a, _ := strconv.ParseUint(first, 10, 32)
		b, err := strconv.ParseUint(last, 10, 32)
		if !isRange {
			b = a
		} else if err != nil { // "*"
			b = 1<<32 - 1
		}
		if uint64(uid) >= a && uint64(uid) <= b {
			return true
		}
	}
	return false
}
