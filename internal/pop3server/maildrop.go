package pop3server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"expost/internal/mail"
	"expost/internal/store"
)

// maildrop is the INBOX as it was at the login.
type maildrop struct {
	account *store.Account
	view    *store.View
	uidls   store.UIDLs
	deleted map[int]bool // by message number
}

// openMaildrop opens an account's INBOX.
func openMaildrop(ctx context.Context, st *store.Store, id mail.AccountID) (*maildrop, error) {
	account, err := st.Open(ctx, id)
	if mail.KindOf(err) == mail.KindNotExist && err != nil {
		if err = st.Create(ctx, id); err == nil {
			account, err = st.Open(ctx, id)
		}
	}
	if err != nil {
		return nil, err
	}
	view, err := account.Examine(ctx, mail.Inbox)
	if err != nil {
		account.Release()
		return nil, err
	}
	d := &maildrop{account: account, view: view, deleted: map[int]bool{}}
	if d.uidls, err = account.UIDLs(ctx, view.Snapshot().Mailbox().ID); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *maildrop) close() {
	d.view.Close()
	d.account.Release()
}

// total returns the number and bytes of the messages that are not deleted.
func (d *maildrop) total() (count int, size int64) {
	snap := d.view.Snapshot()
	for n, m := range snap.Range(1, snap.Len()) {
		if !d.deleted[n] {
			count++
			size += m.Size
		}
	}
	return count, size
}

// message returns the message that an argument names, or a refusal.
func (c *conn) message(arg string) (int, mail.Message, *reply) {
	n, err := strconv.ParseUint(arg, 10, 31)
	if err != nil {
		return 0, mail.Message{}, new(refused("", "a message number is wanted"))
	}
	snap := c.drop.view.Snapshot()
	if n == 0 || int(n) > snap.Len() {
		return 0, mail.Message{}, new(refused("", "no such message, there are %d", snap.Len()))
	}
	if c.drop.deleted[int(n)] {
		return 0, mail.Message{}, new(refused("", "message %d is deleted", n))
	}
	return int(n), snap.At(int(n)), nil
}

// stat is STAT (RFC 1939 §5).
func (c *conn) stat(string) (*reply, error) {
	count, size := c.drop.total()
	return new(ok("%d %d", count, size)), nil
}

// list is LIST (RFC 1939 §5). Of one message it tells the size that RETR sends
// (RFC 6856 §2.1); a list of all has the stored sizes, which a surrogate differs
// from.
func (c *conn) list(arg string) (*reply, error) {
	if arg != "" {
		return c.listOne(arg)
	}
	return c.scan(arg, func(m *mail.Message) string { return strconv.FormatInt(m.Size, 10) })
}

// listOne is LIST of one message.
func (c *conn) listOne(arg string) (*reply, error) {
	n, m, rep := c.message(arg)
	if rep != nil {
		return rep, nil
	}
	if c.utf8 {
		return new(ok("%d %d", n, m.Size)), nil
	}
	what, rep := c.open(&m)
	if rep != nil {
		return rep, nil
	}
	defer what.Close()
	return new(ok("%d %d", n, what.size)), nil
}

// open returns what the client gets of a message, to be closed, or the answer
// that it gets nothing.
func (c *conn) open(m *mail.Message) (*content, *reply) {
	body, err := c.drop.account.Body(c.ctx, m.Email)
	if err == nil {
		var what *content
		var rep *reply
		if what, rep, err = c.content(c.ctx, m, body); err == nil && rep == nil {
			return what, nil
		}
		body.Close()
		if rep != nil {
			return nil, rep
		}
	}
	c.log.Error("reading a message", "account", c.drop.account.ID(), "uid", m.UID, "err", err)
	return nil, new(failure(err))
}

// uidl is UIDL (RFC 1939 §7): as the server said that the mailbox came from, or
// else unique as long as UIDVALIDITY and UID are.
func (c *conn) uidl(arg string) (*reply, error) {
	validity := c.drop.view.Snapshot().Mailbox().UIDValidity
	return c.scan(arg, func(m *mail.Message) string { return c.drop.uidls.UIDL(validity, m.UID) })
}

// scan answers with one message's number and value, or with all of them.
func (c *conn) scan(arg string, value func(*mail.Message) string) (*reply, error) {
	if arg != "" {
		n, m, rep := c.message(arg)
		if rep != nil {
			return rep, nil
		}
		return new(ok("%d %s", n, value(&m))), nil
	}
	count, size := c.drop.total()
	c.say(ok("%d messages (%d bytes)", count, size))
	snap := c.drop.view.Snapshot()
	for n, m := range snap.Range(1, snap.Len()) {
		if c.drop.deleted[n] {
			continue
		}
		if _, err := io.WriteString(c, strconv.Itoa(n)+" "+value(m)+"\r\n"); err != nil {
			return nil, err
		}
	}
	_, err := io.WriteString(c, ".\r\n")
	return nil, err
}

// retr is RETR (RFC 1939 §5).
func (c *conn) retr(arg string) (*reply, error) {
	return c.send(arg, -1)
}

// top is TOP (RFC 1939 §7): the header and some lines.
func (c *conn) top(arg string) (*reply, error) {
	number, count, _ := strings.Cut(arg, " ")
	lines, err := strconv.ParseUint(count, 10, 31)
	if err != nil {
		return new(refused("", "TOP wants a message number and a number of lines")), nil
	}
	return c.send(number, int(lines))
}

// send answers with a message, or with its header and lines of its body where
// lines is not negative.
func (c *conn) send(arg string, lines int) (*reply, error) {
	_, m, rep := c.message(arg)
	if rep != nil {
		return rep, nil
	}
	what, rep := c.open(&m)
	if rep != nil {
		return rep, nil
	}
	defer what.Close()
	c.say(ok("%d bytes", what.size))
	if err := sendLines(c, what, lines); err != nil {
		return nil, fmt.Errorf("sending message UID %d of %s: %w", m.UID, c.drop.account.ID(), err)
	}
	return nil, nil
}

// sendLines writes a message as a multi-line answer (RFC 1939 §3): dots stuffed,
// every line ended by CRLF. Where lines is not negative, it ends after that
// many lines of the body.
func sendLines(w io.Writer, r io.Reader, lines int) error {
	br := bufio.NewReaderSize(r, 32<<10)
	s := lineSender{w: w, start: true, header: true, lines: lines}
	for {
		piece, err := br.ReadSlice('\n')
		if len(piece) > 0 && !s.send(piece) {
			break
		}
		if err == io.EOF {
			break
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
	if !s.start {
		s.write("\r\n")
	}
	s.write(".\r\n")
	return s.err
}

// lineSender is the state of sendLines between two pieces of a message.
type lineSender struct {
	w      io.Writer
	start  bool // the next piece starts a line
	header bool // that line belongs to the header
	cr     bool // a CR was kept back, which may be half of a line end
	lines  int  // of the body still wanted; negative: all
	err    error
}

// send writes a line or a piece of one; false when that is enough.
func (s *lineSender) send(piece []byte) bool {
	if s.start && !s.header && s.lines >= 0 {
		if s.lines == 0 {
			return false
		}
		s.lines--
	}
	ended := piece[len(piece)-1] == '\n'
	piece = bytes.TrimSuffix(piece, []byte("\n"))
	if s.cr && (len(piece) > 0 || !ended) {
		s.write("\r")
	}
	s.cr = len(piece) > 0 && piece[len(piece)-1] == '\r'
	piece = bytes.TrimSuffix(piece, []byte("\r"))
	if s.start && len(piece) > 0 && piece[0] == '.' {
		s.write(".")
	}
	if s.start && ended && len(piece) == 0 {
		s.header = false
	}
	if s.err == nil {
		_, s.err = s.w.Write(piece)
	}
	if ended {
		s.cr = false
		s.write("\r\n")
	}
	s.start = ended
	return s.err == nil
}

func (s *lineSender) write(text string) {
	if s.err == nil {
		_, s.err = io.WriteString(s.w, text)
	}
}

// dele marks a message (RFC 1939 §5).
func (c *conn) dele(arg string) (*reply, error) {
	n, _, rep := c.message(arg)
	if rep != nil {
		return rep, nil
	}
	c.drop.deleted[n] = true
	return new(ok("message %d deleted", n)), nil
}

// rset unmarks all messages (RFC 1939 §5).
func (c *conn) rset(string) (*reply, error) {
	clear(c.drop.deleted)
	count, size := c.drop.total()
	return new(ok("%d messages (%d bytes)", count, size)), nil
}

// quitCommand removes the marked messages and ends the session (RFC 1939 §6).
func (c *conn) quitCommand(string) (*reply, error) {
	c.quit = true
	if c.drop == nil || len(c.drop.deleted) == 0 {
		return new(ok("bye")), nil
	}
	snap := c.drop.view.Snapshot()
	var uids mail.UIDSet
	for n, m := range snap.Range(1, snap.Len()) {
		if c.drop.deleted[n] {
			uids.Add(m.UID)
		}
	}
	if err := c.drop.account.Remove(c.ctx, snap.Mailbox().ID, uids); err != nil {
		c.log.Error("removing messages", "account", c.drop.account.ID(), "err", err)
		return new(failure(err)), nil
	}
	return new(ok("bye, %d messages removed", uids.Len())), nil
}
