package directory

import (
	"context"

	"expost/internal/ldap"
)

// View says in which order and of which part a search's answer is wanted. The
// zero View is a plain search.
type View struct {
	Sort       []SortKey
	Window     *Window // wants Sort
	Page       *Page   // not with Window
	Subentries *bool   // RFC 3672: entries that are subentries alone, or none of them; nil: none but the base
}

// SortKey is one key of a sorted answer (RFC 2891 §1.1).
type SortKey struct {
	Attr    string // attribute description
	Rule    string // ordering rule; empty: that of the attribute, or else that of its equality rule
	Reverse bool
}

// Window is the part of a sorted answer around a target (virtual list view,
// draft-ietf-ldapext-ldapv3-vlv).
type Window struct {
	Before, After int // entries besides the target
	Offset        int // of the target, from 1 on,
	Count         int // in a list of so many; 0: Offset is to be taken as it is
	ByValue       bool
	Value         []byte // ByValue: the target is the first entry whose key is not before it
}

// Target returns the place that Offset means in a list of count entries, from 1
// on; the client's idea of the list's length may be out of date.
func (w *Window) Target(count int) (int, error) {
	switch {
	case w.Offset < 1:
		return 0, ldap.Errorf(ldap.OffsetRangeError, "the offset of a window starts from 1")
	case w.Count == 0 || w.Offset == 1:
		return min(w.Offset, count), nil
	case w.Offset >= w.Count:
		return count, nil
	}
	return min(count, max(1, int((int64(count)*int64(w.Offset)+int64(w.Count)/2)/int64(w.Count)))), nil
}

// Bounds returns the first and the last place of the window around a target in a
// list of count entries. There is nothing in it where first is behind last.
func (w *Window) Bounds(target, count int) (first, last int) {
	first, last = max(1, target-w.Before), count
	if w.After < count-target {
		last = target + w.After
	}
	return first, last
}

// Page is the part of an answer behind an earlier one (RFC 2696).
type Page struct {
	Size   int    // entries; at least 1
	Cookie []byte // of the page before; empty: from the start
}

// Viewed is what a View found besides entries.
type Viewed struct {
	Target, Count int    // of Window: where the target is in a list of so many
	Cookie        []byte // of Page: what gives the next; empty at the end
}

// SortError says which key a search could not be sorted by.
type SortError struct {
	Attr string
	Err  *ldap.Error
}

// Error returns the cause's text.
func (e *SortError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *SortError) Unwrap() error { return e.Err }

// Viewer is a Directory that sorts and shows parts of answers.
type Viewer interface {
	// SearchView is Search in the order and for the part that v wants. Pages hold
	// every entry that is found, with the same keys, all the time once, whatever
	// changes meanwhile. Keys that cannot be sorted by are a *SortError.
	SearchView(ctx context.Context, who Identity, req *ldap.SearchRequest, v View, yield func(*ldap.Entry) error) (Viewed, error)
}

// Comparer is a Directory that compares where who may compare and not read.
type Comparer interface {
	// Compare tells whether an entry has a value (RFC 4511 §4.10), one that the
	// attribute's syntax allows.
	Compare(ctx context.Context, who Identity, dn ldap.DN, attr string, value []byte) (bool, error)
}
