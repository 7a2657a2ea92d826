// Package maildir is a migration's target that is Maildir++ as qmail, Courier
// and Dovecot read it: UIDs and UIDVALIDITY in dovecot-uidlist and
// courierimapuiddb, keywords in dovecot-keywords and courierimapkeywords,
// subscriptions in subscriptions and courierimapsubscribed. Nothing may serve
// the Maildir while a pass writes it.
//
// # On disk
//
// A batch is added in this order, each step synced before the next. What a crash
// behind a step leaves, and what comes of it:
//
//	files in tmp             nothing refers to them; every program that serves the
//	                         Maildir removes them after a while
//	a line in maildirsize    too much is counted; servers count anew where a Maildir
//	                         seems full
//	lines of dovecot-uidlist without files they count for nothing here, and Dovecot
//	                         takes them for removed messages; the last may be torn.
//	                         The next append makes the list anew of what is there
//	names in cur             the batch is there, or part of it: the next pass knows it
//	                         by its hashes
//	flags (names in cur)     some are changed, others not; the next pass changes them
//	list without the UIDs    the messages of a Remove are there without UIDs, or some
//	                         of them; the next pass removes them again
//
// Lists, keywords, subscriptions and the files of Courier are made anew, by
// rename; those of Courier when a folder is closed: a crash before that leaves the
// old ones, and the next pass that changes something makes them.
//
// Files have LF line ends, as those of the programs that deliver into Maildirs.
package maildir

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/source/files"
)

// Config says where the Maildirs are.
type Config struct {
	Path  string // template: {address} {local} {domain} of the user's target
	Owner string // "user" or "user:group" that files are given to; "": who runs this
	UTF8  bool   // names of folders are UTF-8, as for Courier from 5.0 on; else modified UTF-7
	Log   *slog.Logger
}

// Target writes Maildirs.
type Target struct {
	cfg      Config
	uid, gid int // -1: not changed
	host     string
}

var (
	_ migrate.Target = (*Target)(nil)
	_ migrate.Looker = (*Target)(nil)
)

// New returns a target. An owner that there is not is mail.KindInvalid.
func New(cfg Config) (*Target, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Target{cfg: cfg, uid: -1, gid: -1}
	var err error
	if t.host, err = os.Hostname(); err != nil {
		t.host = "localhost"
	}
	t.host = strings.NewReplacer("/", `\057`, ":", `\072`, ",", "_").Replace(t.host)
	if cfg.Owner == "" {
		return t, nil
	}
	name, group, hasGroup := strings.Cut(cfg.Owner, ":")
	u, err := user.Lookup(name)
	if err != nil {
		return nil, mail.WrapError(mail.KindInvalid, err, "target.owner: there is no user %q", name)
	}
	gid := u.Gid
	if hasGroup {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, mail.WrapError(mail.KindInvalid, err, "target.owner: there is no group %q", group)
		}
		gid = g.Gid
	}
	t.uid, err = strconv.Atoi(u.Uid)
	if err == nil {
		t.gid, err = strconv.Atoi(gid)
	}
	return t, err
}

// Spool implements migrate.Target.
func (t *Target) Spool(ctx context.Context, r io.Reader) (migrate.Spooled, error) {
	return migrate.SpoolBytes(ctx, r, "", 0)
}

// Open implements migrate.Target. A Maildir that is not there is made, the
// folders above it are not.
func (t *Target) Open(_ context.Context, u migrate.User) (migrate.TargetAccount, error) {
	a, err := t.account(u)
	if err != nil {
		return nil, err
	}
	if err := a.make(a.root); err != nil {
		return nil, err
	}
	return a, nil
}

// Look implements migrate.Looker.
func (t *Target) Look(_ context.Context, u migrate.User) (migrate.TargetAccount, error) {
	a, err := t.account(u)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(a.root, "cur")); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, mail.WrapError(mail.KindPermission, err, "looking at the Maildir of %s", u.Target)
	}
	return a, nil
}

// account returns an account whose Maildir may not be there.
func (t *Target) account(u migrate.User) (*account, error) {
	root := t.root(u.Target)
	if _, err := os.Stat(filepath.Dir(root)); err != nil {
		return nil, mail.WrapError(mail.KindNotExist, err, "there is no folder for the Maildir of %s", u.Target)
	}
	return &account{target: t, root: root, dirty: map[string]bool{}, known: map[string]known{}, ends: map[string]mail.UID{}}, nil
}

// root returns an account's Maildir. Its parts are those of an address, made
// safe as names of files.
func (t *Target) root(addr mail.Address) string {
	safe := func(s string) string {
		s = strings.NewReplacer("/", "_", "\x00", "_").Replace(s)
		if s == "" || s[0] == '.' {
			s = "_" + s
		}
		return s
	}
	return strings.NewReplacer("{address}", safe(string(addr)), "{local}", safe(addr.Local()), "{domain}", safe(addr.Domain())).Replace(t.cfg.Path)
}

// account is one Maildir++.
type account struct {
	target *Target
	root   string

	mu    sync.Mutex
	dirty map[string]bool     // folders whose files of Courier are to be made
	known map[string]known    // states, as long as nobody else writes
	ends  map[string]mail.UID // the last UID in lists that are sound

	buffers sync.Pool // *bufio.Writer
}

// known is the state of a folder, and what its directory looked like then.
type known struct {
	migrate.State
	marks [3]time.Time
}

// marks are the times of change of what a folder's state is made of: a mail that
// is delivered meanwhile changes one.
func marks(dir string) (out [3]time.Time) {
	for i, name := range []string{"new", "cur", uidFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			out[i] = info.ModTime()
		}
	}
	return out
}

// remember keeps the state that a change of our own left, unless mail came in
// meanwhile.
func (a *account) remember(name, dir string, s migrate.State) {
	k, ok := a.known[name]
	now := marks(dir)
	if delete(a.known, name); ok && k.marks[0] == now[0] {
		a.known[name] = known{s, now}
	}
}

var (
	_ migrate.TargetAccount = (*account)(nil)
	_ migrate.Namer         = (*account)(nil)
	_ migrate.Roleless      = (*account)(nil)
	_ migrate.Discarder     = (*account)(nil)
	_ migrate.Renamer       = (*account)(nil)
)

// Roleless implements migrate.Roleless.
func (a *account) Roleless() {}

// Name implements migrate.Namer: levels hold no ".".
func (a *account) Name(name string) string { return strings.ReplaceAll(name, ".", "_") }

// dir returns a folder's directory.
func (a *account) dir(name string) string {
	if name == mail.Inbox {
		return a.root
	}
	return filepath.Join(a.root, "."+a.wireName(name))
}

// wireName returns a folder's name as it is on the disk, "." between levels.
func (a *account) wireName(name string) string {
	levels := strings.Split(name, mail.Delimiter)
	if a.target.cfg.UTF8 {
		return strings.Join(levels, ".")
	}
	for i, level := range levels {
		levels[i] = string(imapwire.AppendUTF7(nil, level))
	}
	return strings.Join(levels, ".")
}

// make makes the directories of a folder.
func (a *account) make(dir string) error {
	_, err := os.Stat(filepath.Join(dir, "cur"))
	if err == nil {
		return nil
	}
	for _, d := range []string{dir, filepath.Join(dir, "tmp"), filepath.Join(dir, "new"), filepath.Join(dir, "cur")} {
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("making a Maildir: %w", err)
		}
		if err := a.own(d); err != nil {
			return err
		}
	}
	if dir != a.root {
		if err := a.write(filepath.Join(dir, "maildirfolder"), nil); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

// own gives a file to its owner.
func (a *account) own(path string) error {
	if a.target.uid < 0 {
		return nil
	}
	if err := os.Lchown(path, a.target.uid, a.target.gid); err != nil {
		return fmt.Errorf("giving %s to %s: %w", path, a.target.cfg.Owner, err)
	}
	return nil
}

// write writes a small file, whole or not at all.
func (a *account) write(path string, content []byte) error {
	return a.writeWith(path, func(w *bufio.Writer) error { _, err := w.Write(content); return err })
}

// writeWith writes a file that fn makes, whole or not at all.
func (a *account) writeWith(path string, fn func(w *bufio.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".expost-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	w := bufio.NewWriter(f)
	err = fn(w)
	err = errors.Join(err, w.Flush(), f.Chmod(0o600), f.Sync(), f.Close(), a.own(f.Name()))
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) // what is left is a dot file that nobody reads
		return mail.WrapError(diskKind(err), err, "writing %s", path)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close implements migrate.TargetAccount.
func (a *account) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for name := range a.dirty {
		errs = append(errs, a.writeCourier(name))
	}
	clear(a.dirty)
	return errors.Join(errs...)
}

// reader opens the Maildir as a source.
func (a *account) reader(ctx context.Context) (migrate.SourceAccount, []migrate.Folder, error) {
	src, err := files.New("", a.target.cfg.Log).Open(ctx, migrate.User{Source: a.root})
	if err != nil {
		return nil, nil, err
	}
	folders, err := src.Folders(ctx)
	return src, folders, err
}

// Folders implements migrate.TargetAccount.
func (a *account) Folders(ctx context.Context) ([]migrate.Folder, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, folders, err := a.reader(ctx)
	if err != nil {
		return nil, err
	}
	subscribed, err := a.subscriptions()
	if err != nil {
		return nil, err
	}
	for i := range folders {
		f := &folders[i]
		f.Key, f.Use, f.Subscribed = f.Name, mail.UseNone, subscribed[f.Name]
		if f.State, err = a.state(f.Name); err != nil {
			return nil, err
		}
	}
	return folders, nil
}

// state returns the state of a folder. Lines of the list of UIDs without a file
// do not count.
func (a *account) state(name string) (migrate.State, error) {
	dir := a.dir(name)
	now := marks(dir)
	if k, ok := a.known[name]; ok && k.marks == now {
		return k.State, nil
	}
	s, err := a.look(dir)
	if delete(a.known, name); err == nil {
		a.known[name] = known{s, now}
	}
	return s, err
}

// look reads the state of a folder.
func (a *account) look(dir string) (migrate.State, error) {
	s, uids, err := files.MaildirState(dir)
	if err != nil || len(uids) == 0 {
		s.UIDNext = max(s.UIDNext, 1)
		return s, err
	}
	next, err := headerNext(dir)
	if err != nil {
		return s, err
	}
	err = eachFile(dir, func(_, name string) {
		base, _, _ := strings.Cut(name, ":")
		if uid, listed := uids[base]; listed {
			next = max(next, uid+1)
		}
	})
	if err == nil {
		err = eachFile(dir, func(_, name string) { // what was delivered meanwhile has the next UIDs
			if base, _, _ := strings.Cut(name, ":"); uids[base] == 0 {
				next++
			}
		})
	}
	s.UIDNext = max(next, 1)
	return s, err
}

// eachFile calls fn with the messages of a folder: the directory they are in, and
// the file.
func eachFile(dir string, fn func(sub, name string)) error {
	for _, sub := range []string{"cur", "new"} {
		d, err := os.Open(filepath.Join(dir, sub))
		if err != nil {
			return err
		}
		for err == nil {
			var names []string
			names, err = d.Readdirnames(1024)
			for _, name := range names {
				if name[0] != '.' {
					fn(sub, name)
				}
			}
		}
		if d.Close(); err != io.EOF {
			return err
		}
	}
	return nil
}

// present returns the paths of messages below dir by file name without flags.
func present(dir string) (map[string]string, error) {
	out := map[string]string{}
	err := eachFile(dir, func(sub, name string) {
		base, _, _ := strings.Cut(name, ":")
		out[base] = filepath.Join(sub, name)
	})
	return out, err
}

// headerNext reads UIDNEXT from the first line of dovecot-uidlist.
func headerNext(dir string) (mail.UID, error) {
	f, err := os.Open(filepath.Join(dir, uidFile))
	if errors.Is(err, os.ErrNotExist) {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	for _, w := range strings.Fields(line) {
		if rest, ok := strings.CutPrefix(w, "N"); ok {
			n, _ := strconv.ParseUint(rest, 10, 32) // 0 where it is no number
			return max(mail.UID(n), 1), nil
		}
	}
	if err == io.EOF {
		err = nil
	}
	return 1, err
}

// subscriptions reads the names of subscribed folders.
func (a *account) subscriptions() (map[string]bool, error) {
	out := map[string]bool{}
	b, err := os.ReadFile(filepath.Join(a.root, "subscriptions"))
	if errors.Is(err, os.ErrNotExist) {
		return out, nil
	}
	delimiter := "."
	for i, line := range strings.Split(string(b), "\n") {
		if i == 0 && strings.HasPrefix(line, "V\t2") {
			delimiter = "\t"
			continue
		}
		name, ok := line, true
		if !a.target.cfg.UTF8 {
			name, ok = imapwire.DecodeUTF7(line)
		}
		if ok && line != "" {
			out[strings.ReplaceAll(name, delimiter, mail.Delimiter)] = true
		}
	}
	return out, err
}

// subscribe writes both lists of subscriptions.
func (a *account) subscribe(name string, on bool) error {
	list, err := a.subscriptions()
	if err != nil || list[name] == on {
		return err
	}
	delete(list, name)
	if on {
		list[name] = true
	}
	var dovecot, courier bytes.Buffer
	for _, name := range sorted(list) {
		wire := a.wireName(name)
		fmt.Fprintln(&dovecot, wire)
		if name == mail.Inbox {
			fmt.Fprintln(&courier, wire)
		} else {
			fmt.Fprintln(&courier, "INBOX."+wire)
		}
	}
	return errors.Join(a.write(filepath.Join(a.root, "subscriptions"), dovecot.Bytes()),
		a.write(filepath.Join(a.root, "courierimapsubscribed"), courier.Bytes()))
}
