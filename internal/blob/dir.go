package blob

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Sum is the SHA-256 of a blob's content. It names the blob.
type Sum [32]byte

// String returns the sum in hexadecimal.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// suffix ends the names of blob files, so that tools know them.
const suffix = ".zst"

// Dir is a folder of blob files, aa/aabbcc….zst, each named by its Sum. A file
// is complete and on disk before it has its name, and never changes.
type Dir string

// path returns the folder and the file name of a blob.
func (d Dir) path(sum Sum) (folder, file string) {
	name := sum.String()
	folder = filepath.Join(string(d), name[:2])
	return folder, filepath.Join(folder, name+suffix)
}

// Link gives the synced file at path the name of sum in d, beside the one it
// has, and syncs the folders it changes. A blob that is there already is kept;
// made tells whether it was not.
func (d Dir) Link(path string, sum Sum) (made bool, err error) {
	folder, file := d.path(sum)
	err = os.Link(path, file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeFolders(folder); err != nil {
			return false, err
		}
		err = os.Link(path, file)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return false, SyncDir(folder)
	case errors.Is(err, syscall.EMLINK), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP):
		err = copyFile(path, file) // as many links as the file system takes, or it takes none
	}
	if err != nil {
		return false, fmt.Errorf("linking blob %s: %w", sum, err)
	}
	return true, SyncDir(folder)
}

// copyFile copies a file to one that appears complete and synced or not at all.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(from), "copy-*") // in the spool, which is emptied after a crash
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// makeFolders makes folder and its missing parent, and syncs what holds them.
func makeFolders(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("making the folder of a blob: %w", err)
	}
	parent := filepath.Dir(folder)
	if err := SyncDir(parent); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(parent))
}

// Open opens a blob's file; fs.ErrNotExist where it is missing.
func (d Dir) Open(sum Sum) (*os.File, error) {
	_, file := d.path(sum)
	return os.Open(file)
}

// Remove removes a blob's file. One that is missing is no error.
func (d Dir) Remove(sum Sum) error {
	_, file := d.path(sum)
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing blob %s: %w", sum, err)
	}
	return nil
}

// All yields the sums of the blobs in d in order, and with an error each file
// that does not belong there.
func (d Dir) All() iter.Seq2[Sum, error] {
	return func(yield func(Sum, error) bool) {
		err := filepath.WalkDir(string(d), func(path string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case e.IsDir():
				return nil
			}
			sum, ok := parseName(e.Name())
			if _, file := d.path(sum); !ok || file != path {
				err = fmt.Errorf("%s is not the name of a blob", path)
			}
			if !yield(sum, err) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Sum{}, err)
		}
	}
}

// parseName returns the sum that a file is named by.
func parseName(name string) (Sum, bool) {
	var sum Sum
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 2*len(sum) {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(digits))
	return sum, err == nil
}

// SyncDir makes the names in a folder durable.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing a folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing folder %s: %w", path, err)
	}
	return nil
}
