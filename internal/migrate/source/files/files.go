// Package files is a migration's source that is files: Maildir and Maildir++
// (with the UIDs, keywords and subscriptions of Dovecot and Courier), mbox files
// and trees of them, and trees of .eml and Outlook's .msg files. What a path is, is found out by
// looking. Nothing is written.
package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// Source reads accounts from files; User.Source is a path.
type Source struct {
	dir string
	log *slog.Logger
}

var (
	_ migrate.Source   = (*Source)(nil)
	_ migrate.Measurer = (*account)(nil)
)

// New returns a source. Relative paths start at dir. Files that are no mail
// are told to log.
func New(dir string, log *slog.Logger) *Source { return &Source{dir, log} }

// Open implements migrate.Source.
func (s *Source) Open(_ context.Context, u migrate.User) (migrate.SourceAccount, error) {
	path := u.Source
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, path)
	}
	boxes, others, err := detect(path)
	if err != nil {
		return nil, err
	}
	if len(others) > 0 {
		s.log.Warn("files that are no mail were passed over", "path", u.Source, "files", len(others), "first", others[0])
	}
	for _, b := range boxes {
		if e, ok := b.box.(*emlBox); ok {
			e.domain = u.Target.Domain()
		}
	}
	return &account{boxes: boxes}, nil
}

// box is a folder of messages in some format.
type box interface {
	// scan returns all items in the order in which they are to be copied.
	scan() (migrate.State, []migrate.Item, error)
	// open returns the bytes of an item, line ends as they are in the file.
	open(it migrate.Item) (io.ReadCloser, error)
}

// found is a folder that detect found.
type found struct {
	migrate.Folder
	box box // nil where NoItems
}

// account is the folders below one path.
type account struct{ boxes []found }

// Close implements migrate.SourceAccount.
func (a *account) Close() error { return nil }

// Folders implements migrate.SourceAccount.
func (a *account) Folders(context.Context) ([]migrate.Folder, error) {
	out := make([]migrate.Folder, len(a.boxes))
	for i, b := range a.boxes {
		out[i] = b.Folder
	}
	return out, nil
}

// box returns the box of a folder.
func (a *account) box(f migrate.Folder) (box, error) {
	i := slices.IndexFunc(a.boxes, func(b found) bool { return b.Key == f.Key })
	if i < 0 || a.boxes[i].box == nil {
		return nil, mail.Errorf(mail.KindNotExist, "there is no folder %q", f.Name)
	}
	return a.boxes[i].box, nil
}

// Measure implements migrate.Measurer.
func (a *account) Measure(_ context.Context, f migrate.Folder) (messages int, bytes int64, err error) {
	b, err := a.box(f)
	if err != nil {
		return 0, 0, err
	}
	_, items, err := b.scan()
	if err != nil {
		return 0, -1, fmt.Errorf("measuring %q: %w", f.Name, readError(err))
	}
	for _, it := range items {
		bytes += it.Size
	}
	return len(items), bytes, nil
}

// Scan implements migrate.SourceAccount. It always yields everything.
func (a *account) Scan(ctx context.Context, f migrate.Folder, _ migrate.State, yield func([]migrate.Item) error) (migrate.Scanned, error) {
	b, err := a.box(f)
	if err != nil {
		return migrate.Scanned{}, err
	}
	state, items, err := b.scan()
	if err != nil {
		return migrate.Scanned{}, readError(err)
	}
	if state.UIDValidity != f.State.UIDValidity {
		return migrate.Scanned{}, mail.Errorf(mail.KindConflict, "the folder's UIDVALIDITY changed from %d to %d", f.State.UIDValidity, state.UIDValidity)
	}
	for batch := range slices.Chunk(items, migrate.ScanBatch) {
		if err := ctx.Err(); err != nil {
			return migrate.Scanned{}, err
		}
		if err := yield(batch); err != nil {
			return migrate.Scanned{}, err
		}
	}
	return migrate.Scanned{State: state}, nil
}

// Fetch implements migrate.SourceAccount.
func (a *account) Fetch(ctx context.Context, f migrate.Folder, items []migrate.Item, fn func(migrate.Item, io.Reader, error) error) error {
	b, err := a.box(f)
	if err != nil {
		return err
	}
	for _, it := range items {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fetch(b, it, fn); err != nil {
			return err
		}
	}
	return nil
}

// fetch passes one item on. A file that breaks while it is read is given with
// what there was of it.
func fetch(b box, it migrate.Item, fn func(migrate.Item, io.Reader, error) error) error {
	r, err := b.open(it)
	if err != nil {
		return fn(it, nil, &migrate.ItemError{Gone: errors.Is(err, fs.ErrNotExist), Err: readError(err)})
	}
	defer r.Close()
	watched := &watchedReader{r: r}
	err = fn(it, newCRLFReader(watched), nil)
	if err == nil || watched.err == nil {
		return err
	}
	broken := &migrate.ItemError{Err: readError(watched.err)}
	again, err := b.open(it)
	if err != nil {
		return fn(it, nil, broken)
	}
	defer again.Close()
	var part bytes.Buffer
	io.Copy(&part, io.LimitReader(newCRLFReader(again), 32<<20)) // as far as it goes
	return fn(it, &part, broken)
}

// watchedReader remembers the error of what it reads.
type watchedReader struct {
	r   io.Reader
	err error
}

// Read reads.
func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// readError gives an error of the file system its kind.
func readError(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return mail.WrapError(mail.KindPermission, err, "the files may not be read (let the user that runs this read them)")
	case errors.Is(err, fs.ErrNotExist):
		return mail.WrapError(mail.KindNotExist, err, "the files are not there any more")
	}
	return err
}

// detect finds out what path is and returns its folders, INBOX first, and the
// files that are no mail.
func detect(path string) (boxes []found, others []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, mail.Errorf(mail.KindNotExist, "there is no %s", path)
		}
		return nil, nil, readError(err)
	}
	if info.IsDir() {
		if isMaildir(path) {
			boxes, err = maildirTree(path)
		} else {
			boxes, others, err = fileTree(path)
		}
	} else {
		boxes, err = singleFile(path)
	}
	if err != nil {
		return nil, nil, readError(err)
	}
	for i := range boxes { // keys that stay what they are where the whole is moved
		if boxes[i].Key, err = filepath.Rel(path, boxes[i].Key); err != nil {
			return nil, nil, fmt.Errorf("finding the place of a folder in %s: %w", path, err)
		}
	}
	if len(boxes) == 0 {
		return nil, nil, mail.Errorf(mail.KindInvalid, "%s holds no mail: neither a Maildir nor mbox nor .eml files", path)
	}
	slices.SortStableFunc(boxes, func(x, y found) int {
		if (x.Name == mail.Inbox) != (y.Name == mail.Inbox) {
			if x.Name == mail.Inbox {
				return -1
			}
			return 1
		}
		return strings.Compare(x.Name, y.Name)
	})
	return guessed(boxes), others, nil
}

// guessed gives folders roles by their names.
func guessed(boxes []found) []found {
	folders := make([]migrate.Folder, len(boxes))
	for i, b := range boxes {
		folders[i] = b.Folder
	}
	migrate.GuessUses(folders)
	for i := range boxes {
		boxes[i].Folder = folders[i]
	}
	return boxes
}

// singleFile is a path that is one file.
func singleFile(path string) ([]found, error) {
	switch kind, err := fileKind(path); {
	case err != nil:
		return nil, err
	case kind == kindMbox:
		return []found{mboxFolder(path, strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), path)}, nil
	case kind == kindEML:
		dir, name := filepath.Split(path)
		return []found{{folder(mail.Inbox, path), &emlBox{dir: dir, names: []string{name}}}}, nil
	case kind == kindPST:
		return nil, mail.Errorf(mail.KindInvalid, "%s is an Outlook data file (PST), which is not a source of kind \"files\"", path)
	}
	return nil, nil
}

// folder returns a folder with nothing known of its contents.
func folder(name, key string) migrate.Folder {
	if strings.EqualFold(name, mail.Inbox) {
		name = mail.Inbox
	}
	return migrate.Folder{Key: key, Name: name, Subscribed: true, State: migrate.State{Messages: -1, Bytes: -1}}
}

// kind is what a file is.
type kind uint8

const (
	kindOther kind = iota
	kindMbox
	kindEML
	kindPST
)

// fileKind looks at a file's name and first bytes.
func fileKind(path string) (kind, error) {
	f, err := os.Open(path)
	if err != nil {
		return kindOther, err
	}
	defer f.Close()
	start := make([]byte, 4096)
	n, err := io.ReadFull(f, start)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return kindOther, fmt.Errorf("reading %s: %w", path, err)
	}
	start = bytes.TrimPrefix(start[:n], []byte("\xef\xbb\xbf"))
	name := strings.ToLower(filepath.Base(path))
	switch {
	case bytes.HasPrefix(start, []byte("!BDN")):
		return kindPST, nil
	case strings.HasSuffix(name, ".eml"), isMSG(name, start):
		return kindEML, nil
	case bytes.HasPrefix(start, []byte("From ")):
		return kindMbox, nil
	case isNumber(strings.TrimSuffix(name, ".")) && looksLikeHeader(start): // MH, Cyrus
		return kindEML, nil
	case n == 0 && (filepath.Ext(name) == ".mbox" || filepath.Ext(name) == ""): // an empty folder of Thunderbird
		return kindMbox, nil
	}
	return kindOther, nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// looksLikeHeader tells whether b starts with a header field.
func looksLikeHeader(b []byte) bool {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	name, _, ok := bytes.Cut(line, []byte(":"))
	return ok && len(name) > 0 && !bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}
