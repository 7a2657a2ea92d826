package redo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Disk is the file system that a Journal works on. Tests have one that fails
// and forgets.
type Disk interface {
	// Open opens a file for reading and writing; fs.ErrNotExist where it is
	// missing and not to be made.
	Open(name string, create bool) (DiskFile, error)
	// Remove removes a file; fs.ErrNotExist where it is missing.
	Remove(name string) error
	// SyncDir makes the names in a folder durable; fs.ErrNotExist.
	SyncDir(name string) error
	// Identity tells a file from any other that has had its name; fs.ErrNotExist.
	Identity(name string) (Identity, error)
}

// DiskFile is an open file of a Disk.
type DiskFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Sync makes what was written, and the size, durable.
	Sync() error
}

// Identity is what two files never share, even if one takes the place of the
// other: the inode, and when it was made, in nanoseconds (0 where the file
// system does not know), since inodes are used again.
type Identity struct {
	Inode uint64
	Born  int64
}

// osDisk is the Disk of the operating system.
type osDisk struct{}

// osFile is a file of an osDisk.
type osFile struct{ *os.File }

// Open implements Disk.
func (osDisk) Open(name string, create bool) (DiskFile, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Remove implements Disk.
func (osDisk) Remove(name string) error { return os.Remove(name) }

// SyncDir implements Disk.
func (osDisk) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Identity implements Disk.
func (osDisk) Identity(name string) (Identity, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, name, 0, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return Identity{}, &fs.PathError{Op: "statx", Path: name, Err: err}
	}
	id := Identity{Inode: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return id, nil
}

// Size implements DiskFile.
func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Sync implements DiskFile.
func (f osFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("syncing %s: %w", f.Name(), err)
		}
	}
}
