// Package imap is a migration's target that is any IMAP server: Courier,
// Dovecot, Cyrus, another Expost, or the old Exchange at a rollback. It needs
// nothing beyond RFC 3501, and uses LITERAL+, UIDPLUS, SPECIAL-USE and
// APPENDLIMIT where they are. The server gives its own UIDs; without UIDPLUS they
// are found by the order of arrival and by the header.
//
// An account has two connections: one to write, and one that reads, which is a
// session of the source of the same name.
package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	source "expost/internal/migrate/source/imap"
)

// Config says where the server is and how to log in, as that of the source
// does; templates are filled in with Name of the user.
type Config struct {
	Address  string
	Login    string
	Authzid  string
	Password string
	Client   imapclient.Options
	Name     func(u migrate.User) string // Target where nil
	Dir      string                      // for large messages on their way; "": the system's
	Log      *slog.Logger
}

// Target is an IMAP server.
type Target struct {
	cfg    Config
	reader *source.Source
}

var _ migrate.Target = (*Target)(nil)

// New returns a target.
func New(cfg Config) *Target {
	if cfg.Name == nil {
		cfg.Name = func(u migrate.User) string { return string(u.Target) }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Target{cfg, source.New(source.Config{
		Address: cfg.Address, Login: cfg.Login, Authzid: cfg.Authzid, Password: cfg.Password, Client: cfg.Client, Log: cfg.Log,
	})}
}

// Spool implements migrate.Target.
func (t *Target) Spool(ctx context.Context, r io.Reader) (migrate.Spooled, error) {
	return migrate.SpoolBytes(ctx, r, t.cfg.Dir, 0)
}

// Open implements migrate.Target.
func (t *Target) Open(ctx context.Context, u migrate.User) (migrate.TargetAccount, error) {
	u.Source = t.cfg.Name(u)
	a := &account{target: t, user: u, wire: map[string]string{}}
	reader, err := t.reader.Open(ctx, u)
	if err != nil {
		return nil, err
	}
	a.reader = reader
	if _, err := a.Folders(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("listing mailboxes: %w", err), a.Close())
	}
	return a, nil
}

// account is one open account.
type account struct {
	target *Target
	user   migrate.User

	mu       sync.Mutex
	reader   migrate.SourceAccount
	c        *imapclient.Client // that writes; nil between connections
	selected string
	wire     map[string]string // names of mailboxes on the wire
	prefix   string            // before every mailbox but INBOX: "INBOX."
	sep      string            // between levels
	cyrus    bool              // the server is one
}

var (
	_ migrate.TargetAccount = (*account)(nil)
	_ migrate.Finder        = (*account)(nil)
	_ migrate.Namer         = (*account)(nil)
	_ migrate.Organizer     = (*account)(nil)
	_ migrate.Roleless      = (*account)(nil)
)

// Roleless implements migrate.Roleless.
func (a *account) Roleless() {}

// Close implements migrate.TargetAccount.
func (a *account) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop()
	return a.reader.Close()
}

// drop ends the connection that writes.
func (a *account) drop() {
	if a.c != nil {
		a.c.Close() // its error is that of a connection already lost
		a.c = nil
	}
}

// writer returns the connection that writes.
func (a *account) writer(ctx context.Context) (*imapclient.Client, error) {
	if a.c != nil {
		return a.c, nil
	}
	cfg := a.target.cfg
	c, err := source.Dial(ctx, source.Config{
		Address: cfg.Address, Login: cfg.Login, Authzid: cfg.Authzid, Password: cfg.Password, Client: cfg.Client,
	}, a.user)
	if err != nil {
		return nil, err
	}
	a.c, a.selected = c, ""
	return c, nil
}

// maxWaits is how often an operation waits because the server asks for it.
const maxWaits = 100

// do runs fn on the connection that writes, once more on a new one where the
// first was lost. fn may be carried out twice.
func (a *account) do(ctx context.Context, fn func(c *imapclient.Client) error) error {
	waits := 0
	for try := 0; ; try++ {
		c, err := a.writer(ctx)
		if err != nil {
			return err
		}
		if err = fn(c); err == nil {
			return nil
		}
		if d, ok := source.Backoff(err); ok && waits < maxWaits {
			waits++
			try--
			if status(err) == nil {
				a.drop()
			}
			if err := source.Wait(ctx, d); err != nil {
				return err
			}
			continue
		}
		if status(err) != nil {
			return err
		}
		a.drop()
		if try > 0 || ctx.Err() != nil || errors.Is(err, errUnsure) {
			return err
		}
	}
}

// status returns the server's NO or BAD in err, nil where the connection was lost.
func status(err error) *imapclient.StatusError {
	s, ok := errors.AsType[*imapclient.StatusError](err)
	if !ok || s.Status == "BYE" || errors.Is(err, imapclient.ErrGarbage) {
		return nil
	}
	return s
}

// Folders implements migrate.TargetAccount.
func (a *account) Folders(ctx context.Context) ([]migrate.Folder, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.folders(ctx)
}

func (a *account) folders(ctx context.Context) ([]migrate.Folder, error) {
	folders, err := a.reader.Folders(ctx)
	if err != nil {
		return nil, err
	}
	spaced, _ := a.reader.(interface {
		Space() (prefix, separator string)
		Greeting() string
	})
	a.prefix, a.sep = spaced.Space()
	a.cyrus = strings.Contains(spaced.Greeting(), "Cyrus")
	clear(a.wire)
	for i := range folders {
		a.wire[folders[i].Name] = folders[i].Key
		folders[i].Key = folders[i].Name
	}
	return folders, nil
}

// Limit implements migrate.Limiter (RFC 7889).
func (a *account) Limit(ctx context.Context) (limit int64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	err = a.do(ctx, func(c *imapclient.Client) error {
		if _, err := c.Has("APPENDLIMIT"); err != nil { // asks where the login told nothing
			return err
		}
		if v := c.Value("APPENDLIMIT"); v != "" {
			limit, err = strconv.ParseInt(v, 10, 64)
		}
		return err
	})
	return limit, err
}

// notInCyrus are the characters that names of mailboxes cannot have there, or
// ("^") not at every site.
const notInCyrus = "!\"%;<>\\^`{|}"

// Name implements migrate.Namer: levels hold no separator of the server's, and
// no character that it takes in no name.
func (a *account) Name(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sep != mail.Delimiter && a.sep != "" {
		name = strings.ReplaceAll(name, a.sep, "_")
	}
	if a.cyrus {
		name = strings.Map(func(r rune) rune {
			if strings.ContainsRune(notInCyrus, r) {
				return '_'
			}
			return r
		}, name)
	}
	return name
}

// wireName returns a mailbox's name on the wire.
func (a *account) wireName(name string) string {
	if w, ok := a.wire[name]; ok {
		return w
	}
	if strings.EqualFold(name, mail.Inbox) {
		return mail.Inbox
	}
	sep := a.sep
	if sep == "" {
		sep = mail.Delimiter
	}
	levels := strings.Split(name, mail.Delimiter)
	for i, level := range levels {
		levels[i] = string(imapwire.AppendUTF7(nil, level))
	}
	if levels[0] == mail.Inbox { // below INBOX, which the prefix may stand for already
		return strings.Join(levels, sep)
	}
	return a.prefix + strings.Join(levels, sep)
}

// Prepare implements migrate.TargetAccount.
func (a *account) Prepare(ctx context.Context, f migrate.Folder) (migrate.Folder, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, there := a.wire[f.Name]; !there {
		if err := a.create(ctx, f); err != nil {
			return migrate.Folder{}, err
		}
	}
	command := "UNSUBSCRIBE"
	if f.Subscribed {
		command = "SUBSCRIBE"
	}
	wire := a.wireName(f.Name)
	err := a.do(ctx, func(c *imapclient.Client) error { return c.Command(command, nil, imapclient.Text(wire)) })
	if err != nil && (f.Subscribed || status(err) == nil) { // what is not subscribed may not be unsubscribed from
		return migrate.Folder{}, fmt.Errorf("subscribing: %w", err)
	}
	out := f
	out.Key = f.Name
	if f.NoItems {
		return out, nil
	}
	s, err := a.state(ctx, wire)
	if err == nil && s.Messages == 0 { // Courier gives a UIDVALIDITY for good once somebody opens it
		err = a.do(ctx, func(c *imapclient.Client) error { return errors.Join(a.open(c, wire), a.leave(c)) })
		if err == nil {
			s, err = a.state(ctx, wire)
		}
	}
	out.State = migrate.State{UIDValidity: s.UIDValidity, UIDNext: max(s.UIDNext, 1), ModSeq: s.HighestModSeq, Messages: s.Messages, Bytes: s.Size}
	return out, err
}

// create makes a mailbox and the levels above it.
func (a *account) create(ctx context.Context, f migrate.Folder) error {
	levels := strings.Split(f.Name, mail.Delimiter)
	for i := range levels {
		name := strings.Join(levels[:i+1], mail.Delimiter)
		if _, there := a.wire[name]; there || strings.EqualFold(name, mail.Inbox) {
			continue
		}
		wire := a.wireName(name)
		args := []any{imapclient.Text(wire)}
		err := a.do(ctx, func(c *imapclient.Client) error {
			roles, err := c.Has("CREATE-SPECIAL-USE")
			if err != nil {
				return err
			}
			if last := i == len(levels)-1; last && roles && f.Use != mail.UseNone {
				if err := c.Command("CREATE", nil, imapclient.Text(wire), imapclient.Raw(`(USE (\`+string(f.Use)+`))`)); status(err) == nil {
					return err
				}
			}
			return c.Command("CREATE", nil, args...)
		})
		if s := status(err); s != nil && (s.Code == "ALREADYEXISTS" || i < len(levels)-1) {
			continue
		}
		if err != nil {
			return fmt.Errorf("making the mailbox: %w", err)
		}
		a.wire[name] = wire
	}
	return nil
}

// state asks for the state of a mailbox.
func (a *account) state(ctx context.Context, wire string) (s imapclient.Status, err error) {
	err = a.do(ctx, func(c *imapclient.Client) error {
		if a.selected == wire { // else Courier's is that of when it was opened
			if err := c.Command("NOOP", nil); err != nil {
				return err
			}
		}
		return c.Command("STATUS", func(r *imapclient.Response) (err error) {
			if r.Name() == "STATUS" {
				_, s, err = r.Status()
			}
			return err
		}, imapclient.Text(wire), imapclient.Raw("(MESSAGES UIDNEXT UIDVALIDITY)"))
	})
	if err != nil {
		err = fmt.Errorf("asking for the mailbox's state: %w", err)
	}
	return s, err
}

// open selects a mailbox for writing.
func (a *account) open(c *imapclient.Client, wire string) error {
	if a.selected == wire {
		return c.Command("NOOP", nil)
	}
	a.selected = ""
	if err := c.Command("SELECT", nil, imapclient.Text(wire)); err != nil {
		return fmt.Errorf("opening the mailbox: %w", err)
	}
	a.selected = wire
	return nil
}

// maxSet bounds the UIDs of one command, because Exchange takes no command
// longer than 10 KB.
const maxSet = 500

// sets yields uids in parts.
func sets(uids mail.UIDSet, fn func(mail.UIDSet) error) error {
	for part := range slices.Chunk(slices.Collect(uids.All()), maxSet) {
		var set mail.UIDSet
		for _, uid := range part {
			set.Add(uid)
		}
		if err := fn(set); err != nil {
			return err
		}
	}
	return nil
}

// Update implements migrate.TargetAccount.
func (a *account) Update(ctx context.Context, folder string, items []migrate.Item) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.update(ctx, folder, items)
}

// update sets flags.
func (a *account) update(ctx context.Context, folder string, items []migrate.Item) error {
	type marks struct {
		flags    mail.Flags
		keywords mail.Keywords
	}
	groups := map[marks]*mail.UIDSet{}
	for _, it := range items {
		k := marks{it.Flags, it.Keywords}
		if groups[k] == nil {
			groups[k] = new(mail.UIDSet)
		}
		groups[k].Add(it.UID)
	}
	wire := a.wireName(folder)
	return a.do(ctx, func(c *imapclient.Client) error {
		if err := a.open(c, wire); err != nil {
			return err
		}
		for k, uids := range groups {
			list := "(" + strings.TrimSpace(k.flags.String()+" "+k.keywords.String()) + ")"
			err := sets(*uids, func(set mail.UIDSet) error {
				return c.Command("UID STORE", nil, imapclient.Raw(set.String()), imapclient.Raw("FLAGS.SILENT"), imapclient.Raw(list))
			})
			if err != nil {
				return fmt.Errorf("setting flags %s: %w", list, err)
			}
		}
		return nil
	})
}

// Remove implements migrate.TargetAccount.
func (a *account) Remove(ctx context.Context, folder string, uids mail.UIDSet) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	wire := a.wireName(folder)
	return a.do(ctx, func(c *imapclient.Client) error {
		if err := a.open(c, wire); err != nil {
			return err
		}
		return expunge(c, uids)
	})
}

// expunge removes messages of the mailbox that is open. Without UIDPLUS the
// marks \Deleted of other messages are taken away for the moment of the EXPUNGE.
func expunge(c *imapclient.Client, uids mail.UIDSet) error {
	plus, err := c.Has("UIDPLUS")
	if err != nil {
		return err
	}
	var others mail.UIDSet
	if !plus {
		if others, err = deletedBeside(c, uids); err != nil {
			return err
		}
	}
	mark := func(set mail.UIDSet, how string) error {
		return sets(set, func(set mail.UIDSet) error {
			return c.Command("UID STORE", nil, imapclient.Raw(set.String()), imapclient.Raw(how+`FLAGS.SILENT (\Deleted)`))
		})
	}
	if err := errors.Join(mark(others, "-"), mark(uids, "+")); err != nil {
		return err
	}
	if plus {
		return sets(uids, func(set mail.UIDSet) error { return c.Command("UID EXPUNGE", nil, imapclient.Raw(set.String())) })
	}
	return errors.Join(c.Command("EXPUNGE", nil), mark(others, "+"))
}

// deletedBeside returns the messages marked \Deleted that are not in uids.
func deletedBeside(c *imapclient.Client, uids mail.UIDSet) (mail.UIDSet, error) {
	var deleted, out mail.UIDSet
	err := c.Command("UID SEARCH", func(r *imapclient.Response) error {
		if r.Name() == "SEARCH" {
			return r.Search(&deleted)
		}
		return nil
	}, imapclient.Raw("DELETED"))
	for uid := range deleted.All() {
		if !uids.Contains(uid) {
			out.Add(uid)
		}
	}
	return out, err
}

// readFolder is a folder as the reader wants it.
func (a *account) readFolder(name string) migrate.Folder {
	a.reader.(interface{ Refresh() }).Refresh()
	return migrate.Folder{Key: a.wireName(name)}
}

// Items implements migrate.TargetAccount.
func (a *account) Items(ctx context.Context, folder string, fn func(migrate.Item) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.reader.Scan(ctx, a.readFolder(folder), migrate.State{}, func(items []migrate.Item) error {
		for _, it := range items {
			if err := fn(it); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// Read implements migrate.TargetAccount.
func (a *account) Read(ctx context.Context, folder string, uids mail.UIDSet, fn func(mail.UID, io.Reader) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.read(ctx, folder, uids, fn)
}

func (a *account) read(ctx context.Context, folder string, uids mail.UIDSet, fn func(mail.UID, io.Reader) error) error {
	items := make([]migrate.Item, 0, uids.Len())
	for uid := range uids.All() {
		items = append(items, migrate.Item{Key: strconv.FormatUint(uint64(uid), 10), UID: uid, Size: -1})
	}
	return a.reader.Fetch(ctx, a.readFolder(folder), items, func(it migrate.Item, r io.Reader, err error) error {
		if ie, ok := errors.AsType[*migrate.ItemError](err); ok && ie.Gone {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading message %d: %w", it.UID, err)
		}
		return fn(it.UID, r)
	})
}
