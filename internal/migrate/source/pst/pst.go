// Package pst is a migration's source that is a file of Outlook: personal
// folders (PST), offline folders (OST) or a personal address book (PAB).
//
// Special folders are found by their entry ids, never by their names in some
// language; names help only where a file has no ids, as exports of Exchange
// often have none for the inbox. Items are known by their node ids, so that a
// file that was copied before costs a look at its date and nothing else.
//
// Items are converted by package mapi: all that mail cannot hold stays in the
// file, which is not written to.
package pst

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/mapi"
	"expost/mapi/codepage"
	"expost/pst"
)

// Config says how files are read. The zero Config is good.
type Config struct {
	Dir string // where relative paths start

	// Codepage is that of 8-bit text in files that do not name one. 0 is what
	// most of their items name.
	Codepage int

	// Recover also brings what was deleted and is not yet overwritten.
	Recover bool

	// Resolve returns the SMTP address of an address that a file has in an
	// Exchange form, "" where it is not known.
	Resolve func(mapi.Address) string

	// Rest has the properties that mail cannot hold come with the items, for the
	// ledger.
	Rest bool

	Log *slog.Logger
}

// Source reads accounts from files; User.Source is a path.
type Source struct{ Config }

var (
	_ migrate.Source        = (*Source)(nil)
	_ migrate.SourceAccount = (*account)(nil)
)

// New returns a source.
func New(c Config) *Source { return &Source{c} }

// Open implements migrate.Source.
func (s *Source) Open(ctx context.Context, u migrate.User) (migrate.SourceAccount, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path := u.Source
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.Dir, path)
	}
	disk, err := os.Open(path)
	if err != nil {
		return nil, openError(u.Source, err)
	}
	a, err := s.open(disk, u)
	if err != nil {
		disk.Close()
		return nil, err
	}
	return a, nil
}

// openError gives an error of the file system its kind and says what to do.
func openError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mail.Errorf(mail.KindNotExist, "there is no file %s", path)
	case errors.Is(err, fs.ErrPermission):
		return mail.WrapError(mail.KindPermission, err, "%s may not be read (let the user that runs this read it)", path)
	}
	return fmt.Errorf("opening %s: %w", path, err)
}

func (s *Source) open(disk *os.File, u migrate.User) (*account, error) {
	info, err := disk.Stat()
	if err != nil {
		return nil, openError(u.Source, err)
	}
	if info.IsDir() {
		return nil, mail.Errorf(mail.KindInvalid, "%s is a folder: name the PST file", u.Source)
	}
	a := &account{Source: s, user: u, disk: &watched{r: disk}, file: disk, page: s.Codepage, log: s.Log.With("source", u.Source), known: map[mapi.Address]string{}}
	a.version = uint64(info.ModTime().UnixNano())&^3 | 1
	a.pst, err = pst.Open(a.disk, info.Size(), pst.Options{
		Report: func(err error) {
			a.log.Warn("the file is damaged; what can be read of it is used", "place", err)
			a.damaged(err.Error())
		},
		Decode: func(b []byte) string { return codepage.Decode(a.page, b) },
	})
	switch {
	case errors.Is(err, pst.ErrFormat), errors.Is(err, pst.ErrProtected), errors.Is(err, pst.ErrTruncated):
		return nil, mail.WrapError(mail.KindInvalid, err, "%s cannot be read: %v", u.Source, err)
	case err != nil:
		return nil, fmt.Errorf("opening %s: %w", u.Source, err)
	}
	if s.Recover {
		if a.pst, err = a.pst.Recover(); err != nil {
			return nil, fmt.Errorf("looking for deleted items in %s: %w", u.Source, err)
		}
		a.version |= 2
	}
	if a.page == 0 {
		a.page = pageOf(a.pst)
	}
	return a, nil
}

// pageOf returns the code page of a file's 8-bit text: what the store says,
// else what most of the first items say.
func pageOf(f *pst.File) int {
	if p, err := f.Store(); err == nil {
		if cp := mapi.Codepage(p, 0); cp != 0 {
			return cp
		}
	}
	const enough = 200
	votes, n := map[int]int{}, 0
	for d, err := range f.Folders() {
		if err != nil {
			continue
		}
		for m, err := range d.Messages() {
			if n++; n > enough {
				break
			}
			if err == nil {
				votes[mapi.Codepage(m, 0)]++
			}
		}
	}
	best := 1252
	for cp, v := range votes {
		if cp != 0 && (v > votes[best] || v == votes[best] && cp < best) {
			best = cp
		}
	}
	return best
}

// account is one open file.
type account struct {
	*Source
	user    migrate.User
	disk    *watched
	file    *os.File
	pst     *pst.File
	page    int
	log     *slog.Logger
	version uint64 // of the file: another one where it was written to
	folders []folder

	mu         sync.Mutex
	known      map[mapi.Address]string // what Resolve said
	unresolved int
	damage     []string
	more       int // than are in damage
}

var _ migrate.Damaged = (*account)(nil)

// maxDamage bounds what is kept of damage.
const maxDamage = 1000

func (a *account) damaged(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.damage) < maxDamage {
		a.damage = append(a.damage, text)
	} else {
		a.more++
	}
}

// Damage implements migrate.Damaged.
func (a *account) Damage() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.more == 0 {
		return slices.Clone(a.damage)
	}
	return append(slices.Clone(a.damage), fmt.Sprintf("%d more places (expost pst check lists them all)", a.more))
}

// Close implements migrate.SourceAccount.
func (a *account) Close() error {
	if a.unresolved > 0 {
		a.log.Warn("some addresses are in an Exchange form that no directory entry has: they became IMCEAEX-… addresses, which work once the entries have them",
			"addresses", a.unresolved)
	}
	return a.file.Close()
}

// watched remembers the error of a file that cannot be read any more: it is
// not damage, and ends the reading.
type watched struct {
	r  io.ReaderAt
	mu sync.Mutex
	e  error
}

// ReadAt reads.
func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.r.ReadAt(p, off)
	if err != nil && err != io.EOF {
		w.mu.Lock()
		w.e = err
		w.mu.Unlock()
	}
	return n, err
}

// err returns the error, and nil the next time.
func (w *watched) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.e
	w.e = nil
	if err != nil {
		return mail.WrapError(mail.KindUnavailable, err, "the PST file cannot be read any more: %v", err)
	}
	return nil
}
