package files

import (
	"cmp"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// fileTree returns the folders of a tree: a directory with .eml files (or the
// numbered files of MH and Cyrus) is a folder, an mbox file is one, a Maildir
// with its folders too. The levels "A.sbd" of Thunderbird are A. others are the
// files that are none of these, what mail programs keep beside mail aside.
func fileTree(root string) (boxes []found, others []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := treeName(rel)
		switch {
		case d.IsDir() && path != root && isMaildir(path):
			below, err := maildirTree(path)
			for _, b := range below {
				b.Name = strings.TrimSuffix(name+mail.Delimiter+strings.TrimPrefix(b.Name, mail.Inbox), mail.Delimiter)
				boxes = append(boxes, b)
			}
			if err != nil {
				return err
			}
			return fs.SkipDir
		case d.IsDir():
			box, err := emlDirectory(path, name)
			if box != nil {
				boxes = append(boxes, *box)
			}
			return err
		case d.Type().IsRegular():
			kind, err := fileKind(path)
			if err != nil {
				return err
			}
			if kind == kindMbox {
				boxes = append(boxes, mboxFolder(path, strings.TrimSuffix(name, ".mbox"), path))
			} else if kind != kindEML && !isByproduct(d.Name()) {
				others = append(others, rel)
			}
		}
		return nil
	})
	return merged(boxes), others, err
}

// isByproduct tells whether a mail program keeps a file of this name beside
// mail.
func isByproduct(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "cyrus.") || strings.HasPrefix(name, "dovecot") ||
		slices.Contains([]string{".msf", ".dat", ".cmeta", ".ibex", ".index"}, filepath.Ext(name))
}

// treeName turns a path below the root into a folder's name; the root itself
// is INBOX.
func treeName(rel string) string {
	if rel == "." {
		return mail.Inbox
	}
	levels := strings.Split(filepath.ToSlash(rel), "/")
	for i, level := range levels {
		levels[i] = strings.ToValidUTF8(strings.TrimSuffix(level, ".sbd"), "_")
	}
	return strings.Join(levels, mail.Delimiter)
}

// merged gives folders of one name (an mbox file beside a directory) different
// ones.
func merged(boxes []found) []found {
	taken := map[string]bool{}
	for i := range boxes {
		name := boxes[i].Name
		for taken[name] {
			name += "_"
		}
		taken[name] = true
		boxes[i].Name = name
	}
	return boxes
}

// emlBox is a directory of files with one message each.
type emlBox struct {
	dir    string
	names  []string
	domain string // of the account, for addresses in .msg files
}

// emlDirectory returns the box of a directory's own message files, or nil.
func emlDirectory(dir, name string) (*found, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	b := &emlBox{dir: dir}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		kind, err := fileKind(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if kind == kindEML {
			b.names = append(b.names, e.Name())
		}
	}
	if len(b.names) == 0 {
		return nil, nil
	}
	slices.SortFunc(b.names, naturally)
	f := folder(name, dir)
	f.State.Messages = len(b.names)
	return &found{f, b}, nil
}

// naturally orders numbered files by number, others by name.
func naturally(x, y string) int {
	nx, ny := strings.TrimSuffix(x, "."), strings.TrimSuffix(y, ".")
	if isNumber(nx) && isNumber(ny) {
		return cmp.Or(cmp.Compare(len(nx), len(ny)), strings.Compare(nx, ny))
	}
	return strings.Compare(x, y)
}

// headSize is how much of a file is read for its date and marks.
const headSize = 64 << 10

// scan implements box. The date is that of the topmost Received field or of
// Date, else that of the file. A message counts as read, since nothing says
// otherwise and people have it for long; one that was never sent
// ("X-Unsent: 1" of Outlook Express) is a draft.
func (b *emlBox) scan() (migrate.State, []migrate.Item, error) {
	items := make([]migrate.Item, 0, len(b.names))
	for _, name := range b.names {
		it, err := b.item(name)
		if err != nil {
			return migrate.State{}, nil, err
		}
		items = append(items, it)
	}
	return migrate.State{Messages: len(items), Bytes: -1}, items, nil
}

func (b *emlBox) item(name string) (migrate.Item, error) {
	if isMSG(name, nil) {
		return b.msgItem(name)
	}
	it := migrate.Item{Key: name, Flags: mail.Seen}
	f, err := os.Open(filepath.Join(b.dir, name))
	if err != nil {
		return it, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return it, err
	}
	head := make([]byte, min(headSize, info.Size()))
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return it, nil // Fetch says what is wrong with this one file
	}
	it.Size = info.Size()
	var ok bool
	if it.Date, ok = migrate.HeaderDate(head[:n]); !ok {
		it.Date = mail.DateOf(info.ModTime())
	}
	for _, field := range headFields(head[:n]) {
		if strings.EqualFold(strings.ReplaceAll(field, " ", ""), "x-unsent:1") {
			it.Flags |= mail.Draft
		}
	}
	return it, nil
}

// headFields returns the lines of a header.
func headFields(head []byte) []string {
	header, _, _ := strings.Cut(strings.ReplaceAll(string(head), "\r\n", "\n"), "\n\n")
	return strings.Split(header, "\n")
}

// open implements box.
func (b *emlBox) open(it migrate.Item) (io.ReadCloser, error) {
	if isMSG(it.Key, nil) {
		return b.openMSG(it.Key)
	}
	return os.Open(filepath.Join(b.dir, it.Key))
}
