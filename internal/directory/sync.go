package directory

import (
	"context"
	"fmt"

	"expost/internal/ldap"
)

// UUID is an entryUUID in its 16 bytes (RFC 4530).
type UUID [16]byte

// String returns the text form (RFC 4122 §3).
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// SyncState is what has become of an entry (RFC 4533 §2.2).
type SyncState uint8

// The states.
const (
	SyncPresent SyncState = iota
	SyncAdd
	SyncModify
	SyncDelete
)

// SyncHandler hears how a copy comes up to date. An error of it ends the
// synchronization.
type SyncHandler interface {
	// Entry tells the state of one entry; e is nil unless it was added or
	// modified. cookie is empty unless the copy is up to date to there.
	Entry(state SyncState, id UUID, e *ldap.Entry, cookie []byte) error
	// Set tells that entries are there still, or (deleted) that they are not.
	Set(ids []UUID, deleted bool) error
	// Refreshed tells that the copy is up to date. With present, what was not
	// mentioned is not there any more.
	Refreshed(present bool, cookie []byte) error
}

// Synchronizer is a Directory that keeps copies of itself up to date (RFC 4533).
type Synchronizer interface {
	// Sync tells h what changed in the answer of a search since cookie, which
	// is empty for a new copy; with persist also what changes from then on, until
	// ctx ends. Sort order, size and time limits are not looked at.
	Sync(ctx context.Context, who Identity, req *ldap.SearchRequest, cookie []byte, persist bool, h SyncHandler) error
}

// Restorer is a Directory that takes entries as another server has them, with
// their operational attributes.
type Restorer interface {
	// Restore adds entries, or brings those of the same entryUUID or else DN to
	// what they are here; operational attributes that are missing are made. The
	// errors are those of the entries, nil where one is in; the others go in all
	// the same.
	Restore(ctx context.Context, entries []*ldap.Entry) []error
	// Forget deletes the entries with these UUIDs, those below others first.
	// Those that are not there do not matter; one that has others below it that
	// stay is an error.
	Forget(ctx context.Context, ids []UUID) error
	// Held yields the UUIDs of all entries.
	Held(ctx context.Context, yield func(UUID) bool) error
}
