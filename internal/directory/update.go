package directory

import (
	"context"

	"expost/internal/ldap"
)

// Update is one change of the tree with what is to be true before it and what
// is to be read with it, all at the same moment. One of Add, Modify, Delete and
// Rename is set.
type Update struct {
	Add    *ldap.Entry
	Modify *Modification
	Delete ldap.DN
	Rename *Rename

	Assert     *ldap.Filter // of the entry before the change (RFC 4528); nil: nothing
	ReadBefore []string     // attributes to return (RFC 4527); nil: none, empty: all user attributes
	ReadAfter  []string
}

// Modification is a modify request (RFC 4511 §4.6).
type Modification struct {
	DN      ldap.DN
	Changes []ldap.Change
}

// Updated is what an Update has read; nil where it was not asked for.
type Updated struct{ Before, After *ldap.Entry }

// Updater is a Directory that makes changes under conditions.
type Updater interface {
	// Update makes a change as Add, Modify, Delete or Rename do.
	Update(ctx context.Context, who Identity, u Update) (Updated, error)
}
