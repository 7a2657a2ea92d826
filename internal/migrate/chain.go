package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
)

// Event is one link of the ledger's chain: what was done, when, and to which
// account. Its hash covers the hash of the link before, so that none of them
// can be changed, left out or put in without breaking all that follow; whoever
// wrote down the last hash can prove that a ledger is the one it was.
type Event struct {
	ID      int64           `json:"id"`
	Time    time.Time       `json:"time"`
	Account int64           `json:"account,omitempty"`
	What    string          `json:"what"`
	Text    json.RawMessage `json:"text"`
	Hash    string          `json:"sha256"`
}

// link returns the hash of a link.
func (e *Event) link(before []byte) []byte {
	sum := sha256.New()
	sum.Write(before)
	fmt.Fprintf(sum, "%d\x00%d\x00%d\x00%s\x00%s", e.ID, e.Time.Unix(), e.Account, e.What, e.Text)
	return sum.Sum(nil)
}

// link adds an event to the chain. The caller is in update.
func (l *Ledger) link(account int64, what string, about any) error {
	text, err := json.Marshal(about)
	if err != nil {
		return fmt.Errorf("writing down an event: %w", err)
	}
	e := Event{ID: 1, Time: l.now(), Account: account, What: what, Text: text}
	before := make([]byte, sha256.Size)
	err = l.query(`SELECT id, hash FROM chain ORDER BY id DESC LIMIT 1`, func(s *sqlite3.Stmt) error {
		e.ID = s.ColumnInt64(0) + 1
		copy(before, s.ColumnRawBlob(1))
		return nil
	})
	if err != nil {
		return err
	}
	return l.exec(`INSERT INTO chain (id, time, account, what, text, hash) VALUES (?, ?, ?, ?, ?, ?)`,
		e.ID, e.Time.Unix(), account, what, string(text), e.link(before))
}

// addEvent is link in a transaction of its own.
func (l *Ledger) addEvent(ctx context.Context, account int64, what string, about any) error {
	return l.update(ctx, func() error { return l.link(account, what, about) })
}

// Chain calls fn with every event and checks the hashes. One that does not fit
// is mail.KindCorrupt. It returns the last hash, in hexadecimal.
func (l *Ledger) Chain(ctx context.Context, fn func(Event) error) (head string, err error) {
	before := make([]byte, sha256.Size)
	want := int64(1)
	err = l.view(ctx, func() error {
		return l.query(`SELECT id, time, account, what, text, hash FROM chain ORDER BY id`, func(s *sqlite3.Stmt) error {
			e := Event{
				ID: s.ColumnInt64(0), Time: time.Unix(s.ColumnInt64(1), 0).UTC(), Account: s.ColumnInt64(2),
				What: s.ColumnText(3), Text: json.RawMessage(s.ColumnText(4)), Hash: hex.EncodeToString(s.ColumnRawBlob(5)),
			}
			before = e.link(before)
			if e.ID != want || e.Hash != hex.EncodeToString(before) {
				return mail.Errorf(mail.KindCorrupt, "the ledger was changed: event %d does not carry on the chain of event %d", e.ID, want-1)
			}
			want++
			if fn == nil {
				return nil
			}
			return fn(e)
		})
	})
	return hex.EncodeToString(before), err
}

// digest returns the hash of all that the ledger says of an account's items,
// for an event to hold on to.
func (l *Ledger) digest(ctx context.Context, account int64) (string, error) {
	folders, err := l.folders(ctx, account)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, f := range folders {
		fmt.Fprintf(sum, "%s\x00%s\x00%d\x00", f.Key, f.target, f.adopted)
		for r, err := range l.allRows(ctx, f.id) {
			if err != nil {
				return "", err
			}
			io.WriteString(sum, r.Key)
			fmt.Fprintf(sum, "\x00%d\x00%d\x00%x\x00", r.state, r.UID, r.hash)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
