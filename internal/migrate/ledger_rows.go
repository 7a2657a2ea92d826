package migrate

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
)

// ItemState is where an item stands; the package comment has the table.
type ItemState uint8

// The states of an item. The numbers are in ledgers.
const (
	Seen   ItemState = 1
	Copied ItemState = 2
	There  ItemState = 3
	Aside  ItemState = 4
	Gone   ItemState = 5
	Stale  ItemState = 6
)

// String returns the state's name.
func (s ItemState) String() string {
	names := [...]string{Seen: "seen", Copied: "copied", There: "there", Aside: "aside", Gone: "gone", Stale: "stale"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// placed tells whether the target holds the item.
func (s ItemState) placed() bool { return s == Copied || s == There }

// row is an item's row. Item.UID is the UID at the target, or for an item
// that is not there the one at the source.
type row struct {
	Item
	state    ItemState
	hash     Hash
	verified bool
	reason   string
	likeness Identity // what it is recognised by once it is moved at the source
	said     int64    // the size that the source says, where it is not Size; 0
}

// saidSize returns the size that the source says.
func (r *row) saidSize() int64 {
	if r.said != 0 {
		return r.said
	}
	return r.Size
}

// setSize takes the size of the bytes; Size is still what the source says.
func (r *row) setSize(n int64) {
	if r.said = 0; r.Size > 0 && r.Size != n {
		r.said = r.Size
	}
	r.Size = n
}

// accountRow is an account's row.
type accountRow struct {
	id      int64
	user    User
	state   string
	error   string
	pass    int
	seconds int64 // that the last pass took
	stage   Stage
	host    string // mailHost before the cutover
	moved   int64  // when the mailHost was flipped
	gap     int64  // milliseconds that the account was frozen for then

	notBefore int64         // the source asked to be left alone until then
	src       SourceAccount // that is open already; nil: each pass opens one
}

// folderRow is a folder's row.
type folderRow struct {
	Folder   // as the source last showed it
	id       int64
	target   string // its name there
	present  bool   // the last pass found it at the source
	settled  bool   // the last pass left nothing undone; since is the state then
	since    State
	adopted  mail.UIDValidity // of the target's mailbox; 0 before the first pass
	base     mail.UID         // the target's UIDNEXT before anything was copied
	top      mail.UID         // the highest UID written at the target
	made     bool             // the target had none of its name
	occupied bool             // the target's folder had mail when the pass began
	renewing mail.UIDValidity // what the target's mailbox has until it gets adopted; 0: it has
	merged   string           // why UIDs are not kept; "" where they are
	error    string
}

const accountColumns = `id, source, target, state, error, pass, ended - began, stage, host, moved, gap, notbefore`

// scanAccount reads the columns of accountColumns.
func scanAccount(s *sqlite3.Stmt) accountRow {
	return accountRow{
		id: s.ColumnInt64(0), user: User{Source: s.ColumnText(1), Target: mail.Address(s.ColumnText(2))},
		state: s.ColumnText(3), error: s.ColumnText(4), pass: s.ColumnInt(5), seconds: s.ColumnInt64(6),
		stage: Stage(s.ColumnText(7)), host: s.ColumnText(8), moved: s.ColumnInt64(9), gap: s.ColumnInt64(10),
		notBefore: s.ColumnInt64(11),
	}
}

// enter makes the rows of accounts, in their order.
func (l *Ledger) enter(ctx context.Context, users []User) error {
	return l.update(ctx, func() error {
		for _, u := range users {
			if err := l.exec(`INSERT OR IGNORE INTO account (source, target) VALUES (?, ?)`, u.Source, string(u.Target)); err != nil {
				return err
			}
		}
		return nil
	})
}

// account returns the row of an account, which enter has made.
func (l *Ledger) account(ctx context.Context, u User) (accountRow, error) {
	a := accountRow{user: u, state: "new"}
	err := l.view(ctx, func() error {
		return l.query(`SELECT `+accountColumns+` FROM account WHERE source = ? AND target = ?`, func(s *sqlite3.Stmt) error {
			a = scanAccount(s)
			a.user = u // with its password
			return nil
		}, u.Source, string(u.Target))
	})
	return a, err
}

// begin writes down that a pass over an account begins.
func (l *Ledger) begin(ctx context.Context, a accountRow) error {
	return l.note(ctx, func() error {
		return l.exec(`UPDATE account SET state = 'running', error = '', pass = ?, began = ? WHERE id = ?`, a.pass, l.now().Unix(), a.id)
	})
}

// finish writes down how a pass over an account ended, and adds it to the chain.
func (l *Ledger) finish(ctx context.Context, a accountRow, about any) error {
	return l.update(ctx, func() error {
		if err := l.exec(`UPDATE account SET state = ?, error = ?, ended = ? WHERE id = ?`, a.state, a.error, l.now().Unix(), a.id); err != nil {
			return err
		}
		return l.link(a.id, "pass", about)
	})
}

// setNotBefore writes until when the source of an account is to be left alone.
func (l *Ledger) setNotBefore(ctx context.Context, account int64, until time.Time) error {
	return l.update(ctx, func() error {
		return l.exec(`UPDATE account SET notbefore = ? WHERE id = ?`, until.Add(time.Second-1).Unix(), account) // not a moment too early
	})
}

// latestNotBefore returns until when the source wants to be left alone, of what it
// said to any account; 0 where it said nothing.
func (l *Ledger) latestNotBefore(ctx context.Context) (until int64, err error) {
	err = l.view(ctx, func() error {
		return l.query(`SELECT max(notbefore) FROM account`, func(s *sqlite3.Stmt) error {
			until = s.ColumnInt64(0)
			return nil
		})
	})
	return until, err
}

// leftOut is the note of a folder that the plan leaves out.
const leftOut = "left out by the plan (source.exclude)"

// leaveOut writes down that a folder is left out.
func (l *Ledger) leaveOut(ctx context.Context, account int64, f *folderRow) error {
	f.error, f.settled = leftOut, true
	return l.putFolder(ctx, account, f)
}

// setStage writes where the account's mailbox lives, or is on its way to.
func (l *Ledger) setStage(ctx context.Context, a accountRow) error {
	return l.update(ctx, func() error {
		return l.exec(`UPDATE account SET stage = ?, host = ?, moved = ?, gap = ? WHERE id = ?`, string(a.stage), a.host, a.moved, a.gap, a.id)
	})
}

// accounts returns all accounts in the order they came in.
func (l *Ledger) accounts(ctx context.Context) ([]accountRow, error) {
	var out []accountRow
	err := l.view(ctx, func() error {
		return l.query(`SELECT `+accountColumns+` FROM account ORDER BY id`, func(s *sqlite3.Stmt) error {
			out = append(out, scanAccount(s))
			return nil
		})
	})
	return out, err
}

// sync brings the rows of an account's folders up to what the source lists and
// returns those that it lists, in its order, and those that it lists no more.
func (l *Ledger) sync(ctx context.Context, account int64, listed []Folder, named func(string) string) (out, missing []*folderRow, err error) {
	known, err := l.folders(ctx, account)
	if err != nil {
		return nil, nil, err
	}
	rows := make(map[string]*folderRow, len(known))
	names := make(map[string]bool, len(known))
	for i := range known {
		rows[known[i].Key] = &known[i]
		names[known[i].target] = known[i].present || known[i].adopted != 0
	}
	var changed, restarted []*folderRow
	seen := make(map[string]bool, len(listed))
	for _, f := range listed {
		r := rows[f.Key]
		if r == nil {
			r = &folderRow{target: uniqueName(named(f.Name), func(n string) bool { return names[n] })}
			names[r.target] = true
		} else if r.adopted != 0 && r.State.UIDValidity != f.State.UIDValidity {
			restarted = append(restarted, r)
		}
		r.settled = r.settled && r.Use == f.Use && r.Subscribed == f.Subscribed
		if r.id == 0 || r.Folder != kept(f) || !r.present || r.error != "" {
			changed = append(changed, r)
		}
		r.Folder, r.present, r.error = f, true, ""
		seen[f.Key] = true
		out = append(out, r)
	}
	for i := range known {
		r := &known[i]
		if seen[r.Key] {
			continue
		}
		missing = append(missing, r)
		if r.present {
			r.present = false
			changed = append(changed, r)
		}
	}
	if len(changed) == 0 {
		return out, missing, nil
	}
	return out, missing, l.note(ctx, func() error {
		for _, r := range restarted {
			if err := l.restart(r); err != nil {
				return err
			}
		}
		for _, r := range changed {
			if err := l.writeFolder(account, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// kept returns f as its row will show it.
func kept(f Folder) Folder {
	f.State.UIDNext, f.State.ModSeq, f.Class = 0, 0, ""
	return f
}

// folders returns the folders of an account in the order they were found.
func (l *Ledger) folders(ctx context.Context, account int64) ([]folderRow, error) {
	var out []folderRow
	err := l.view(ctx, func() error {
		return l.query(`SELECT id, key, name, target, role, subscribed, noitems, present, validity, messages, bytes,
			adopted, merged, settled, uidnext, modseq, held, error, base, top, renewing, made FROM folder WHERE account = ? ORDER BY id`, func(s *sqlite3.Stmt) error {
			out = append(out, folderRow{
				id: s.ColumnInt64(0),
				Folder: Folder{
					Key: s.ColumnText(1), Name: s.ColumnText(2), Use: mail.SpecialUse(s.ColumnText(4)),
					Subscribed: s.ColumnBool(5), NoItems: s.ColumnBool(6),
					State: State{
						UIDValidity: mail.UIDValidity(s.ColumnInt64(8)), Messages: s.ColumnInt(9), Bytes: s.ColumnInt64(10),
					},
				},
				target: s.ColumnText(3), present: s.ColumnBool(7), adopted: mail.UIDValidity(s.ColumnInt64(11)),
				merged: s.ColumnText(12), settled: s.ColumnBool(13),
				since: State{
					UIDValidity: mail.UIDValidity(s.ColumnInt64(8)), UIDNext: mail.UID(s.ColumnInt64(14)),
					ModSeq: uint64(s.ColumnInt64(15)), Messages: s.ColumnInt(16), Bytes: -1,
				},
				error: s.ColumnText(17), base: mail.UID(s.ColumnInt64(18)), top: mail.UID(s.ColumnInt64(19)),
				renewing: mail.UIDValidity(s.ColumnInt64(20)), made: s.ColumnBool(21),
			})
			return nil
		}, account)
	})
	return out, err
}

// putFolder writes a folder's row, making it (and setting f.id) where it is new.
func (l *Ledger) putFolder(ctx context.Context, account int64, f *folderRow) error {
	return l.note(ctx, func() error { return l.writeFolder(account, f) })
}

// writeFolder is putFolder inside an update.
func (l *Ledger) writeFolder(account int64, f *folderRow) error {
	if f.id == 0 {
		if err := l.exec(`INSERT INTO folder (account, key, name, target) VALUES (?, ?, ?, ?)`, account, f.Key, f.Name, f.target); err != nil {
			return err
		}
		f.id = l.db.LastInsertRowID()
	}
	return l.exec(`UPDATE folder SET name = ?, target = ?, role = ?, subscribed = ?, noitems = ?, present = ?, validity = ?, messages = ?,
		bytes = ?, adopted = ?, merged = ?, settled = ?, uidnext = ?, modseq = ?, held = ?, error = ?, base = ?, top = ?, renewing = ?, made = ? WHERE id = ?`,
		f.Name, f.target, string(f.Use), f.Subscribed, f.NoItems, f.present, int64(f.State.UIDValidity), f.State.Messages,
		f.State.Bytes, int64(f.adopted), f.merged, f.settled, int64(f.since.UIDNext), int64(f.since.ModSeq), f.since.Messages, f.error, int64(f.base), int64(f.top),
		int64(f.renewing), f.made, f.id)
}

const rowColumns = `key, state, uid, size, hash, flags, date, zone, verified, reason, likeness, said`

// scanRow reads the columns of rowColumns.
func scanRow(s *sqlite3.Stmt) row {
	r := row{
		Item: Item{
			Key: s.ColumnText(0), UID: mail.UID(s.ColumnInt64(2)), Size: s.ColumnInt64(3),
			Date: mail.Date{Unix: s.ColumnInt64(6), Offset: int16(s.ColumnInt(7))},
		},
		state: ItemState(s.ColumnInt(1)), verified: s.ColumnInt64(8) != 0, reason: s.ColumnText(9), said: s.ColumnInt64(11),
	}
	copy(r.likeness[:], s.ColumnRawBlob(10))
	copy(r.hash[:], s.ColumnRawBlob(4))
	r.Flags, r.Keywords = parseFlagText(s.ColumnText(5))
	return r
}

// rows returns the rows of the items that have one, by key.
func (l *Ledger) rows(ctx context.Context, folder int64, items []Item) (map[string]row, error) {
	out := make(map[string]row, len(items))
	err := l.view(ctx, func() error {
		for _, it := range items {
			err := l.query(`SELECT `+rowColumns+` FROM item WHERE folder = ? AND key = ?`, func(s *sqlite3.Stmt) error {
				out[it.Key] = scanRow(s)
				return nil
			}, folder, it.Key)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// vanished returns the rows of items that the source says have vanished, and the
// stale ones, which no item of the source stands for.
func (l *Ledger) vanished(ctx context.Context, folder int64, keys []string) ([]row, error) {
	items := make([]Item, len(keys))
	for i, key := range keys {
		items[i].Key = key
	}
	found, err := l.rows(ctx, folder, items)
	if err != nil {
		return nil, err
	}
	rows, err := l.inState(ctx, folder, Stale)
	for _, key := range keys {
		if r, ok := found[key]; ok && r.state != Gone && r.state != Stale {
			rows = append(rows, r)
		}
	}
	return rows, err
}

// keys calls fn with the keys of the items of a folder that are not gone.
func (l *Ledger) keys(ctx context.Context, folder int64, fn func(key string)) error {
	return l.view(ctx, func() error {
		return l.query(`SELECT key FROM item WHERE folder = ? AND state <> 5`, func(s *sqlite3.Stmt) error {
			fn(s.ColumnText(0))
			return nil
		}, folder)
	})
}

// pageSize is how many rows allRows reads at a time.
const pageSize = 2000

// allRows yields the rows of a folder in order of key, without holding the
// ledger meanwhile.
func (l *Ledger) allRows(ctx context.Context, folder int64) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		after, first := "", true
		for {
			var page []row
			err := l.view(ctx, func() error {
				return l.query(`SELECT `+rowColumns+` FROM item WHERE folder = ? AND (key > ? OR ?) ORDER BY key LIMIT ?`, func(s *sqlite3.Stmt) error {
					page = append(page, scanRow(s))
					return nil
				}, folder, after, first, pageSize)
			})
			if err != nil {
				yield(row{}, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			after, first = page[len(page)-1].Key, false
		}
	}
}

// inState returns the items of a folder that are in one state, not that of a
// placed one (which the index item_state leaves out), by key.
func (l *Ledger) inState(ctx context.Context, folder int64, state ItemState) ([]row, error) {
	var out []row
	err := l.view(ctx, func() error {
		return l.query(`SELECT `+rowColumns+` FROM item WHERE folder = ? AND state = ? AND state NOT IN (2, 3) ORDER BY key`, func(s *sqlite3.Stmt) error {
			out = append(out, scanRow(s))
			return nil
		}, folder, int(state))
	})
	return out, err
}

// counts returns how many items of a folder are in each state, and their bytes.
func (l *Ledger) counts(ctx context.Context, folder int64) (Counts, error) {
	c := Counts{}
	err := l.view(ctx, func() error {
		return l.query(`SELECT state, count(*), sum(size), sum(verified <> 0) FROM item WHERE folder = ? GROUP BY state`, func(s *sqlite3.Stmt) error {
			c.add(ItemState(s.ColumnInt(0)), s.ColumnInt(1), s.ColumnInt64(2), s.ColumnInt(3))
			return nil
		}, folder)
	})
	return c, err
}

// see writes items that have no row yet.
func (l *Ledger) see(ctx context.Context, folder int64, items []Item) error {
	return l.note(ctx, func() error {
		for _, it := range items {
			if err := l.exec(`INSERT OR IGNORE INTO item (folder, key, state, uid, size, flags, date, zone) VALUES (?, ?, 1, ?, ?, ?, ?, ?)`,
				folder, it.Key, int64(it.UID), it.Size, flagText(it), it.Date.Unix, int(it.Date.Offset)); err != nil {
				return err
			}
		}
		return nil
	})
}

// putRows writes rows over what is there.
func (l *Ledger) putRows(ctx context.Context, folder int64, rows []row) error {
	return l.note(ctx, func() error { return l.writeRows(folder, rows) })
}

// writeRows is putRows inside an update.
func (l *Ledger) writeRows(folder int64, rows []row) error {
	for i := range rows {
		r := &rows[i]
		verified := int64(0)
		if r.verified {
			verified = l.now().Unix()
		}
		if err := l.exec(`INSERT OR REPLACE INTO item (folder, `+rowColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			folder, r.Key, int(r.state), int64(r.UID), r.Size, r.hash[:], flagText(r.Item), r.Date.Unix, int(r.Date.Offset), verified, r.reason,
			r.likeness.blob(), r.said); err != nil {
			return err
		}
	}
	return nil
}

// blob returns the identity as a ledger keeps it.
func (id *Identity) blob() []byte {
	if *id == (Identity{}) {
		return nil
	}
	return id[:]
}

// placedRow is a row whose copy the target holds, in any folder.
type placedRow struct {
	row
	folder int64
}

// sameDate returns the rows of an account whose copies the target has, in
// whichever folder, that have the internal date of an item, by the item's key.
func (l *Ledger) sameDate(ctx context.Context, account int64, items []Item) (map[string][]placedRow, error) {
	out := map[string][]placedRow{}
	err := l.view(ctx, func() error {
		for _, it := range items {
			if it.Date == (mail.Date{}) {
				continue
			}
			err := l.query(`SELECT `+rowColumns+`, item.folder FROM item INDEXED BY item_date WHERE folder IN (SELECT id FROM folder WHERE account = ?)
				AND date = ? AND state IN (2, 3, 6)`, func(s *sqlite3.Stmt) error {
				out[it.Key] = append(out[it.Key], placedRow{scanRow(s), s.ColumnInt64(12)})
				return nil
			}, account, it.Date.Unix)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// land writes the rows of items that the target has, and their folder, and
// removes the stale rows that they stand for.
func (l *Ledger) land(ctx context.Context, account int64, f *folderRow, rows []row, stale []string) error {
	return l.note(ctx, func() error {
		for _, key := range stale {
			if err := l.exec(`DELETE FROM item WHERE folder = ? AND key = ?`, f.id, key); err != nil {
				return err
			}
		}
		if err := l.writeRows(f.id, rows); err != nil {
			return err
		}
		if err := l.writeRest(f.id, rows); err != nil {
			return err
		}
		return l.writeFolder(account, f)
	})
}

// setFlags writes the flags that items have at the target now.
func (l *Ledger) setFlags(ctx context.Context, folder int64, items []Item) error {
	return l.note(ctx, func() error {
		for _, it := range items {
			if err := l.exec(`UPDATE item SET flags = ?, verified = 0 WHERE folder = ? AND key = ?`, flagText(it), folder, it.Key); err != nil {
				return err
			}
		}
		return nil
	})
}

// unclaimed returns what is known of target messages that no row claims, as
// far as they have been read.
func (l *Ledger) unclaimed(ctx context.Context, folder int64) (map[mail.UID]fingerprint, error) {
	out := map[mail.UID]fingerprint{}
	err := l.view(ctx, func() error {
		return l.query(`SELECT uid, hash, identity FROM unclaimed WHERE folder = ?`, func(s *sqlite3.Stmt) error {
			var p fingerprint
			copy(p.hash[:], s.ColumnRawBlob(1))
			copy(p.id[:], s.ColumnRawBlob(2))
			out[mail.UID(s.ColumnInt64(0))] = p
			return nil
		}, folder)
	})
	return out, err
}

// putUnclaimed keeps what was read of target messages, so that they are read once.
func (l *Ledger) putUnclaimed(ctx context.Context, folder int64, found map[mail.UID]fingerprint) error {
	return l.note(ctx, func() error {
		for uid, p := range found {
			if err := l.exec(`INSERT OR REPLACE INTO unclaimed (folder, uid, hash, identity) VALUES (?, ?, ?, ?)`, folder, int64(uid), p.hash[:], p.id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// forget takes back that anything of a folder is at the target, because the
// mailbox there is not the one that was filled.
func (l *Ledger) forget(ctx context.Context, account int64, f *folderRow) error {
	f.adopted, f.renewing, f.merged, f.base, f.top, f.settled = 0, 0, "", 0, 0, false
	return l.note(ctx, func() error {
		for _, sql := range []string{
			`UPDATE item SET state = 1, uid = 0, verified = 0 WHERE folder = ? AND state IN (2, 3)`,
			`DELETE FROM item WHERE folder = ? AND state IN (5, 6)`,
			`DELETE FROM unclaimed WHERE folder = ?`,
		} {
			if err := l.exec(sql, f.id); err != nil {
				return err
			}
		}
		return l.writeFolder(account, f)
	})
}

// restart makes every row of a folder stale, because the source changed its
// UIDVALIDITY, and forgets the items that were never copied. The caller is in
// update and writes the folder's row.
func (l *Ledger) restart(f *folderRow) error {
	f.settled = false
	if err := l.exec(`DELETE FROM item WHERE folder = ? AND state IN (1, 4)`, f.id); err != nil {
		return err
	}
	// A prefix that no source's keys have makes room for the new keys.
	return l.exec(`UPDATE item SET key = ? || key, state = CASE WHEN state IN (2, 3) THEN 6 ELSE state END
		WHERE folder = ? AND substr(key, 1, 1) <> char(1)`, fmt.Sprintf("\x01%d\x01", f.State.UIDValidity), f.id)
}
