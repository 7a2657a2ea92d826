package ldapclient

import (
	"context"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// Sync tells h what changes below base, since cookie and from now on (RFC 4533,
// refreshAndPersist), until ctx or the session ends.
func (c *Conn) Sync(ctx context.Context, base ldap.DN, cookie []byte, h directory.SyncHandler) error {
	req := &ldapwire.SearchRequest{SearchRequest: ldap.SearchRequest{Base: base, Scope: ldap.ScopeSub,
		Filter: &ldap.Filter{Op: ldap.FilterPresent, Attr: "objectClass"}, Attributes: []string{"*", "+"}}}
	controls := []Control{ldapwire.SyncRequest{Persist: true, Cookie: cookie}.Control(), {OID: ldapwire.OIDManageDsaIT, Critical: true}}
	m, err := c.Listen(ctx, req, controls, func(m *ldapwire.Message) error {
		switch op := m.Op.(type) {
		case *ldapwire.SearchEntry:
			return syncEntry(op, m.Controls, h)
		case *ldapwire.IntermediateResponse:
			if op.Name == ldapwire.OIDSyncInfo {
				return syncInfo(op.Value, h)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, control := range m.Controls {
		if control.OID != ldapwire.OIDSyncDone || ResultOf(m) != nil {
			continue
		}
		done, err := ldapwire.DecodeSyncDone(control.Value)
		if err != nil {
			return err
		}
		return h.Refreshed(!done.RefreshDeletes, done.Cookie)
	}
	return ResultOf(m)
}

func syncEntry(found *ldapwire.SearchEntry, controls []Control, h directory.SyncHandler) error {
	for _, control := range controls {
		if control.OID != ldapwire.OIDSyncState {
			continue
		}
		s, err := ldapwire.DecodeSyncState(control.Value)
		if err != nil {
			return err
		}
		state := directory.SyncState(s.State)
		if state == directory.SyncPresent || state == directory.SyncDelete {
			return h.Entry(state, s.UUID, nil, s.Cookie)
		}
		e, err := EntryOf(found)
		if err != nil {
			return err
		}
		return h.Entry(state, s.UUID, e, s.Cookie)
	}
	return nil
}

func syncInfo(value []byte, h directory.SyncHandler) error {
	s, err := ldapwire.DecodeSyncInfo(value)
	if err != nil {
		return err
	}
	switch s.Kind {
	case ldapwire.SyncIDSet:
		ids := make([]directory.UUID, len(s.UUIDs))
		for i, id := range s.UUIDs {
			ids[i] = id
		}
		return h.Set(ids, s.Deletes)
	case ldapwire.SyncRefreshDelete, ldapwire.SyncRefreshPresent:
		if s.Done {
			return h.Refreshed(s.Kind == ldapwire.SyncRefreshPresent, s.Cookie)
		}
		// A server that tells what is there in one phase and what is not in
		// another has told all of the first: that decides nothing yet.
	}
	return nil
}
