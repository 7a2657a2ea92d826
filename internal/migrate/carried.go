package migrate

import (
	"context"
	"strconv"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
)

// carried is a message that a rollback took to the old server.
type carried struct {
	here, there mail.UID // there: 0 where it is not known; of one that may be there, the least it can have
	done        bool     // false: it may be there, or not
	hash        Hash
	id          Identity
	marks
}

// row is the message as the row of a copied one.
func (c carried) row(uid mail.UID) row {
	key := strconv.FormatUint(uint64(c.there), 10)
	return row{Item: Item{Key: key, UID: uid, Flags: c.flags, Keywords: c.keywords}, state: Copied, hash: c.hash}
}

// carriedRows returns which messages of a folder here were taken to the old
// server, or may have been.
func (l *Ledger) carriedRows(ctx context.Context, account int64, folder string, v mail.UIDValidity) (map[mail.UID]carried, error) {
	out := map[mail.UID]carried{}
	err := l.view(ctx, func() error {
		return l.query(`SELECT uid, there, done, hash, flags, identity FROM carried WHERE account = ? AND folder = ? AND validity = ?`, func(s *sqlite3.Stmt) error {
			c := carried{here: mail.UID(s.ColumnInt64(0)), there: mail.UID(s.ColumnInt64(1)), done: s.ColumnBool(2)}
			copy(c.hash[:], s.ColumnRawBlob(3))
			c.flags, c.keywords = parseFlagText(s.ColumnText(4))
			copy(c.id[:], s.ColumnRawBlob(5))
			out[c.here] = c
			return nil
		}, account, folder, int64(v))
	})
	return out, err
}

// carriedFolders returns the folders here from which messages were carried, or may
// have been, by goneKey.
func (l *Ledger) carriedFolders(ctx context.Context, account int64) (map[string]Folder, error) {
	out := map[string]Folder{}
	err := l.view(ctx, func() error {
		return l.query(`SELECT DISTINCT folder, validity FROM carried WHERE account = ?`, func(s *sqlite3.Stmt) error {
			f := Folder{Name: s.ColumnText(0), State: State{UIDValidity: mail.UIDValidity(s.ColumnInt64(1))}}
			out[goneKey(f.Name, f.State.UIDValidity)] = f
			return nil
		}, account)
	})
	return out, err
}

// setCarried writes down that messages are about to be taken, or were taken.
func (l *Ledger) setCarried(ctx context.Context, account int64, folder string, v mail.UIDValidity, rows []carried) error {
	return l.update(ctx, func() error {
		for _, c := range rows {
			flags := flagText(Item{Flags: c.flags, Keywords: c.keywords})
			if err := l.exec(`INSERT OR REPLACE INTO carried (account, folder, validity, uid, there, done, hash, flags, identity) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				account, folder, int64(v), int64(c.here), int64(c.there), c.done, c.hash[:], flags, c.id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// renamedHere writes down that a copied folder has another name, and what was
// carried from it with it.
func (l *Ledger) renamedHere(ctx context.Context, account int64, f *folderRow, was string) error {
	return l.update(ctx, func() error {
		if err := l.exec(`UPDATE OR REPLACE carried SET folder = ? WHERE account = ? AND folder = ? AND validity = ?`,
			f.target, account, was, int64(f.adopted)); err != nil {
			return err
		}
		return l.writeFolder(account, f)
	})
}
