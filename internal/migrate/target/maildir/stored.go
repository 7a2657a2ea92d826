package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// stored is a message that the Maildir has in a folder: its file is linked.
type stored struct {
	folder string
	uid    mail.UID
	hash   migrate.Hash
}

// Hash implements migrate.Spooled.
func (s stored) Hash() migrate.Hash { return s.hash }

// Close implements migrate.Spooled.
func (s stored) Close() error { return nil }

// Stored implements migrate.TargetAccount.
func (a *account) Stored(_ context.Context, folder string, hashes map[mail.UID]migrate.Hash) (map[mail.UID]migrate.Spooled, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	paths, err := a.byUID(a.dir(folder))
	if err != nil {
		return nil, err
	}
	out := make(map[mail.UID]migrate.Spooled, len(hashes))
	for uid, hash := range hashes {
		if paths[uid] != "" {
			out[uid] = stored{folder, uid, hash}
		}
	}
	return out, nil
}

// links returns the files that messages share, by their indexes; names change
// with flags, so they are looked up at the last moment.
func (a *account) links(msgs []migrate.Message) (map[int]string, error) {
	out := map[int]string{}
	folders := map[string]map[mail.UID]string{}
	for i := range msgs {
		s, ok := msgs[i].Body.(stored)
		if !ok {
			continue
		}
		if folders[s.folder] == nil {
			paths, err := a.byUID(a.dir(s.folder))
			if err != nil {
				return nil, err
			}
			folders[s.folder] = paths
		}
		path := folders[s.folder][s.uid]
		if path == "" {
			return nil, mail.Errorf(mail.KindTemporary, "message %d of %q is not there any more", s.uid, s.folder)
		}
		out[i] = filepath.Join(a.dir(s.folder), path)
	}
	return out, nil
}

// linkMessage is writeMessage for a message whose bytes are in another file. The
// file has its time already.
func (a *account) linkMessage(dir string, m *migrate.Message, from string) (written, error) {
	name, _ := a.fileName(m)
	path := filepath.Join(dir, "tmp", name)
	if err := os.Link(from, path); err != nil {
		return written{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return written{}, err
	}
	base, _, _ := strings.Cut(filepath.Base(from), ":")
	if _, sizes, ok := strings.Cut(base, ",S="); ok {
		name += ",S=" + sizes
	}
	return written{path, name, info.Size()}, nil
}

// Discard implements migrate.Discarder.
func (a *account) Discard(_ context.Context, folder string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	dir := a.dir(folder)
	if dir == a.root {
		return mail.Errorf(mail.KindConflict, "INBOX cannot be deleted")
	}
	below, err := filepath.Glob(escapeGlob(dir) + ".*")
	if err != nil || len(below) > 0 {
		return errors.Join(err, mail.Errorf(mail.KindConflict, "%q has folders below it", folder))
	}
	there, err := present(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return mail.Errorf(mail.KindConflict, "%q holds messages", folder)
	}
	if err := a.subscribe(folder, false); err != nil {
		return err
	}
	delete(a.dirty, folder)
	delete(a.known, folder)
	delete(a.ends, folder)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("deleting a folder of the Maildir: %w", err)
	}
	return syncDir(a.root)
}

// escapeGlob makes a path match itself alone.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// Rename implements migrate.Renamer. A crash may leave some of the folders below
// under their old names, each of them whole.
func (a *account) Rename(_ context.Context, from, to string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	dir, target := a.dir(from), a.dir(to)
	switch {
	case dir == a.root || target == a.root || strings.HasPrefix(to, from+mail.Delimiter):
		return mail.Errorf(mail.KindInvalid, "%q cannot become %q", from, to)
	case exists(target):
		return mail.Errorf(mail.KindExist, "a folder %q is there", to)
	case !exists(dir):
		return mail.Errorf(mail.KindNotExist, "there is no folder %q", from)
	}
	below, err := filepath.Glob(escapeGlob(dir) + ".*")
	if err != nil {
		return err
	}
	for i := range to {
		if above := to[:i]; to[i:i+1] == mail.Delimiter && above != mail.Inbox {
			if err := a.make(a.dir(above)); err != nil {
				return err
			}
		}
	}
	for _, old := range append([]string{dir}, below...) {
		if err := os.Rename(old, target+strings.TrimPrefix(old, dir)); err != nil {
			return mail.WrapError(mail.KindUnavailable, err, "renaming a folder of the Maildir")
		}
	}
	clear(a.known)
	if err := syncDir(a.root); err != nil {
		return err
	}
	return a.renameListed(from, to)
}

// exists tells whether a folder of the Maildir is there.
func exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cur"))
	return err == nil
}

// renameListed renames a folder, and those below it, where they are listed.
func (a *account) renameListed(from, to string) error {
	renamed := func(name string) (string, bool) {
		rest, ok := strings.CutPrefix(name+mail.Delimiter, from+mail.Delimiter)
		return strings.TrimSuffix(to+mail.Delimiter+rest, mail.Delimiter), ok
	}
	list, err := a.subscriptions()
	if err != nil {
		return err
	}
	for name := range list {
		if now, ok := renamed(name); ok {
			if err := errors.Join(a.subscribe(now, true), a.subscribe(name, false)); err != nil {
				return err
			}
		}
	}
	for name := range a.dirty {
		if now, ok := renamed(name); ok {
			delete(a.dirty, name)
			a.dirty[now] = true
		}
	}
	return nil
}
