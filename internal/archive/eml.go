package archive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// eml is a tree of folders with a file for each message, as it is. The time of a
// file is that of its message.
type eml struct {
	root, dir string
	n         int
	buf       []byte
}

func newEML(path string) (writer, error) {
	return &eml{root: path, buf: make([]byte, 256<<10)}, os.MkdirAll(path, 0o700)
}

func (e *eml) folder(f migrate.Folder) error {
	levels := strings.Split(f.Name, mail.Delimiter)
	for i := range levels {
		levels[i] = levelName(levels[i])
	}
	e.dir, e.n = filepath.Join(e.root, filepath.Join(levels...)), 0
	return os.MkdirAll(e.dir, 0o700)
}

func (e *eml) add(it migrate.Item, r io.Reader) error {
	e.n++
	path := filepath.Join(e.dir, fmt.Sprintf("%06d.eml", e.n))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, r, e.buf) // a file would make a buffer of its own each time
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if it.Date != (mail.Date{}) {
		at := it.Date.Time()
		return os.Chtimes(path, at, at)
	}
	return nil
}

func (e *eml) close() error { return syncTree(e.root) }
