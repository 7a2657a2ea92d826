package imap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
)

const (
	fetchBatch  = 250      // messages asked for with one command
	maxStrikes  = 3        // attempts before an item is given up
	maxGivenUp  = 3        // items in a row for which the connection was lost before the server is given up
	salvageSize = 32 << 20 // bytes kept of a message that never came whole
)

// fetch is a Fetch on its way. It asks for many items at a time and, behind
// trouble, for one; as long as all is well the next command is sent before
// the answer to the last is read.
type fetch struct {
	*account
	folder migrate.Folder
	items  []migrate.Item
	fn     func(migrate.Item, io.Reader, error) error

	at      int // the item that is next
	size    int // of the next command
	strikes int // attempts at items[at]
	givenUp int // items in a row for which the connection was lost
	ahead   []sent
	fnErr   error         // what fn did not like
	salvage *bytes.Buffer // what came of items[at] in the last attempt
}

// sent is a command on its way, for items[from:to].
type sent struct {
	tag      string
	from, to int
}

// Fetch implements migrate.SourceAccount.
func (a *account) Fetch(ctx context.Context, folder migrate.Folder, items []migrate.Item, fn func(migrate.Item, io.Reader, error) error) error {
	f := &fetch{account: a, folder: folder, items: items, fn: fn, size: fetchBatch}
	for f.at < len(items) {
		err := a.try(ctx, f.once)
		switch {
		case f.fnErr != nil:
			a.drop() // the rest of the answer is still on its way
			return f.fnErr
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("fetching messages: %w", err)
		}
	}
	return nil
}

// once reads the answer to one command. It returns an error only where nothing
// can be done about single items.
func (f *fetch) once() error {
	if f.selected != f.folder.Key {
		f.ahead = nil
		if _, err := f.examine(f.folder); err != nil {
			return err
		}
	}
	for more := true; more && len(f.ahead) < 2; {
		var err error
		if more, err = f.send(); err != nil {
			return err
		}
	}
	s := f.ahead[0]
	f.ahead = f.ahead[1:]
	answer := answer{fetch: f, sent: s}
	if f.strikes == maxStrikes-1 {
		f.salvage = new(bytes.Buffer)
	}
	err := f.c.Wait(s.tag, answer.read)
	if f.fnErr != nil {
		return nil
	}
	if err == nil && f.at >= s.to {
		f.size = min(fetchBatch, f.size*2)
		return nil
	}
	return f.trouble(err, answer)
}

// send sends the next command; false where there is nothing left to ask for.
func (f *fetch) send() (bool, error) {
	from := f.at
	if n := len(f.ahead); n > 0 {
		from = f.ahead[n-1].to
	}
	to := min(from+f.size, len(f.items))
	if from == to {
		return false, nil
	}
	var set mail.UIDSet
	for _, it := range f.items[from:to] {
		set.Add(it.UID)
	}
	tag, err := f.c.Send("UID FETCH", imapclient.Raw(set.String()), imapclient.Raw("(UID FLAGS INTERNALDATE BODY.PEEK[])"))
	if err != nil {
		return false, err
	}
	f.ahead = append(f.ahead, sent{tag, from, to})
	return true, nil
}

// answer is what one command brings.
type answer struct {
	*fetch
	sent
	present bool // the server answered for the next item, if without bytes
	empty   bool // with no bytes at all
}

// end is how far items were asked for. Dovecot ends a command when it has
// answered the next one too.
func (a *answer) end() int {
	if n := len(a.ahead); n > 0 {
		return a.ahead[n-1].to
	}
	return a.to
}

// read takes one response. Only the item that is next is let through, so that
// the order holds; the others are asked for again.
func (a *answer) read(r *imapclient.Response) error {
	if r.Name() != "FETCH" || a.at >= a.end() {
		return nil
	}
	want := a.items[a.at]
	m, err := r.Fetch(func(m *imapclient.Fetched, r io.Reader, size int64) error {
		if m.UID != want.UID && (m.UID != 0 || a.to-a.from > 1 || a.at >= a.to) {
			return nil
		}
		if size == 0 && want.Size != 0 {
			a.empty = true
			return nil
		}
		return a.deliver(a.marked(merge(want, m)), r)
	})
	a.present = a.present || m.UID == want.UID && !m.HasBody
	return err
}

// merge returns the item as the FETCH response shows it.
func merge(it migrate.Item, m *imapclient.Fetched) migrate.Item {
	if m.HasFlags {
		it.Flags, it.Keywords = m.Flags, m.Keywords
	}
	if m.HasDate {
		it.Date = m.Date
	}
	return it
}

// deliver passes a message on. In an item's last attempt it is read first, so
// that what there is of it can be kept.
func (f *fetch) deliver(it migrate.Item, r io.Reader) error {
	if f.salvage != nil {
		f.salvage.Reset()
		if _, err := io.Copy(f.salvage, io.LimitReader(r, salvageSize)); err != nil {
			return err
		}
		r = io.MultiReader(bytes.NewReader(f.salvage.Bytes()), r)
	}
	watched := &watchedReader{r: r}
	err := f.fn(it, watched, nil)
	switch {
	case err != nil && watched.err != nil:
		return watched.err
	case err != nil:
		f.fnErr = err
		return err
	}
	f.settled()
	f.givenUp = 0
	return nil
}

// settled moves on to the next item.
func (f *fetch) settled() {
	f.at++
	f.strikes, f.salvage = 0, nil
}

// watchedReader remembers the error of what it reads.
type watchedReader struct {
	r   io.Reader
	err error
}

// Read reads.
func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// trouble decides about items[at], which did not come: to ask for it alone, or
// in the end to give it up.
func (f *fetch) trouble(err error, a answer) error {
	status, stays := refused(err)
	lost := err != nil && !stays
	if lost {
		f.ahead = nil
		f.drop()
		if _, ok := throttled(err); ok || mail.KindOf(err) == mail.KindPermission {
			return err
		}
	} else if derr := f.drain(); derr != nil {
		lost = true
		f.drop()
	}
	if _, ok := throttled(err); ok {
		return err
	}
	if f.size > 1 {
		f.size, f.strikes = 1, 0
		return nil
	}
	if !lost && err == nil && !a.present && !a.empty {
		return f.giveUp(&migrate.ItemError{Gone: true, Err: errors.New("removed at the source while the pass ran")})
	}
	if f.strikes++; f.strikes < maxStrikes {
		return nil
	}
	cause := err
	switch {
	case stays:
		cause = fmt.Errorf("the source refuses the message: %w", status)
	case err == nil && a.empty:
		cause = errors.New("the source gives an empty message")
	case err == nil:
		cause = errors.New("the source gives no bytes for the message")
	}
	if lost {
		if f.givenUp++; f.givenUp > maxGivenUp {
			return err
		}
	}
	return f.giveUp(&migrate.ItemError{Err: cause})
}

// drain reads the answers to commands that were sent ahead.
func (f *fetch) drain() error {
	ahead := f.ahead
	f.ahead = nil
	for _, s := range ahead {
		err := f.c.Wait(s.tag, nil)
		if _, ok := refused(err); err != nil && !ok {
			return err
		}
	}
	return nil
}

// giveUp passes on that there are no bytes, or only some.
func (f *fetch) giveUp(ie *migrate.ItemError) error {
	var r io.Reader
	if f.salvage != nil && f.salvage.Len() > 0 {
		r = bytes.NewReader(f.salvage.Bytes())
	}
	it := f.items[f.at]
	f.settled()
	f.fnErr = f.fn(it, r, ie)
	return nil
}
