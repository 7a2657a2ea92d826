package ldapserver

import (
	"context"
	"slices"
	"strings"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
	"expost/internal/mail"
)

// controls is what the controls of a request ask for.
type controls struct {
	view         directory.View
	page         bool // the paged results control is there, perhaps with no page
	sortCritical bool
	values       []*ldap.Filter // matched values; nil: all
	assert       *ldap.Filter
	before       []string // pre-read; nil: not asked for
	after        []string // post-read
	sync         *ldapwire.SyncRequest
	manage       bool // referral objects are entries
}

// controlKind is a control that the server knows.
type controlKind struct {
	of      []ldapwire.Tag // operations that it goes with; nil: any but bind
	viewing bool           // wants a directory.Viewer
	writing bool           // wants a directory.Updater where it goes with a change
	syncing bool           // wants a directory.Synchronizer
	read    func(o *operation, ctx context.Context, c ldapwire.Control) error
}

// controlKinds returns the controls by their OIDs.
func controlKinds() map[string]controlKind {
	search := []ldapwire.Tag{ldapwire.TagSearchRequest}
	changing := []ldapwire.Tag{ldapwire.TagModifyRequest, ldapwire.TagModifyDNRequest}
	return map[string]controlKind{
		ldapwire.OIDManageDsaIT: {read: func(o *operation, _ context.Context, _ ldapwire.Control) error {
			o.controls.manage = true
			return nil
		}},
		ldapwire.OIDProxiedAuth:   {read: (*operation).readProxiedAuth},
		ldapwire.OIDPaged:         {of: search, viewing: true, read: (*operation).readPaged},
		ldapwire.OIDSortRequest:   {of: search, viewing: true, read: (*operation).readSort},
		ldapwire.OIDVLVRequest:    {of: search, viewing: true, read: (*operation).readVLV},
		ldapwire.OIDSubentries:    {of: search, viewing: true, read: (*operation).readSubentries},
		ldapwire.OIDSyncRequest:   {of: search, syncing: true, read: (*operation).readSync},
		ldapwire.OIDMatchedValues: {of: search, read: (*operation).readMatchedValues},
		ldapwire.OIDAssertion: {of: append([]ldapwire.Tag{ldapwire.TagSearchRequest, ldapwire.TagCompareRequest, ldapwire.TagDeleteRequest}, changing...),
			writing: true, read: (*operation).readAssertion},
		ldapwire.OIDPreRead: {of: append([]ldapwire.Tag{ldapwire.TagDeleteRequest}, changing...), writing: true,
			read: func(o *operation, _ context.Context, c ldapwire.Control) (err error) {
				o.controls.before, err = ldapwire.DecodeAttributes(c.Value)
				return err
			}},
		ldapwire.OIDPostRead: {of: append([]ldapwire.Tag{ldapwire.TagAddRequest}, changing...), writing: true,
			read: func(o *operation, _ context.Context, c ldapwire.Control) (err error) {
				o.controls.after, err = ldapwire.DecodeAttributes(c.Value)
				return err
			}},
	}
}

// supportedControls returns the controls that a directory's abilities allow.
func supportedControls(kinds map[string]controlKind, d directory.Directory) []string {
	var list []string
	for oid, k := range kinds {
		if k.servedBy(d) {
			list = append(list, oid)
		}
	}
	slices.Sort(list)
	return list
}

// servedBy tells whether a directory can do what the control asks for.
func (k controlKind) servedBy(d directory.Directory) bool {
	_, views := d.(directory.Viewer)
	_, updates := d.(directory.Updater)
	_, syncs := d.(directory.Synchronizer)
	return (views || !k.viewing) && (updates || !k.writing) && (syncs || !k.syncing)
}

// goesWith tells whether the control may stand with an operation.
func (k controlKind) goesWith(op ldapwire.Op) bool {
	if k.of == nil {
		return op.Tag() != ldapwire.TagBindRequest
	}
	return slices.Contains(k.of, op.Tag())
}

// readControls reads the controls of the request. Those that are not known, or
// are of another operation, are an error if critical (RFC 4511 §4.1.11).
func (o *operation) readControls(ctx context.Context) error {
	for i, c := range o.m.Controls {
		kind, known := o.c.srv.controls[c.OID]
		switch {
		case !known || !kind.goesWith(o.m.Op) || !kind.servedBy(o.c.srv.cfg.Directory):
			if c.Critical {
				return ldap.Errorf(ldap.UnavailableCriticalExt, "critical extension is not recognized")
			}
		case slices.ContainsFunc(o.m.Controls[:i], func(other ldapwire.Control) bool { return other.OID == c.OID }):
			return ldap.Errorf(ldap.ProtocolError, "control %s stands twice", c.OID)
		default:
			if err := kind.read(o, ctx, c); err != nil {
				return err
			}
		}
	}
	if o.controls.page && o.controls.view.Window != nil {
		return ldap.Errorf(ldap.ProtocolError, "paged results and virtual list view exclude each other")
	}
	return nil
}

func (o *operation) readPaged(_ context.Context, c ldapwire.Control) error {
	p, err := ldapwire.DecodePaged(c.Value)
	if err != nil {
		return err
	}
	o.controls.page = true
	if p.Size > 0 {
		o.controls.view.Page = &directory.Page{Size: p.Size, Cookie: p.Cookie}
	}
	return nil
}

func (o *operation) readSort(_ context.Context, c ldapwire.Control) error {
	keys, err := ldapwire.DecodeSort(c.Value)
	o.controls.sortCritical = c.Critical
	for _, k := range keys {
		o.controls.view.Sort = append(o.controls.view.Sort, directory.SortKey(k))
	}
	return err
}

func (o *operation) readVLV(_ context.Context, c ldapwire.Control) error {
	v, err := ldapwire.DecodeVLV(c.Value)
	o.controls.view.Window = &directory.Window{Before: v.Before, After: v.After, ByValue: v.ByValue, Offset: v.Offset, Count: v.Count, Value: v.Value}
	return err
}

func (o *operation) readSubentries(_ context.Context, c ldapwire.Control) error {
	only, err := ldapwire.DecodeSubentries(c.Value)
	o.controls.view.Subentries = &only
	return err
}

func (o *operation) readMatchedValues(_ context.Context, c ldapwire.Control) (err error) {
	o.controls.values, err = ldapwire.DecodeValuesFilter(c.Value)
	return err
}

func (o *operation) readAssertion(_ context.Context, c ldapwire.Control) (err error) {
	o.controls.assert, err = ldapwire.DecodeFilter(c.Value)
	return err
}

// readProxiedAuth makes the operation that of somebody else (RFC 4370). Only
// the root may ask for it.
func (o *operation) readProxiedAuth(ctx context.Context, c ldapwire.Control) error {
	switch {
	case !c.Critical:
		return ldap.Errorf(ldap.ProtocolError, "proxied authorization must be critical")
	case !o.c.who.Root:
		return ldap.Errorf(ldap.AuthorizationDenied, "nobody but the root may act for another")
	}
	who, err := o.c.authorization(ctx, string(c.Value))
	if err != nil {
		return ldap.Errorf(ldap.AuthorizationDenied, "nobody is %.64q", c.Value)
	}
	o.who = who
	o.who.Peer = o.c.peer
	return nil
}

// authorization returns the identity of an authorization identity (RFC 4513
// §5.2.1.8), which must be there.
func (c *conn) authorization(ctx context.Context, id string) (directory.Identity, error) {
	if id == "" {
		return directory.Identity{}, nil
	}
	if login, ok := strings.CutPrefix(id, "u:"); ok {
		account, err := c.srv.cfg.Directory.Lookup(ctx, login)
		if err != nil {
			return directory.Identity{}, err
		}
		return directory.Identity{DN: account.DN}, nil
	}
	name, ok := strings.CutPrefix(id, "dn:")
	if !ok {
		return directory.Identity{}, mail.Errorf(mail.KindInvalid, "no authorization identity")
	}
	dn, err := ldap.ParseDN(name)
	if err != nil {
		return directory.Identity{}, err
	}
	e, err := c.active(ctx, dn)
	if err != nil {
		return directory.Identity{}, err
	}
	return directory.Identity{DN: e.DN}, nil
}

// active returns an entry that somebody may log in as. For one that is not
// there, or whose account must not log in, it is an error.
func (c *conn) active(ctx context.Context, dn ldap.DN) (*ldap.Entry, error) {
	var e *ldap.Entry
	req := &ldap.SearchRequest{Base: dn, Scope: ldap.ScopeBase}
	err := c.srv.cfg.Directory.Search(ctx, directory.Local(), req, func(found *ldap.Entry) error {
		e = found
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case e == nil: // not there, or the root
		return nil, ldap.Errorf(ldap.NoSuchObject, "")
	}
	if account, ok := directory.AccountOf(e); ok && account.Status != directory.StatusActive {
		return nil, ldap.Errorf(ldap.InvalidCredentials, "")
	}
	return e, nil
}
