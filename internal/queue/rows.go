package queue

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/blob"
	"expost/internal/mail"
)

const nullColumn = sqlite3.NULL

// message is a row of message.
type message struct {
	id      ID
	sender  mail.Address
	origin  string
	ret     string
	envid   string
	flags   int
	size    int64
	packed  int64
	inline  bool
	created int64
	expires int64
	notice  int64
	by      int64
	bymode  int
	prio    int
}

const messageColumns = `id, sender, origin, ret, envid, flags, size, packed, inline, created, expires, notice, by, bymode, priority`

func messageOf(s *row) message {
	return message{
		id: ID(s.ColumnInt64(0)), sender: mail.Address(s.ColumnText(1)), origin: s.ColumnText(2), ret: s.ColumnText(3), envid: s.ColumnText(4),
		flags: s.ColumnInt(5), size: s.ColumnInt64(6), packed: s.ColumnInt64(7), inline: s.ColumnBool(8),
		created: s.ColumnInt64(9), expires: s.ColumnInt64(10), notice: s.ColumnInt64(11), by: s.ColumnInt64(12), bymode: s.ColumnInt(13), prio: s.ColumnInt(14),
	}
}

// recipient is a row of rcpt.
type recipient struct {
	id      int64
	message ID
	address mail.Address
	notify  string
	orcpt   string
	hop     string
	state   State
	at      int64
	tries   int
	tried   int64
	status  string
	remote  string
	reply   string
}

const recipientColumns = `id, message, address, notify, orcpt, hop, state, at, tries, tried, status, remote, reply`

func recipientOf(s *row) recipient {
	return recipient{
		id: s.ColumnInt64(0), message: ID(s.ColumnInt64(1)), address: mail.Address(s.ColumnText(2)), notify: s.ColumnText(3), orcpt: s.ColumnText(4),
		hop: s.ColumnText(5), state: State(s.ColumnInt(6)), at: s.ColumnInt64(7), tries: s.ColumnInt(8), tried: s.ColumnInt64(9),
		status: s.ColumnText(10), remote: s.ColumnText(11), reply: s.ColumnText(12),
	}
}

// message reads a message's row; mail.KindNotExist.
func (q *Queue) message(id ID) (m message, err error) {
	err = q.view(func(db *database) error {
		return db.query(`SELECT `+messageColumns+` FROM message WHERE id = ?`, func(s *row) error { m = messageOf(s); return nil }, int64(id))
	})
	if err == nil && m.id == 0 {
		err = mail.Errorf(mail.KindNotExist, "message %s is not in the queue", id)
	}
	return m, err
}

// recipients reads the recipients of a message, in order.
func (q *Queue) recipients(id ID) (list []recipient, err error) {
	err = q.view(func(db *database) error {
		return db.query(`SELECT `+recipientColumns+` FROM rcpt WHERE message = ? ORDER BY id`, func(s *row) error {
			list = append(list, recipientOf(s))
			return nil
		}, int64(id))
	})
	return list, err
}

// body is a message's bytes.
type body struct {
	*blob.Reader
	file *os.File
}

// WriteTo writes the message to w.
func (b *body) WriteTo(w io.Writer) (int64, error) { return b.WriteRange(w, 0, b.Size()) }

func (b *body) close() error {
	b.Reader.Close()
	if b.file != nil {
		return b.file.Close()
	}
	return nil
}

// body opens a message's bytes.
func (q *Queue) body(m *message) (*body, error) {
	if m.inline {
		var data []byte
		err := q.view(func(db *database) error {
			return db.query(`SELECT data FROM body WHERE id = ?`, func(s *row) error { data = s.ColumnBlob(0, nil); return nil }, int64(m.id))
		})
		if err != nil {
			return nil, err
		}
		r, err := q.codec.NewReader(bytes.NewReader(data), int64(len(data)), m.size)
		return &body{Reader: r}, err
	}
	f, err := os.Open(q.bodyPath(m.id))
	if err != nil {
		return nil, mail.WrapError(mail.KindCorrupt, err, "the body of message %s is gone", m.id)
	}
	r, err := q.codec.NewReader(f, m.packed, m.size)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("opening the body of %s: %w", m.id, err)
	}
	return &body{r, f}, nil
}

// finish takes n recipients off a message, and the message away with the last
// one. It tells whether it did.
func finish(db *database, id ID, n int) (gone bool, err error) {
	left := int64(1)
	err = db.query(`UPDATE message SET left = left - ? WHERE id = ? RETURNING left`, func(s *row) error { left = s.ColumnInt64(0); return nil }, n, int64(id))
	if err != nil || left > 0 {
		return false, err
	}
	if err := db.exec(`DELETE FROM body WHERE id = ?`, int64(id)); err != nil {
		return false, err
	}
	return true, db.exec(`DELETE FROM message WHERE id = ?`, int64(id))
}

// dropBody removes the file of a message that is gone. One that stays is
// removed by Open.
func (q *Queue) dropBody(m *message) {
	if !m.inline {
		if err := os.Remove(q.bodyPath(m.id)); err != nil {
			q.cfg.Log.Warn("a body stays behind", "queue", m.id.String(), "error", err)
		}
	}
}

// micro is the time of a column.
func micro(us int64) time.Time { return time.UnixMicro(us).Local() }
