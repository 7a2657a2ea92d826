// Package ldap is a directory that another server keeps: OpenLDAP with
// qmail-ldap's schema, or Active Directory. Lookups of mail are cached, with
// limits and for a limited time; what is not there is remembered more briefly.
// While every server is away, lookups are mail.KindUnavailable, so that mail is
// deferred and never bounces, but for accounts that were looked up not long ago.
//
// Logins are checked by a bind at the server; no password is kept here.
package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapclient"
	"expost/internal/mail"
	"expost/internal/schema"
)

// Kind is which sort of server it is.
type Kind string

// The kinds.
const (
	OpenLDAP        Kind = "openldap"
	ActiveDirectory Kind = "ad"
)

// Options say which directory it is. Servers and Suffix are required.
type Options struct {
	Kind     Kind
	Servers  []string // URLs; the first that is there is asked
	Suffix   ldap.DN
	RootDN   ldap.DN // who may do everything, with the server's password; nil: nobody
	DN       string  // of our account there
	Password []byte
	TLS      *tls.Config
	StartTLS bool
	Timeout  time.Duration // 0: 10 s
	Size     int           // connections; 0: 8
	Domains  []string      // in which a login without @ is looked up
	Filter   *ldap.Filter  // of accounts, besides their class

	HostAttr  string // names the host of a mailbox; empty: mailHost; Active Directory has none of itself
	StoreAttr string // names the mailbox in the store; empty: mailMessageStore, or Active Directory's objectGUID

	CacheTime    time.Duration // how long an account is believed; 0: 5 min
	NegativeTime time.Duration // and that there is none; 0: 30 s
	StaleTime    time.Duration // how long an account is believed while the servers are away; 0: 1 h
	CacheSize    int           // lookups remembered; 0: 50,000

	Logger *slog.Logger
	Now    func() time.Time
}

// Directory implements directory.Directory.
type Directory struct {
	opt   Options
	pool  *ldapclient.Pool
	cache *cache
	flavor

	schema  *schema.Schema // ours, for sorting
	cursors cursors
	lists   lists
}

var (
	_ directory.Directory      = (*Directory)(nil)
	_ directory.Renamer        = (*Directory)(nil)
	_ directory.PasswordHasher = (*Directory)(nil)
	_ directory.Viewer         = (*Directory)(nil)
)

// Open returns the directory. It connects when it is first asked something.
func Open(opt Options) (*Directory, error) {
	if len(opt.Servers) == 0 || len(opt.Suffix) == 0 {
		return nil, mail.Errorf(mail.KindInvalid, "an external directory needs its servers and its suffix")
	}
	for d, def := range map[*time.Duration]time.Duration{&opt.Timeout: 10 * time.Second, &opt.CacheTime: 5 * time.Minute,
		&opt.NegativeTime: 30 * time.Second, &opt.StaleTime: time.Hour} {
		if *d == 0 {
			*d = def
		}
	}
	if opt.CacheSize == 0 {
		opt.CacheSize = 50_000
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	d := &Directory{opt: opt, cache: newCache(opt.CacheSize), schema: schema.Builtin(), cursors: cursors{known: map[string]*cursor{}}}
	switch opt.Kind {
	case OpenLDAP, "":
		d.flavor = &qmail{opt}
	case ActiveDirectory:
		d.flavor = &activeDirectory{opt}
	default:
		return nil, mail.Errorf(mail.KindInvalid, "%q is neither %q nor %q", opt.Kind, OpenLDAP, ActiveDirectory)
	}
	d.pool = ldapclient.NewPool(ldapclient.PoolOptions{
		Options: ldapclient.Options{TLS: opt.TLS, StartTLS: opt.StartTLS, Timeout: opt.Timeout},
		Servers: opt.Servers, DN: opt.DN, Password: opt.Password, Size: opt.Size, Now: opt.Now,
	})
	return d, nil
}

// flavor is what the kinds of server differ in.
type flavor interface {
	// byAddress finds the accounts that own an address.
	byAddress(addr mail.Address) *ldap.Filter
	// byLogin finds the accounts of a login name.
	byLogin(login string, domains []string) *ldap.Filter
	// all finds every account.
	all() *ldap.Filter
	// attributes are those that account reads.
	attributes() []string
	// account reads an entry; false where it has no mailbox. Other entries that
	// it names are read with read.
	account(e *ldap.Entry, read func(dn string, attributes ...string) (*ldap.Entry, error)) (*directory.Account, bool, error)
	// restrict returns the controls with which an operation of who is made. An
	// error refuses it.
	restrict(who directory.Identity, changes bool) ([]ldapclient.Control, error)
}

// Suffix implements directory.Directory.
func (d *Directory) Suffix() ldap.DN { return slices.Clone(d.opt.Suffix) }

// Close implements directory.Directory.
func (d *Directory) Close() error {
	d.cursors.close()
	return d.pool.Close()
}

// Reach connects and logs in, and returns what it is that does not work.
func (d *Directory) Reach(ctx context.Context) error {
	return d.pool.Use(ctx, func(*ldapclient.Conn) error { return nil })
}

// unavailable turns errors of the network into what clients of LDAP are told,
// and leaves others.
func (d *Directory) unavailable(err error) error {
	away, ok := errors.AsType[*ldapclient.NetError](err)
	if !ok {
		return err
	}
	d.opt.Logger.Warn("the directory's servers do not answer", slog.Any("error", away))
	return ldap.Errorf(ldap.Unavailable, "the directory's servers do not answer")
}

// pageSize is how many entries are asked for at once where all are wanted.
const pageSize = 500

// Search implements directory.Directory.
func (d *Directory) Search(ctx context.Context, who directory.Identity, req *ldap.SearchRequest, yield func(*ldap.Entry) error) error {
	controls, err := d.restrict(who, false)
	if err != nil {
		return err
	}
	r := d.request(req)
	return d.failed(ctx, d.search(ctx, &r, controls, yield))
}

// request returns a search as it is asked there: one from nowhere is one of the
// whole tree.
func (d *Directory) request(req *ldap.SearchRequest) ldap.SearchRequest {
	r := *req
	if len(r.Base) == 0 && r.Scope != ldap.ScopeBase {
		r.Base = d.opt.Suffix
	}
	if r.Filter == nil {
		r.Filter = present("objectClass")
	}
	return r
}

// search calls yield with what is found, in pages where all of it is wanted.
func (d *Directory) search(ctx context.Context, r *ldap.SearchRequest, controls []ldapclient.Control, yield func(*ldap.Entry) error) error {
	return d.pool.Use(ctx, func(c *ldapclient.Conn) error {
		if r.Scope == ldap.ScopeBase || r.SizeLimit > 0 {
			_, err := c.Search(ctx, r, controls, yield)
			return err
		}
		return c.SearchPages(ctx, r, pageSize, controls, yield)
	})
}

// change makes a change of the tree.
func (d *Directory) change(ctx context.Context, who directory.Identity, do func(c *ldapclient.Conn, controls ...ldapclient.Control) error) error {
	controls, err := d.restrict(who, true)
	if err != nil {
		return err
	}
	err = d.pool.Once(ctx, func(c *ldapclient.Conn) error { return do(c, controls...) })
	if err == nil {
		d.cache.clear()
	}
	return d.unavailable(err)
}

// Add implements directory.Directory.
func (d *Directory) Add(ctx context.Context, who directory.Identity, e *ldap.Entry) error {
	return d.change(ctx, who, func(c *ldapclient.Conn, controls ...ldapclient.Control) error {
		return c.Add(ctx, e, controls...)
	})
}

// Modify implements directory.Directory.
func (d *Directory) Modify(ctx context.Context, who directory.Identity, dn ldap.DN, changes []ldap.Change) error {
	return d.change(ctx, who, func(c *ldapclient.Conn, controls ...ldapclient.Control) error {
		return c.Modify(ctx, dn, changes, controls...)
	})
}

// Delete implements directory.Directory.
func (d *Directory) Delete(ctx context.Context, who directory.Identity, dn ldap.DN) error {
	return d.change(ctx, who, func(c *ldapclient.Conn, controls ...ldapclient.Control) error {
		return c.Delete(ctx, dn, controls...)
	})
}

// Rename implements directory.Renamer.
func (d *Directory) Rename(ctx context.Context, who directory.Identity, r directory.Rename) error {
	return d.change(ctx, who, func(c *ldapclient.Conn, controls ...ldapclient.Control) error {
		return c.Rename(ctx, r.DN, r.NewRDN, r.DeleteOld, r.Superior, controls...)
	})
}

// HashPassword implements directory.PasswordHasher.
func (d *Directory) HashPassword(_ context.Context, password []byte) ([]string, error) {
	if d.opt.Kind == ActiveDirectory {
		return nil, mail.Errorf(mail.KindPermission, "passwords are set at Active Directory itself")
	}
	return []string{hashed(password)}, nil
}

// Bind implements directory.Directory: the server checks the password.
func (d *Directory) Bind(ctx context.Context, dn ldap.DN, password []byte) (directory.Identity, error) {
	switch {
	case len(password) == 0 && len(dn) == 0:
		return directory.Identity{}, nil
	case len(password) == 0:
		return directory.Identity{}, ldap.Errorf(ldap.UnwillingToPerform, "unauthenticated bind (DN with no password) disallowed")
	case len(dn) == 0:
		return directory.Identity{}, ldap.Errorf(ldap.InvalidCredentials, "")
	}
	if err := d.pool.Check(ctx, dn.String(), password); err != nil {
		return directory.Identity{}, d.unavailable(refused(err))
	}
	return directory.Identity{DN: dn, Root: len(d.opt.RootDN) > 0 && dn.Equal(d.opt.RootDN, folded{})}, nil
}

// refused makes one answer of all that a bind can be refused for.
func refused(err error) error {
	le, ok := errors.AsType[*ldap.Error](err)
	if !ok {
		return err
	}
	switch le.Code {
	case ldap.Busy, ldap.Unavailable, ldap.UnwillingToPerform:
		return err
	}
	return ldap.Errorf(ldap.InvalidCredentials, "")
}

// folded compares DNs as text without regard to case: the schema is the
// server's.
type folded struct{}

// NormalizeAVA implements ldap.Normalizer.
func (folded) NormalizeAVA(a ldap.AVA) ldap.AVA {
	return ldap.AVA{Type: strings.ToLower(a.Type), Value: strings.ToLower(strings.Join(strings.Fields(a.Value), " "))}
}

// errLogin is all that a failed login tells.
func errLogin() error { return mail.Errorf(mail.KindAuth, "wrong login or password") }

// errAway is what mail is told while the servers are away.
func (d *Directory) errAway(err error) error {
	d.opt.Logger.Warn("the directory's servers do not answer", slog.Any("error", err))
	return mail.WrapError(mail.KindUnavailable, err, "the directory does not answer")
}

// Login implements directory.Directory: the server checks the password.
func (d *Directory) Login(ctx context.Context, login, password string) (*directory.Account, error) {
	if password == "" { // a bind without one succeeds, as nobody (RFC 4513 §5.1.2)
		return nil, errLogin()
	}
	acc, err := d.Lookup(ctx, login)
	name := "cn=nobody," + d.opt.Suffix.String() // so that it takes as long
	switch {
	case err == nil:
		name = acc.DN.String()
	case mail.KindOf(err) != mail.KindNotExist:
		return nil, err
	}
	checked := d.pool.Check(ctx, name, []byte(password))
	if _, isRefusal := errors.AsType[*ldap.Error](checked); checked != nil && !isRefusal {
		return nil, d.errAway(checked)
	}
	if le, ok := errors.AsType[*ldap.Error](checked); ok && (le.Code == ldap.Busy || le.Code == ldap.Unavailable) {
		return nil, d.errAway(checked)
	}
	if err != nil || checked != nil || acc.Status != directory.StatusActive {
		return nil, errLogin()
	}
	return acc, nil
}

// Resolve implements directory.Directory.
func (d *Directory) Resolve(ctx context.Context, addr mail.Address) (*directory.Account, error) {
	if !strings.Contains(string(addr), "@") {
		return nil, mail.Errorf(mail.KindNotExist, "there is no account with the address %s", addr)
	}
	return d.cached(ctx, "address "+addr.Key(), d.byAddress(mail.Address(addr.Key())), func(acc *directory.Account) bool {
		return acc.Address.Key() == addr.Key() || slices.ContainsFunc(acc.Aliases, func(a mail.Address) bool { return a.Key() == addr.Key() })
	}, "there is no account with the address "+string(addr))
}

// Lookup implements directory.Directory.
func (d *Directory) Lookup(ctx context.Context, login string) (*directory.Account, error) {
	login = strings.TrimSpace(login[strings.LastIndexByte(login, '\\')+1:])
	missing := "there is no account \"" + login + "\""
	if login == "" {
		return nil, mail.Errorf(mail.KindNotExist, "%s", missing)
	}
	acc, err := d.cached(ctx, "login "+strings.ToLower(login), d.byLogin(login, d.opt.Domains), nil, missing)
	if mail.KindOf(err) == mail.KindConflict { // the name is ambiguous
		return nil, mail.Errorf(mail.KindNotExist, "%s", missing)
	}
	return acc, err
}

// Accounts implements directory.Directory.
func (d *Directory) Accounts(ctx context.Context) iter.Seq2[*directory.Account, error] {
	return func(yield func(*directory.Account, error) bool) {
		list, err := d.find(ctx, d.all())
		if err != nil {
			yield(nil, err)
			return
		}
		slices.SortFunc(list, func(a, b *directory.Account) int { return strings.Compare(a.Address.Key(), b.Address.Key()) })
		for _, acc := range list {
			if !yield(acc, nil) {
				return
			}
		}
	}
}

// find returns the accounts that a filter finds.
func (d *Directory) find(ctx context.Context, filter *ldap.Filter) ([]*directory.Account, error) {
	var entries []*ldap.Entry
	req := &ldap.SearchRequest{Base: d.opt.Suffix, Scope: ldap.ScopeSub, Filter: filter, Attributes: d.attributes()}
	var list []*directory.Account
	err := d.pool.Use(ctx, func(c *ldapclient.Conn) error {
		entries, list = nil, nil
		if err := c.SearchPages(ctx, req, pageSize, nil, func(e *ldap.Entry) error {
			entries = append(entries, e)
			return nil
		}); err != nil {
			return err
		}
		for _, e := range entries {
			acc, ok, err := d.account(e, func(dn string, attributes ...string) (*ldap.Entry, error) { return readEntry(ctx, c, dn, attributes) })
			if err != nil {
				return err
			}
			if ok {
				list = append(list, acc)
			}
		}
		return nil
	})
	if err != nil { // whatever it is: that an account is not there must not be its meaning
		return nil, d.errAway(err)
	}
	return list, nil
}

// readEntry reads one entry; nil where it is not there.
func readEntry(ctx context.Context, c *ldapclient.Conn, name string, attributes []string) (*ldap.Entry, error) {
	dn, err := ldap.ParseDN(name)
	if err != nil {
		return nil, nil // what names nothing leads nowhere
	}
	var found *ldap.Entry
	_, err = c.Search(ctx, &ldap.SearchRequest{Base: dn, Scope: ldap.ScopeBase, Filter: present("objectClass"), Attributes: attributes}, nil,
		func(e *ldap.Entry) error { found = e; return nil })
	if le, ok := errors.AsType[*ldap.Error](err); ok && le.Code == ldap.NoSuchObject {
		return nil, nil
	}
	return found, err
}

// Shorthands of filters.
func equal(attr, value string) *ldap.Filter {
	return &ldap.Filter{Op: ldap.FilterEqual, Attr: attr, Value: []byte(value)}
}

func present(attr string) *ldap.Filter { return &ldap.Filter{Op: ldap.FilterPresent, Attr: attr} }

func and(subs ...*ldap.Filter) *ldap.Filter {
	return &ldap.Filter{Op: ldap.FilterAnd, Subs: slices.DeleteFunc(subs, func(f *ldap.Filter) bool { return f == nil })}
}

func or(subs ...*ldap.Filter) *ldap.Filter { return &ldap.Filter{Op: ldap.FilterOr, Subs: subs} }

// extra are the configured attributes of accounts.
func (o *Options) extra() []string {
	return slices.DeleteFunc([]string{o.HostAttr, o.StoreAttr}, func(a string) bool { return a == "" })
}
