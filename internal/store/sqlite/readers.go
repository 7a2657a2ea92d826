package sqlite

import (
	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
	"expost/internal/store"
)

// Readers implements store.ReadTx.
func (t *tx) Readers() (rows []store.ReaderRow, err error) {
	err = t.c.query(`SELECT id, mailbox, account, flags, keywords, since, modseq, seen FROM reader ORDER BY id`, func(s *sqlite3.Stmt) error {
		rows = append(rows, store.ReaderRow{
			ID: mail.MailboxID(s.ColumnInt64(0)), Mailbox: mail.MailboxID(s.ColumnInt64(1)), Reader: mail.AccountID(s.ColumnText(2)),
			Personal: store.Personal{Flags: mail.Flags(s.ColumnInt64(3)), Keywords: s.ColumnInt64(4) != 0},
			Since:    mail.ModSeq(s.ColumnInt64(5)), ModSeq: mail.ModSeq(s.ColumnInt64(6)), Seen: s.ColumnInt(7),
		})
		return nil
	})
	return rows, err
}

// PutReader implements store.Tx.
func (t *tx) PutReader(r store.ReaderRow) error {
	keywords := int64(0)
	if r.Personal.Keywords {
		keywords = 1
	}
	return t.c.exec(`INSERT OR REPLACE INTO reader (id, mailbox, account, flags, keywords, since, modseq, seen) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(r.ID), int64(r.Mailbox), string(r.Reader), int64(r.Personal.Flags), keywords, int64(r.Since), int64(r.ModSeq), int64(r.Seen))
}

// DeleteReader implements store.Tx.
func (t *tx) DeleteReader(id mail.MailboxID) error {
	if err := t.c.exec(`DELETE FROM reader WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	return t.deleteChunks(id)
}

// Annotations implements store.ReadTx.
func (t *tx) Annotations(id mail.MailboxID, fn func(store.Annotation) error) error {
	return t.c.query(`SELECT account, entry, value FROM annotation WHERE mailbox = ? ORDER BY account, entry`, func(s *sqlite3.Stmt) error {
		return fn(store.Annotation{Mailbox: id, Who: mail.AccountID(s.ColumnText(0)), Entry: s.ColumnText(1), Value: value(s, 2)})
	}, int64(id))
}

// value returns the bytes of a column, never nil.
func value(s *sqlite3.Stmt, column int) []byte {
	if b := s.ColumnRawBlob(column); b != nil {
		return b
	}
	return []byte{}
}

// PutAnnotation implements store.Tx.
func (t *tx) PutAnnotation(a store.Annotation) error {
	if a.Value == nil {
		return t.c.exec(`DELETE FROM annotation WHERE mailbox = ? AND account = ? AND entry = ?`, int64(a.Mailbox), string(a.Who), a.Entry)
	}
	return t.c.exec(`INSERT OR REPLACE INTO annotation (mailbox, account, entry, value) VALUES (?, ?, ?, ?)`,
		int64(a.Mailbox), string(a.Who), a.Entry, a.Value)
}

// DeletePrivate implements store.Tx.
func (t *tx) DeletePrivate(who mail.AccountID) error {
	return t.c.exec(`DELETE FROM annotation WHERE account = ?`, string(who))
}
