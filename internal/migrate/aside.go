package migrate

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
)

// aside is the folder of the raw bytes of items that were set aside.
type aside struct{ dir string }

// path returns the file of an item.
func (a aside) path(account, folder int64, key string) string {
	name := url.PathEscape(key)
	if len(name) > 200 { // of a path, the end says more
		name = name[len(name)-200:]
	}
	return filepath.Join(a.dir, fmt.Sprintf("%d-%d", account, folder), name+".eml")
}

// put writes the bytes of an item, on disk when it returns.
func (a aside) put(account, folder int64, key string, open func() (io.Reader, error)) (err error) {
	path := a.path(account, folder, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("making the folder for what is set aside: %w", err)
	}
	r, err := open()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("setting an item aside: %w", err)
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("setting an item aside in %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("setting an item aside: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("setting an item aside in %s: %w", dir, err)
	}
	return nil
}
