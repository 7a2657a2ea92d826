// Package embedded is a directory of its own: the LDAP tree, durable in one
// SQLite file and served from memory.
//
// Every entry is one row: its number, that of the entry above it, and its RDN
// and attributes in one packed value. All of it is in memory too, in the same
// packed form, with indexes that are built at the start. A change is made by
// one goroutine, the writer, on copies of the pages it touches (snapshot.go),
// made durable, and then published as the new snapshot; changes that wait at
// the same time share a commit. Searches and lookups take the snapshot of the
// moment and wait for nobody.
//
// What is on disk, and what a crash at each point leaves:
//
//	moment                                   after the next start
//	before SQLite's COMMIT returns           the change is not there, or (its log
//	                                         was complete) it is; the client was
//	                                         told nothing
//	COMMIT done, snapshot not yet published  the change is there
//	published, answer on its way             the change is there
//	while the log is folded into the file    SQLite goes on with the log
//	first start, tables made, no suffix      the suffix is made
//	a second process opens the folder        it is refused: the file is locked
//
// The file's synchronous=FULL means that COMMIT returns after fdatasync.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/access"
	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/password"
	"expost/internal/schema"
)

// Options says what Open opens. Dir and Suffix are required.
type Options struct {
	Dir          string         // the folder of the file; made where it is not there
	Suffix       ldap.DN        // the DN that the tree hangs from
	RootDN       ldap.DN        // who may do everything; need not be an entry
	RootPassword []byte         // of RootDN, as userPassword has it or in clear; nil: that of its entry
	Anonymous    []ldap.DN      // subtrees whose address book needs no login
	Domains      []string       // in which a login without @ is looked up
	Access       []access.Rule  // before the default ones
	Indexes      []Index        // instead of the default ones of their attributes
	Schema       *schema.Schema // nil: schema.Builtin
	Passwords    *password.Verifier
	Logger       *slog.Logger
	Now          func() time.Time
}

// Directory implements directory.Directory.
type Directory struct {
	opt    Options
	suffix ldap.DN
	schema *schema.Schema
	disk   *disk
	rights *rights
	index  *indexing

	snap         atomic.Pointer[snapshot]
	rootPassword []byte
	lists        listCache
	ready        readyCache
	next         atomic.Pointer[chan struct{}] // closed at the next change

	requests chan *request
	rehashes chan rehash
	closing  chan struct{}
	once     sync.Once
	wg       sync.WaitGroup

	// The writer's own.
	facts *facts
	csn   csnClock
}

var (
	_ directory.Directory      = (*Directory)(nil)
	_ directory.Renamer        = (*Directory)(nil)
	_ directory.PasswordHasher = (*Directory)(nil)
	_ directory.KeyKeeper      = (*Directory)(nil)
	_ directory.Viewer         = (*Directory)(nil)
	_ directory.Comparer       = (*Directory)(nil)
	_ directory.Updater        = (*Directory)(nil)
	_ directory.Synchronizer   = (*Directory)(nil)
	_ directory.Restorer       = (*Directory)(nil)
)

// Open opens the directory in opt.Dir, making it where there is none yet.
func Open(ctx context.Context, opt Options) (*Directory, error) {
	if len(opt.Suffix) == 0 {
		return nil, mail.Errorf(mail.KindInvalid, "the directory has no suffix")
	}
	if opt.Schema == nil {
		opt.Schema = schema.Builtin()
	}
	if opt.Passwords == nil {
		opt.Passwords = password.New(password.Options{})
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	d := &Directory{
		opt: opt, suffix: opt.Suffix, schema: opt.Schema,
		requests: make(chan *request), rehashes: make(chan rehash, 64), closing: make(chan struct{}),
	}
	var err error
	if d.rights, err = newRights(opt.Schema, opt.Access, opt.Anonymous); err != nil {
		return nil, err
	}
	if d.index, err = newIndexing(opt.Schema, opt.Indexes); err != nil {
		return nil, err
	}
	d.facts = newFacts(opt.Schema, d.index)
	if err := d.open(ctx); err != nil {
		return nil, fmt.Errorf("opening the directory in %q: %w", opt.Dir, err)
	}
	return d, nil
}

// open reads the file and starts the goroutines.
func (d *Directory) open(ctx context.Context) error {
	if err := d.setRootPassword(ctx); err != nil {
		return err
	}
	var err error
	if d.disk, err = openDisk(d.opt.Dir); err != nil {
		return err
	}
	snap, err := d.load()
	if err != nil {
		return errors.Join(err, d.disk.close())
	}
	d.snap.Store(snap)
	d.csn.see(snap.lastCSN())
	next := make(chan struct{})
	d.next.Store(&next)
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.wg.Go(d.write)
	d.wg.Go(func() { d.rehashPasswords(background) })
	d.wg.Go(func() {
		<-d.closing
		cancel()
	})
	if snap.suffix == 0 {
		if err := d.populate(ctx); err != nil {
			return errors.Join(err, d.Close())
		}
	}
	return nil
}

// setRootPassword takes the configured password, hashing it where it is in clear.
func (d *Directory) setRootPassword(ctx context.Context) error {
	if len(d.opt.RootPassword) == 0 {
		return nil
	}
	d.rootPassword = d.opt.RootPassword
	clearText, ok := password.Clear(d.opt.RootPassword)
	if !ok {
		return nil
	}
	hashed, err := d.opt.Passwords.Hash(ctx, clearText)
	if err != nil {
		return fmt.Errorf("hashing the root password: %w", err)
	}
	d.rootPassword = []byte(hashed)
	return nil
}

// load reads the file, which must be of the configured suffix.
func (d *Directory) load() (*snapshot, error) {
	suffix, err := d.disk.meta("suffix", d.suffix.String())
	if err != nil {
		return nil, err
	}
	made, err := ldap.ParseDN(suffix)
	if err != nil {
		return nil, err
	}
	if !made.Equal(d.suffix, d.schema) {
		return nil, mail.Errorf(mail.KindConflict, "it was made for the suffix %q, and the configuration says %q", made, d.suffix)
	}
	return load(d.disk, d.rights, d.index, d.suffix)
}

// populate makes the suffix entry and the places of people and address book.
func (d *Directory) populate(ctx context.Context) error {
	node := directory.Identity{Root: true}
	for _, e := range []*ldap.Entry{
		suffixEntry(d.suffix, d.schema),
		directory.NewUnit(d.suffix, "people"),
		directory.NewUnit(d.suffix, "addressbook"),
	} {
		var le *ldap.Error
		if err := d.Add(ctx, node, e); err != nil && !(errors.As(err, &le) && le.Code == ldap.EntryAlreadyExists) {
			return fmt.Errorf("making %q: %w", e.DN, err)
		}
	}
	return nil
}

// suffixEntry returns an entry that the schema allows for the suffix.
func suffixEntry(dn ldap.DN, s *schema.Schema) *ldap.Entry {
	e := &ldap.Entry{DN: dn}
	first := dn[0][0]
	name := first.Type
	if t := s.Attribute(first.Type); t != nil {
		name = t.Name()
	}
	switch name {
	case "o":
		e.Attributes = []ldap.Attribute{ldap.NewAttribute("objectClass", "top", "organization")}
	case "ou":
		e.Attributes = []ldap.Attribute{ldap.NewAttribute("objectClass", "top", "organizationalUnit")}
	case "c":
		e.Attributes = []ldap.Attribute{ldap.NewAttribute("objectClass", "top", "country")}
	case "dc":
		var domain []byte
		for _, rdn := range dn {
			if s.Attribute(rdn[0].Type) == s.Attribute("dc") {
				domain = append(append(domain, rdn[0].Value...), '.')
			}
		}
		e.Attributes = []ldap.Attribute{
			ldap.NewAttribute("objectClass", "top", "dcObject", "organization"),
			ldap.NewAttribute("o", string(domain[:len(domain)-1])),
		}
	default:
		e.Attributes = []ldap.Attribute{
			ldap.NewAttribute("objectClass", "top", "organization", "extensibleObject"),
			ldap.NewAttribute("o", first.Value),
		}
	}
	return e
}

// Suffix implements directory.Directory.
func (d *Directory) Suffix() ldap.DN { return slices.Clone(d.suffix) }

// Schema returns the schema in force.
func (d *Directory) Schema() *schema.Schema { return d.schema }

// Len returns the number of entries.
func (d *Directory) Len() int { return d.snap.Load().count }

// Close waits for the changes that are being written, refuses those that wait,
// and closes the file. Searches that run go on.
func (d *Directory) Close() error {
	var err error
	d.once.Do(func() {
		close(d.closing)
		d.wg.Wait()
		err = d.disk.close()
	})
	return err
}
