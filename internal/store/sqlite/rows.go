package sqlite

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/store"
)

// tx implements store.Tx on a connection that has a transaction open.
type tx struct {
	c      *conn
	linked []blob.Sum // files that this transaction has added
}

var _ store.Tx = (*tx)(nil)

// Account implements store.ReadTx.
func (t *tx) Account() (row store.AccountRow, err error) {
	found := false
	err = t.c.query(`SELECT modseq, next_mailbox, next_email, uidvalidity, quota_bytes, quota_messages,
		used_bytes, used_messages, history_from, history_rows FROM account WHERE id = 1`, func(s *sqlite3.Stmt) error {
		found = true
		row = store.AccountRow{
			ModSeq: mail.ModSeq(s.ColumnInt64(0)), NextMailbox: mail.MailboxID(s.ColumnInt64(1)),
			NextEmail: mail.EmailID(s.ColumnInt64(2)), UIDValidity: mail.UIDValidity(s.ColumnInt64(3)),
			Quota:       mail.Quota{Bytes: s.ColumnInt64(4), Messages: s.ColumnInt64(5)},
			Usage:       mail.Usage{Bytes: s.ColumnInt64(6), Messages: s.ColumnInt64(7)},
			HistoryFrom: mail.ModSeq(s.ColumnInt64(8)), HistoryRows: s.ColumnInt(9),
		}
		return nil
	})
	if err == nil && !found {
		err = mail.Errorf(mail.KindCorrupt, "the account's own row is missing")
	}
	return row, err
}

// PutAccount implements store.Tx.
func (t *tx) PutAccount(r store.AccountRow) error {
	return t.c.exec(`INSERT OR REPLACE INTO account (id, modseq, next_mailbox, next_email, uidvalidity, quota_bytes, quota_messages,
		used_bytes, used_messages, history_from, history_rows) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(r.ModSeq), int64(r.NextMailbox), int64(r.NextEmail), int64(r.UIDValidity), r.Quota.Bytes, r.Quota.Messages,
		r.Usage.Bytes, r.Usage.Messages, int64(r.HistoryFrom), int64(r.HistoryRows))
}

const mailboxColumns = `id, name, uidvalidity, uidnext, modseq, special_use, messages, unseen, deleted, size, recent, keywords, acl`

// mailboxRow reads the columns of mailboxColumns.
func mailboxRow(s *sqlite3.Stmt) (store.MailboxRow, error) {
	acl, err := store.UnmarshalACL(s.ColumnText(12))
	return store.MailboxRow{
		ACL:    acl,
		Recent: mail.UID(s.ColumnInt64(10)),
		Mailbox: mail.Mailbox{
			ID: mail.MailboxID(s.ColumnInt64(0)), Name: s.ColumnText(1), UIDValidity: mail.UIDValidity(s.ColumnInt64(2)),
			UIDNext: mail.UID(s.ColumnInt64(3)), HighestModSeq: mail.ModSeq(s.ColumnInt64(4)),
			SpecialUse: mail.SpecialUse(s.ColumnText(5)), Messages: s.ColumnInt(6), Unseen: s.ColumnInt(7),
			Deleted: s.ColumnInt(8), Size: s.ColumnInt64(9), Keywords: strings.Fields(s.ColumnText(11)),
		},
	}, err
}

// Mailboxes implements store.ReadTx.
func (t *tx) Mailboxes() (rows []store.MailboxRow, err error) {
	err = t.c.query(`SELECT `+mailboxColumns+` FROM mailbox ORDER BY id`, func(s *sqlite3.Stmt) error {
		row, err := mailboxRow(s)
		rows = append(rows, row)
		return err
	})
	return rows, err
}

// Mailbox implements store.ReadTx.
func (t *tx) Mailbox(id mail.MailboxID) (row store.MailboxRow, err error) {
	err = t.c.query(`SELECT `+mailboxColumns+` FROM mailbox WHERE id = ?`, func(s *sqlite3.Stmt) (err error) {
		row, err = mailboxRow(s)
		return err
	}, int64(id))
	if err == nil && row.ID == 0 {
		err = mail.Errorf(mail.KindNotExist, "the mailbox is gone")
	}
	return row, err
}

// PutMailbox implements store.Tx.
func (t *tx) PutMailbox(r store.MailboxRow) error {
	return t.c.exec(`INSERT OR REPLACE INTO mailbox (`+mailboxColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(r.ID), r.Name, int64(r.UIDValidity), int64(r.UIDNext), int64(r.HighestModSeq), string(r.SpecialUse),
		int64(r.Messages), int64(r.Unseen), int64(r.Deleted), r.Size, int64(r.Recent), strings.Join(r.Keywords, " "), store.MarshalACL(r.ACL))
}

// DeleteMailbox implements store.Tx.
func (t *tx) DeleteMailbox(id mail.MailboxID) error {
	if err := t.c.exec(`DELETE FROM mailbox WHERE id = ?`, int64(id)); err != nil {
		return err
	}
	if err := t.c.exec(`DELETE FROM annotation WHERE mailbox = ?`, int64(id)); err != nil {
		return err
	}
	return t.deleteChunks(id)
}

// deleteChunks removes the chunks of a mailbox or reader.
func (t *tx) deleteChunks(id mail.MailboxID) error {
	return t.c.exec(`DELETE FROM chunk WHERE key BETWEEN ? AND ?`, chunkKey(id, 0), chunkKey(id, 1<<32-1))
}

// Subscriptions implements store.ReadTx.
func (t *tx) Subscriptions() (names []string, err error) {
	err = t.c.query(`SELECT name FROM subscription ORDER BY name`, func(s *sqlite3.Stmt) error {
		names = append(names, s.ColumnText(0))
		return nil
	})
	return names, err
}

// PutSubscription implements store.Tx.
func (t *tx) PutSubscription(name string, on bool) error {
	if on {
		return t.c.exec(`INSERT OR IGNORE INTO subscription (name) VALUES (?)`, name)
	}
	return t.c.exec(`DELETE FROM subscription WHERE name = ?`, name)
}

// chunkKey returns the key of a chunk's row.
func chunkKey(id mail.MailboxID, first mail.UID) int64 { return int64(id)<<32 | int64(first) }

// Chunks implements store.ReadTx.
func (t *tx) Chunks(id mail.MailboxID, fn func(first mail.UID, data []byte) error) error {
	return t.c.query(`SELECT key, data FROM chunk WHERE key BETWEEN ? AND ? ORDER BY key`, func(s *sqlite3.Stmt) error {
		return fn(mail.UID(s.ColumnInt64(0)), s.ColumnRawBlob(1))
	}, chunkKey(id, 0), chunkKey(id, 1<<32-1))
}

// LastChunk implements store.ReadTx.
func (t *tx) LastChunk(id mail.MailboxID) (first mail.UID, data []byte, err error) {
	err = t.c.query(`SELECT key, data FROM chunk WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1`, func(s *sqlite3.Stmt) error {
		first, data = mail.UID(s.ColumnInt64(0)), s.ColumnBlob(1, nil)
		return nil
	}, chunkKey(id, 0), chunkKey(id, 1<<32-1))
	return first, data, err
}

// PutChunk implements store.Tx.
func (t *tx) PutChunk(id mail.MailboxID, first mail.UID, data []byte) error {
	if data == nil {
		return t.c.exec(`DELETE FROM chunk WHERE key = ?`, chunkKey(id, first))
	}
	return t.c.exec(`INSERT OR REPLACE INTO chunk (key, data) VALUES (?, ?)`, chunkKey(id, first), data)
}

// Thread implements store.ReadTx.
func (t *tx) Thread(hash uint64) (mail.ThreadID, error) {
	id, err := t.c.number(`SELECT thread FROM thread WHERE hash = ?`, int64(hash))
	return mail.ThreadID(id), err
}

// PutThread implements store.Tx.
func (t *tx) PutThread(hash uint64, id mail.ThreadID) error {
	return t.c.exec(`INSERT OR IGNORE INTO thread (hash, thread) VALUES (?, ?)`, int64(hash), int64(id))
}

// History implements store.ReadTx.
func (t *tx) History(id mail.MailboxID, since mail.ModSeq, fn func(store.HistoryRow) error) error {
	return t.c.query(`SELECT modseq, uids FROM history WHERE modseq > ? AND mailbox = ? ORDER BY modseq`, func(s *sqlite3.Stmt) error {
		return fn(store.HistoryRow{ModSeq: mail.ModSeq(s.ColumnInt64(0)), Mailbox: id, UIDs: s.ColumnRawBlob(1)})
	}, int64(since), int64(id))
}

// PutHistory implements store.Tx.
func (t *tx) PutHistory(r store.HistoryRow) error {
	return t.c.exec(`INSERT INTO history (modseq, mailbox, uids) VALUES (?, ?, ?)`, int64(r.ModSeq), int64(r.Mailbox), r.UIDs)
}

// TrimHistory implements store.Tx.
func (t *tx) TrimHistory(n int) (mail.ModSeq, error) {
	last, err := t.c.number(`SELECT modseq FROM history ORDER BY modseq LIMIT 1 OFFSET ?`, int64(n-1))
	if err != nil {
		return 0, err
	}
	return mail.ModSeq(last), t.c.exec(`DELETE FROM history WHERE modseq <= ?`, last)
}

// Verify implements store.ReadTx.
func (t *tx) Verify(fn func(problem string) error) error {
	return t.c.query(`PRAGMA integrity_check`, func(s *sqlite3.Stmt) error {
		if text := s.ColumnText(0); text != "ok" {
			return fn(text)
		}
		return nil
	})
}

// runs yields the places of ids, sorted by id, in groups that lie so close that
// one range read takes them.
func runs(ids []mail.EmailID, gap mail.EmailID) [][]int {
	order := make([]int, len(ids))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(ids[a], ids[b]) })
	var all [][]int
	start := 0
	for i := 1; i <= len(order); i++ {
		if i == len(order) || ids[order[i]]-ids[order[i-1]] > gap {
			all = append(all, order[start:i])
			start = i
		}
	}
	return all
}

// strays are the tables whose rows belong to rows of others, and how to find
// those that do not.
var strays = [...]struct{ table, column, where string }{
	{"detail", "id", "id NOT IN (SELECT id FROM email)"},
	{"body", "id", "id NOT IN (SELECT id FROM email)"},
	{"reader", "id", "mailbox NOT IN (SELECT id FROM mailbox)"},
	{"annotation", "entry", "mailbox <> 0 AND mailbox NOT IN (SELECT id FROM mailbox)"},
	{"chunk", "key", "key >> 32 NOT IN (SELECT id FROM mailbox UNION SELECT id FROM reader)"},
}

// Strays implements store.ReadTx.
func (t *tx) Strays(fn func(row string) error) error {
	for _, s := range strays {
		err := t.c.query("SELECT "+s.column+" FROM "+s.table+" WHERE "+s.where, func(st *sqlite3.Stmt) error {
			return fn(s.table + " " + st.ColumnText(0))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteStrays implements store.Tx.
func (t *tx) DeleteStrays() error {
	for _, s := range strays {
		if err := t.c.exec("DELETE FROM " + s.table + " WHERE " + s.where); err != nil {
			return err
		}
	}
	return nil
}
