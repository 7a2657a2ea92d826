package ldapserver

import (
	"context"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// readSync reads the sync request control (RFC 4533).
func (o *operation) readSync(_ context.Context, c ldapwire.Control) error {
	r, err := ldapwire.DecodeSyncRequest(c.Value)
	o.controls.sync = &r
	return err
}

// synchronize is a search whose answer is kept up to date.
func (o *operation) synchronize(ctx context.Context, r *ldap.SearchRequest) error {
	d, ok := o.c.srv.cfg.Directory.(directory.Synchronizer)
	v := &o.controls.view
	switch {
	case !ok || o.c.srv.special.entry(o.c, r) != nil:
		return ldap.Errorf(ldap.UnwillingToPerform, "this is not kept up to date elsewhere")
	case o.controls.page || v.Sort != nil || v.Window != nil || o.controls.values != nil:
		return ldap.Errorf(ldap.ProtocolError, "synchronization goes with no other view of a search")
	case r.Deref == directory.DerefSearching || r.Deref == directory.DerefAlways:
		return ldap.Errorf(ldap.ProtocolError, "synchronization does not follow aliases")
	}
	o.c.rebase(r)
	r.TimeLimit, r.SizeLimit = 0, 0
	s := &synchronizer{o: o, base: r.Base, typesOnly: r.TypesOnly}
	if o.controls.sync.Persist {
		if o.persists.Store(true); o.c.stopping.Load() {
			return ldap.Errorf(ldap.Unavailable, shuttingDown)
		}
	}
	return d.Sync(ctx, o.who, r, o.controls.sync.Cookie, o.controls.sync.Persist, s)
}

// synchronizer sends what a copy is to know. It implements
// directory.SyncHandler.
type synchronizer struct {
	o         *operation
	base      ldap.DN
	typesOnly bool
	persists  bool // the refresh stage is over
}

// Entry implements directory.SyncHandler.
func (s *synchronizer) Entry(state directory.SyncState, id directory.UUID, e *ldap.Entry, cookie []byte) error {
	if s.o.abandoned.Load() {
		return context.Canceled
	}
	if e == nil {
		e = &ldap.Entry{DN: s.base} // what counts is the UUID, but OpenLDAP wants a name
	}
	s.o.entries++
	control := ldapwire.SyncState{State: int(state), UUID: id, Cookie: cookie}.Control()
	return s.o.c.out.put(s.persists, func(b []byte) []byte {
		return ldapwire.AppendEntry(b, s.o.m.ID, e, s.typesOnly, []ldapwire.Control{control})
	})
}

// Set implements directory.SyncHandler.
func (s *synchronizer) Set(ids []directory.UUID, deleted bool) error {
	info := ldapwire.SyncInfo{Kind: ldapwire.SyncIDSet, Deletes: deleted}
	for _, id := range ids {
		info.UUIDs = append(info.UUIDs, id)
	}
	return s.inform(info)
}

func (s *synchronizer) inform(info ldapwire.SyncInfo) error {
	if s.o.abandoned.Load() {
		return context.Canceled
	}
	return s.o.c.send(s.o.m.ID, info.Message())
}

// Refreshed implements directory.SyncHandler.
func (s *synchronizer) Refreshed(present bool, cookie []byte) error {
	if !s.o.controls.sync.Persist {
		s.o.respond(ldapwire.SyncDone{Cookie: cookie, RefreshDeletes: !present}.Control())
		return nil
	}
	s.persists = true
	info := ldapwire.SyncInfo{Kind: ldapwire.SyncRefreshDelete, Cookie: cookie, Done: true}
	if present {
		info.Kind = ldapwire.SyncRefreshPresent
	}
	return s.inform(info)
}
