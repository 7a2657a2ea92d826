package sqlite

import (
	"github.com/ncruces/go-sqlite3"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/store"
)

const emailColumns = `id, refs, thread, size, packed, inline, sum`

// emailRow reads the columns of emailColumns.
func emailRow(s *sqlite3.Stmt) store.EmailRow {
	row := store.EmailRow{
		ID: mail.EmailID(s.ColumnInt64(0)), Refs: s.ColumnInt(1), Thread: mail.ThreadID(s.ColumnInt64(2)),
		Size: s.ColumnInt64(3), Packed: s.ColumnInt64(4), Inline: s.ColumnBool(5),
	}
	copy(row.Sum[:], s.ColumnRawBlob(6))
	return row
}

// Email implements store.ReadTx.
func (t *tx) Email(id mail.EmailID) (row store.EmailRow, err error) {
	err = t.c.query(`SELECT `+emailColumns+` FROM email WHERE id = ?`, func(s *sqlite3.Stmt) error {
		row = emailRow(s)
		return nil
	}, int64(id))
	if err == nil && row.ID == 0 {
		err = errNoEmail
	}
	return row, err
}

var errNoEmail = mail.Errorf(mail.KindNotExist, "the message is gone")

// Emails implements store.ReadTx.
func (t *tx) Emails(fn func(store.EmailRow) error) error {
	return t.c.query(`SELECT `+emailColumns+` FROM email ORDER BY id`, func(s *sqlite3.Stmt) error { return fn(emailRow(s)) })
}

// EmailsAfter implements store.ReadTx.
func (t *tx) EmailsAfter(after mail.EmailID, n int) (ids []mail.EmailID, err error) {
	err = t.c.query(`SELECT id FROM email WHERE id > ? AND refs > 0 ORDER BY id LIMIT ?`, func(s *sqlite3.Stmt) error {
		ids = append(ids, mail.EmailID(s.ColumnInt64(0)))
		return nil
	}, int64(after), int64(n))
	return ids, err
}

// Unused implements store.ReadTx.
func (t *tx) Unused(n int) (ids []mail.EmailID, err error) {
	err = t.c.query(`SELECT id FROM email WHERE refs = 0 LIMIT ?`, func(s *sqlite3.Stmt) error {
		ids = append(ids, mail.EmailID(s.ColumnInt64(0)))
		return nil
	}, int64(n))
	return ids, err
}

// detailGap is how many ids may be between two that Details reads together.
const detailGap = 8

// Details implements store.ReadTx.
func (t *tx) Details(ids []mail.EmailID, fn func(i int, data []byte) error) error {
	return t.ranges(`SELECT id, data FROM detail WHERE id BETWEEN ? AND ? ORDER BY id`, ids, detailGap, func(i int, s *sqlite3.Stmt) error {
		return fn(i, s.ColumnRawBlob(1))
	})
}

// ranges calls fn with each row of ids[i], which is the first column. sql reads a
// range of ids, in order; up to gap rows between those that are wanted are read
// rather than seek anew.
func (t *tx) ranges(sql string, ids []mail.EmailID, gap mail.EmailID, fn func(i int, s *sqlite3.Stmt) error) error {
	for _, run := range runs(ids, gap) {
		first, last := ids[run[0]], ids[run[len(run)-1]]
		err := t.c.query(sql, func(s *sqlite3.Stmt) error {
			id := mail.EmailID(s.ColumnInt64(0))
			for len(run) > 0 && ids[run[0]] < id {
				run = run[1:]
			}
			for ; len(run) > 0 && ids[run[0]] == id; run = run[1:] {
				if err := fn(run[0], s); err != nil {
					return err
				}
			}
			return nil
		}, int64(first), int64(last))
		if err != nil {
			return err
		}
	}
	return nil
}

// contentGap is detailGap of Contents, whose rows are larger.
const contentGap = 2

// Contents implements store.ReadTx.
func (t *tx) Contents(ids []mail.EmailID, fn func(i int, row store.EmailRow, body []byte) error) error {
	const sql = `SELECT email.id, refs, thread, size, packed, inline, sum, data
		FROM email LEFT JOIN body ON body.id = email.id WHERE email.id BETWEEN ? AND ? ORDER BY email.id`
	return t.ranges(sql, ids, contentGap, func(i int, s *sqlite3.Stmt) error {
		row := emailRow(s)
		if !row.Inline {
			return fn(i, row, nil)
		}
		if s.ColumnType(7) == sqlite3.NULL {
			return nil // without its bytes it is missing
		}
		return fn(i, row, s.ColumnRawBlob(7))
	})
}

// Body implements store.ReadTx.
func (t *tx) Body(id mail.EmailID) (data []byte, err error) {
	err = t.c.query(`SELECT data FROM body WHERE id = ?`, func(s *sqlite3.Stmt) error {
		data = s.ColumnBlob(0, nil)
		return nil
	}, int64(id))
	if err == nil && data == nil {
		err = errNoEmail
	}
	return data, err
}

// BlobRefs implements store.ReadTx.
func (t *tx) BlobRefs(fn func(sum blob.Sum, refs int) error) error {
	return t.c.query(`SELECT sum, refs FROM blob ORDER BY sum`, func(s *sqlite3.Stmt) error {
		var sum blob.Sum
		copy(sum[:], s.ColumnRawBlob(0))
		return fn(sum, s.ColumnInt(1))
	})
}

// PutEmail implements store.Tx.
func (t *tx) PutEmail(e store.NewEmail) error {
	inline := int64(1)
	if !e.Inline {
		inline = 0
		if err := t.link(e.Path, e.Sum); err != nil {
			return err
		}
		if err := t.c.exec(`INSERT INTO blob (sum, refs) VALUES (?, 1) ON CONFLICT (sum) DO UPDATE SET refs = refs + 1`, e.Sum[:]); err != nil {
			return err
		}
	} else if err := t.c.exec(`INSERT INTO body (id, data) VALUES (?, ?)`, int64(e.ID), e.Body); err != nil {
		return err
	}
	if err := t.c.exec(`INSERT INTO detail (id, data) VALUES (?, ?)`, int64(e.ID), e.Details); err != nil {
		return err
	}
	return t.c.exec(`INSERT INTO email (`+emailColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		int64(e.ID), int64(e.Refs), int64(e.Thread), e.Size, e.Packed, inline, e.Sum[:])
}

// AddRefs implements store.Tx.
func (t *tx) AddRefs(ids []mail.EmailID, n int) error {
	for _, run := range runs(ids, 1) {
		err := t.c.exec(`UPDATE email SET refs = refs + ? WHERE id BETWEEN ? AND ?`,
			int64(n), int64(ids[run[0]]), int64(ids[run[len(run)-1]]))
		if err != nil {
			return err
		}
	}
	return nil
}

// SetRefs implements store.Tx.
func (t *tx) SetRefs(id mail.EmailID, n int) error {
	return t.c.exec(`UPDATE email SET refs = ? WHERE id = ?`, int64(n), int64(id))
}

// SetBlobRefs implements store.Tx.
func (t *tx) SetBlobRefs(sum blob.Sum, n int) error {
	if n == 0 {
		return t.c.exec(`DELETE FROM blob WHERE sum = ?`, sum[:])
	}
	return t.c.exec(`INSERT OR REPLACE INTO blob (sum, refs) VALUES (?, ?)`, sum[:], int64(n))
}

// DeleteEmails implements store.Tx.
func (t *tx) DeleteEmails(ids []mail.EmailID) (unused []blob.Sum, err error) {
	for _, id := range ids {
		row, err := t.Email(id)
		if err != nil {
			return nil, err
		}
		for _, sql := range []string{`DELETE FROM email WHERE id = ?`, `DELETE FROM detail WHERE id = ?`, `DELETE FROM body WHERE id = ?`} {
			if err := t.c.exec(sql, int64(id)); err != nil {
				return nil, err
			}
		}
		if row.Inline {
			continue
		}
		err = t.c.query(`UPDATE blob SET refs = refs - 1 WHERE sum = ? RETURNING refs`, func(s *sqlite3.Stmt) error {
			if s.ColumnInt(0) == 0 {
				unused = append(unused, row.Sum)
			}
			return nil
		}, row.Sum[:])
		if err != nil {
			return nil, err
		}
	}
	for _, sum := range unused {
		if err := t.SetBlobRefs(sum, 0); err != nil {
			return nil, err
		}
	}
	return unused, nil
}
