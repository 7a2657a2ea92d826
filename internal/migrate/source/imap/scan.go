package imap

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
)

// Scan implements migrate.SourceAccount. A mailbox with few messages is
// listed with one command; of a larger one first the UIDs are asked for, then
// the rest in windows of them, so that neither side holds much. Where both
// sides know CONDSTORE (RFC 7162) only what changed is asked for, and where the
// server has QRESYNC what vanished, so that not even the UIDs have to be listed.
func (a *account) Scan(ctx context.Context, f migrate.Folder, since migrate.State, yield func([]migrate.Item) error) (migrate.Scanned, error) {
	s := &scan{account: a, folder: f, yield: yield}
	err := a.try(ctx, func() (err error) {
		s.state, err = a.examine(f)
		s.resync = a.qresync && since.ModSeq != 0 && s.state.ModSeq != 0 && s.state.UIDNext > 1
		if err == nil && !s.resync && (since.ModSeq != 0 || s.state.Messages > migrate.ScanBatch) {
			s.uids, err = a.search("ALL")
		}
		return err
	})
	if err != nil {
		return migrate.Scanned{}, err
	}
	out := migrate.Scanned{State: s.state}
	if s.resync {
		return s.resynchronise(ctx, since)
	}
	if since.ModSeq != 0 && s.state.ModSeq != 0 {
		s.changed = fmt.Sprintf(" (CHANGEDSINCE %d)", since.ModSeq)
		out.Has = s.has
	}
	if s.state.Messages == 0 {
		return out, nil
	}
	if s.uids == nil {
		return out, s.small(ctx)
	}
	return out, s.windows(ctx)
}

// scan is a Scan on its way.
type scan struct {
	*account
	folder  migrate.Folder
	yield   func([]migrate.Item) error
	state   migrate.State
	uids    mail.UIDSet // all there are; nil where they were not asked for
	changed string      // the modifier that asks for changes only, or ""

	resync   bool        // the server tells what vanished
	vanished mail.UIDSet // which it did
}

// maxVanished is how many UIDs of vanished messages are told one by one. A server
// that has forgotten tells of all that there ever were.
const maxVanished = 10_000

// resynchronise lists what changed and what vanished.
func (s *scan) resynchronise(ctx context.Context, since migrate.State) (migrate.Scanned, error) {
	s.changed = fmt.Sprintf(" (CHANGEDSINCE %d VANISHED)", since.ModSeq)
	items, err := s.list(ctx, fmt.Sprintf("1:%d", s.state.UIDNext-1))
	if err != nil {
		return migrate.Scanned{}, err
	}
	for batch := range slices.Chunk(items, migrate.ScanBatch) {
		if err := s.yield(batch); err != nil {
			return migrate.Scanned{}, err
		}
	}
	out := migrate.Scanned{State: s.state, Vanished: []string{}, Has: func(key string) bool {
		n, err := strconv.ParseUint(key, 10, 32)
		return err == nil && !s.vanished.Contains(mail.UID(n))
	}}
	if s.vanished.Len() > maxVanished {
		out.Vanished = nil
		return out, nil
	}
	for uid := range s.vanished.All() {
		out.Vanished = append(out.Vanished, strconv.FormatUint(uint64(uid), 10))
	}
	return out, nil
}

// has tells whether the source has the item of a key.
func (s *scan) has(key string) bool {
	n, err := strconv.ParseUint(key, 10, 32)
	return err == nil && s.uids.Contains(mail.UID(n))
}

// search returns the UIDs of the open mailbox that meet what.
func (a *account) search(what imapclient.Raw) (mail.UIDSet, error) {
	esearch, err := a.c.Has("ESEARCH")
	if err != nil {
		return nil, err
	}
	arg := what
	if esearch {
		arg = "RETURN (ALL) " + what
	}
	set := mail.UIDSet{}
	err = a.c.Command("UID SEARCH", func(r *imapclient.Response) error {
		if r.Name() == "SEARCH" || r.Name() == "ESEARCH" {
			return r.Search(&set)
		}
		return nil
	}, arg)
	return set, err
}

// small lists a mailbox of at most a few batches.
func (s *scan) small(ctx context.Context) error {
	items, err := s.list(ctx, "1:*")
	if err != nil {
		return err
	}
	if len(items) < s.state.Messages { // the server left some out
		err := s.try(ctx, func() (err error) {
			if s.selected != s.folder.Key {
				if _, err := s.examine(s.folder); err != nil {
					return err
				}
			}
			s.uids, err = s.search("ALL")
			return err
		})
		if err != nil {
			return err
		}
		items = complete(items, s.uids)
	}
	for batch := range slices.Chunk(items, migrate.ScanBatch) {
		if err := s.yield(batch); err != nil {
			return err
		}
	}
	return nil
}

// windows lists a large mailbox window by window.
func (s *scan) windows(ctx context.Context) error {
	for window := range windows(s.uids, migrate.ScanBatch) {
		first, last := window[0].First, window[len(window)-1].Last
		items, err := s.list(ctx, fmt.Sprintf("%d:%d", first, last))
		if err != nil {
			return err
		}
		items = slices.DeleteFunc(items, func(it migrate.Item) bool { return it.UID < first || it.UID > last })
		if s.changed == "" {
			items = complete(items, window)
		}
		for batch := range slices.Chunk(items, migrate.ScanBatch) {
			if err := s.yield(batch); err != nil {
				return err
			}
		}
	}
	return nil
}

// windows yields the parts of a set that hold n UIDs each.
func windows(set mail.UIDSet, n int) func(yield func(mail.UIDSet) bool) {
	return func(yield func(mail.UIDSet) bool) {
		var window mail.UIDSet
		left := n
		for _, r := range set {
			for {
				end := min(uint64(r.Last), uint64(r.First)+uint64(left)-1)
				window.AddRange(r.First, mail.UID(end))
				left -= int(end-uint64(r.First)) + 1
				if left == 0 {
					if !yield(window) {
						return
					}
					window, left = nil, n
				}
				if end == uint64(r.Last) {
					break
				}
				r.First = mail.UID(end + 1)
			}
		}
		if len(window) > 0 {
			yield(window)
		}
	}
}

// list asks for the flags, dates and sizes of a range of UIDs.
func (s *scan) list(ctx context.Context, uids string) ([]migrate.Item, error) {
	var items []migrate.Item
	err := s.try(ctx, func() error {
		if s.selected != s.folder.Key {
			if _, err := s.examine(s.folder); err != nil {
				return err
			}
		}
		items, s.vanished = items[:0], nil
		emails, err := s.c.Has("OBJECTID")
		if err != nil {
			return err
		}
		what := "(UID FLAGS INTERNALDATE RFC822.SIZE)"
		if emails {
			what = "(UID FLAGS INTERNALDATE RFC822.SIZE EMAILID)"
		}
		return s.c.Command("UID FETCH", func(r *imapclient.Response) error {
			if r.Name() == "VANISHED" {
				return r.Vanished(&s.vanished)
			}
			if r.Name() != "FETCH" {
				return nil
			}
			m, err := r.Fetch(nil)
			if err == nil && m.UID != 0 && (m.HasDate || m.HasSize) { // else it tells of a flag changed meanwhile
				it := s.marked(item(m))
				if emails {
					it.Email = m.Email
				}
				items = append(items, it)
			}
			return err
		}, imapclient.Raw(uids), imapclient.Raw(what+s.changed))
	})
	if err != nil {
		return nil, fmt.Errorf("listing messages: %w", err)
	}
	slices.SortFunc(items, func(x, y migrate.Item) int { return int(int64(x.UID) - int64(y.UID)) })
	return slices.CompactFunc(items, func(x, y migrate.Item) bool { return x.UID == y.UID }), nil
}

// headersAtOnce is how many headers one command asks for; Exchange takes no
// longer commands.
const headersAtOnce = 500

// Headers implements migrate.HeaderReader.
func (a *account) Headers(ctx context.Context, f migrate.Folder, items []migrate.Item, fn func(it migrate.Item, header []byte) error) error {
	for part := range slices.Chunk(items, headersAtOnce) {
		byUID := make(map[mail.UID]migrate.Item, len(part))
		var set mail.UIDSet
		for _, it := range part {
			byUID[it.UID] = it
			set.Add(it.UID)
		}
		found := map[mail.UID]string{}
		err := a.try(ctx, func() error {
			if a.selected != f.Key {
				if _, err := a.examine(f); err != nil {
					return err
				}
			}
			return a.c.Command("UID FETCH", func(r *imapclient.Response) error {
				if r.Name() != "FETCH" {
					return nil
				}
				m, err := r.Fetch(nil)
				if m.Header != "" {
					found[m.UID] = m.Header
				}
				return err
			}, imapclient.Raw(set.String()), imapclient.Raw("(UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM TO SUBJECT)])"))
		})
		if _, ok := refused(err); ok { // then it is their bytes that have to be read
			continue
		}
		if err != nil {
			return fmt.Errorf("reading headers: %w", err)
		}
		for uid, header := range found {
			if it, asked := byUID[uid]; asked {
				if err := fn(it, []byte(header)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// item returns a fetched message as the engine wants it.
func item(m imapclient.Fetched) migrate.Item {
	return migrate.Item{
		Key: strconv.FormatUint(uint64(m.UID), 10), UID: m.UID, Size: m.Size,
		Flags: m.Flags, Keywords: m.Keywords, Date: m.Date,
	}
}

// marked returns an item with the keyword that all of the source's get.
func (a *account) marked(it migrate.Item) migrate.Item {
	if a.mdnSent {
		it.Keywords = it.Keywords.Add("$MDNSent")
	}
	return it
}

// complete adds the UIDs that the server knows but did not list.
func complete(items []migrate.Item, uids mail.UIDSet) []migrate.Item {
	if len(items) >= uids.Len() {
		return items
	}
	listed := make(map[mail.UID]migrate.Item, len(items))
	for _, it := range items {
		listed[it.UID] = it
	}
	out := make([]migrate.Item, 0, uids.Len())
	for uid := range uids.All() {
		it, ok := listed[uid]
		if !ok {
			it = item(imapclient.Fetched{UID: uid, Size: -1})
		}
		out = append(out, it)
	}
	return out
}
