package store

import (
	"context"
	"slices"
	"strings"

	"expost/internal/mail"
)

// The limits of annotations, for each mailbox and each whose they are (RFC 5464 §4.1).
const (
	MaxAnnotation  = 64 << 10 // bytes of a value
	MaxAnnotations = 200      // that are everybody's, and that are one's own
)

// privatePrefix starts the names of annotations that are somebody's own.
const privatePrefix = "/private/"

// ErrTooManyAnnotations is the cause of a SetAnnotations that would keep too many.
var ErrTooManyAnnotations = mail.Errorf(mail.KindQuota, "at most %d annotations are kept here", MaxAnnotations)

// whose returns whose an annotation is that the principal sees under a name.
func (x *Access) whose(entry string) mail.AccountID {
	if strings.HasPrefix(entry, privatePrefix) {
		return x.who
	}
	return ""
}

// Annotations returns the annotations of a mailbox that the principal may see,
// in order of name; those of the account with id 0.
func (x *Access) Annotations(ctx context.Context, id mail.MailboxID) ([]Annotation, error) {
	var found []Annotation
	err := x.db.View(ctx, func(tx ReadTx) error {
		return tx.Annotations(id, func(a Annotation) error {
			if a.Who == x.whose(a.Entry) {
				a.Value = slices.Clone(a.Value)
				found = append(found, a)
			}
			return nil
		})
	})
	slices.SortFunc(found, func(a, b Annotation) int { return strings.Compare(a.Entry, b.Entry) })
	return found, err
}

// SetAnnotations sets annotations of a mailbox, or with id 0 of the account, all
// or none. One with a nil value goes. mail.KindNotExist; ErrTooManyAnnotations;
// mail.KindTooBig for a value of more than MaxAnnotation bytes.
func (x *Access) SetAnnotations(ctx context.Context, id mail.MailboxID, list []Annotation) error {
	list = slices.Clone(list)
	for i := range list {
		a := &list[i]
		a.Mailbox, a.Who = id, x.whose(a.Entry)
		if len(a.Value) > MaxAnnotation {
			return mail.Errorf(mail.KindTooBig, "an annotation may have %d bytes", MaxAnnotation)
		}
	}
	return x.submit(&op{ctx: ctx, alone: true, done: make(chan error, 1), do: func(b *batch) error {
		if id != 0 {
			if _, err := b.edit(id); err != nil {
				return err
			}
		}
		if err := b.countAnnotations(id, list); err != nil {
			return err
		}
		b.dirty = true
		b.annotations = append(b.annotations, list...)
		return nil
	}})
}

// countAnnotations returns an error where list would make too many.
func (b *batch) countAnnotations(id mail.MailboxID, list []Annotation) error {
	type name struct {
		who   mail.AccountID
		entry string
	}
	have := make(map[name]bool)
	if err := b.tx.Annotations(id, func(a Annotation) error {
		have[name{a.Who, a.Entry}] = true
		return nil
	}); err != nil {
		return err
	}
	for _, a := range list {
		if key := (name{a.Who, a.Entry}); a.Value == nil {
			delete(have, key)
		} else {
			have[key] = true
		}
	}
	counts := make(map[name]int) // by who and scope
	for key := range have {
		scope := name{who: key.who}
		if strings.HasPrefix(key.entry, privatePrefix) {
			scope.entry = privatePrefix
		}
		counts[scope]++
	}
	for _, a := range list {
		scope := name{who: a.Who}
		if strings.HasPrefix(a.Entry, privatePrefix) {
			scope.entry = privatePrefix
		}
		if a.Value != nil && counts[scope] > MaxAnnotations {
			return ErrTooManyAnnotations
		}
	}
	return nil
}

// flushAnnotations writes the annotations of a batch.
func (b *batch) flushAnnotations() error {
	list := b.annotations
	for _, pair := range b.copyAnnotations {
		if err := b.tx.Annotations(pair[0], func(a Annotation) error {
			a.Mailbox, a.Value = pair[1], slices.Clone(a.Value)
			list = append(list, a)
			return nil
		}); err != nil {
			return err
		}
	}
	for _, a := range list {
		if err := b.tx.PutAnnotation(a); err != nil {
			return err
		}
	}
	return nil
}

// annotated counts changes of annotations, and knows which one came when, for
// those who tell of them.
type annotated struct {
	count uint64
	last  map[annotationName]uint64
}

// annotationName names an annotation for ever.
type annotationName struct {
	mailbox mail.MailboxID
	who     mail.AccountID
	entry   string
}

// note counts changes of annotations that clients see.
func (n *annotated) note(list []Annotation) {
	for i := range list {
		a := &list[i]
		if !strings.HasPrefix(a.Entry, privatePrefix) && !strings.HasPrefix(a.Entry, "/shared/") {
			continue
		}
		if n.last == nil {
			n.last = make(map[annotationName]uint64)
		}
		n.count++
		n.last[annotationName{a.Mailbox, a.Who, a.Entry}] = n.count
	}
}

// since returns the names that visible lets pass and that changed after a count,
// in order.
func (n *annotated) since(count uint64, visible func(annotationName) bool) (entries []string) {
	for name, at := range n.last {
		if at > count && visible(name) {
			entries = append(entries, name.entry)
		}
	}
	slices.Sort(entries)
	return entries
}

// AnnotationsSince returns which annotations of a mailbox, or with id 0 of the
// account, changed after a count that it returned before, as the principal sees
// them, and the present count. A Watcher tells when to ask.
func (x *Access) AnnotationsSince(id mail.MailboxID, count uint64) (entries []string, now uint64) {
	a := x.Account
	a.mu.RLock()
	defer a.mu.RUnlock()
	if count < a.annotated.count {
		entries = a.annotated.since(count, func(n annotationName) bool { return n.mailbox == id && n.who == x.whose(n.entry) })
	}
	return entries, a.annotated.count
}

// SiteAnnotationsSince is AnnotationsSince for the server. A Watcher of any
// account tells a change as one of mailbox 0.
func (s *Store) SiteAnnotationsSince(count uint64) (entries []string, now uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.annotated.since(count, func(annotationName) bool { return true }), s.annotated.count
}

// announceSite tells the watchers of every open account that annotations of the
// server changed.
func (s *Store) announceSite(list []Annotation) {
	s.mu.Lock()
	s.annotated.note(list)
	s.mu.Unlock()
	s.tellAll()
}

// tellAll tells the watchers of every open account of something that concerns
// all accounts, as mailbox 0.
func (s *Store) tellAll() {
	s.mu.Lock()
	var open []*Account
	for _, a := range s.accounts {
		open = append(open, a)
	}
	s.mu.Unlock()
	for _, a := range open {
		a.mu.RLock()
		for w := range a.watchers {
			w.add(a.id, 0)
		}
		a.mu.RUnlock()
	}
}

// SiteAnnotations returns the annotations of the server, in order of name.
func (s *Store) SiteAnnotations(ctx context.Context) ([]Annotation, error) {
	var found []Annotation
	err := s.engine.ViewSite(ctx, func(tx SiteTx) error {
		return tx.SiteAnnotations(func(entry string, value []byte) error {
			found = append(found, Annotation{Entry: entry, Value: slices.Clone(value)})
			return nil
		})
	})
	return found, err
}

// SetSiteAnnotations sets annotations of the server, as SetAnnotations does.
func (s *Store) SetSiteAnnotations(ctx context.Context, list []Annotation) error {
	for _, a := range list {
		if len(a.Value) > MaxAnnotation {
			return mail.Errorf(mail.KindTooBig, "an annotation may have %d bytes", MaxAnnotation)
		}
	}
	err := s.engine.UpdateSite(ctx, func(tx SiteTx) error {
		for _, a := range list {
			if err := tx.PutSiteAnnotation(a.Entry, a.Value); err != nil {
				return err
			}
		}
		n := 0
		if err := tx.SiteAnnotations(func(string, []byte) error { n++; return nil }); err != nil {
			return err
		}
		if n > MaxAnnotations {
			return ErrTooManyAnnotations
		}
		return nil
	})
	if err == nil {
		s.announceSite(list)
	}
	return err
}
