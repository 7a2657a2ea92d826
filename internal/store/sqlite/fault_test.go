package sqlite_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// faultVFS is the operating system's VFS under dir with a disk that can fail,
// and of which one can see what a power cut would leave.
type faultVFS struct {
	vfs.VFS
	name string
	dir  string
	fail atomic.Pointer[error] // of every write and sync, where set

	mu    sync.Mutex
	files map[string]*disk
}

// disk is what is known of a file: what was synced, and what was written since.
type disk struct {
	synced  []byte
	pending []diskWrite
}

// diskWrite is a write, or where data is nil a truncation to off.
type diskWrite struct {
	off  int64
	data []byte
}

var faultVFSes atomic.Int64

// newFaultVFS registers a faultVFS for the life of a test.
func newFaultVFS(t *testing.T, dir string) *faultVFS {
	f := &faultVFS{
		VFS: vfs.Find("os"), name: fmt.Sprintf("fault%d", faultVFSes.Add(1)), dir: dir, files: make(map[string]*disk),
	}
	vfs.Register(f.name, f)
	t.Cleanup(func() { vfs.Unregister(f.name) })
	return f
}

// OpenFilename implements vfs.VFSFilename.
func (v *faultVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil || flags&(vfs.OPEN_MAIN_DB|vfs.OPEN_WAL) == 0 {
		return file, flags, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.files[name.String()] == nil {
		data, err := os.ReadFile(name.String()) // synced when it was made
		if err != nil {
			return nil, flags, errors.Join(err, file.Close())
		}
		v.files[name.String()] = &disk{synced: data}
	}
	return &faultFile{File: file, vfs: v, name: name.String()}, flags, nil
}

// Delete implements vfs.VFS.
func (v *faultVFS) Delete(name string, syncDir bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.files, name)
	return v.VFS.Delete(name, syncDir)
}

// image writes what a power cut would leave now to dir: what was synced, and of
// what was written since, any 512 bytes or not.
func (v *faultVFS) image(dir string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, d := range v.files {
		rel, err := filepath.Rel(v.dir, name)
		if err != nil || strings.Contains(rel, ".spool") {
			continue
		}
		data := append([]byte(nil), d.synced...)
		for _, w := range d.pending {
			data = w.applyTorn(data)
		}
		path := filepath.Join(dir, rel)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			panic(err)
		}
	}
	// Blobs are synced before they have their names.
	err := filepath.WalkDir(v.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".zst" || strings.Contains(path, ".spool") {
			return nil // what vanishes meanwhile is not referenced any more
		}
		rel, _ := filepath.Rel(v.dir, path)
		target := filepath.Join(dir, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		if err := os.Link(path, target); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
}

// applyTorn applies the sectors of a write that happen to reach the disk.
func (w diskWrite) applyTorn(data []byte) []byte {
	if w.data == nil {
		if rand.IntN(2) == 0 {
			return w.apply(data)
		}
		return data
	}
	const sector = 512
	for i := 0; i < len(w.data); i += sector {
		if rand.IntN(3) > 0 {
			data = diskWrite{w.off + int64(i), w.data[i:min(i+sector, len(w.data))]}.apply(data)
		}
	}
	return data
}

// apply applies a write.
func (w diskWrite) apply(data []byte) []byte {
	end := w.off + int64(len(w.data))
	if grow := end - int64(len(data)); grow > 0 {
		data = append(data, make([]byte, grow)...)
	}
	if w.data == nil {
		return data[:w.off]
	}
	copy(data[w.off:], w.data)
	return data
}

// faultFile is an open file of a faultVFS.
type faultFile struct {
	vfs.File
	vfs  *faultVFS
	name string
}

// note remembers a write. A file that was deleted is not remembered.
func (f *faultFile) note(w diskWrite) {
	f.vfs.mu.Lock()
	defer f.vfs.mu.Unlock()
	if d := f.vfs.files[f.name]; d != nil {
		d.pending = append(d.pending, w)
	}
}

// failure returns the error that writes have now.
func (f *faultFile) failure() error {
	if err := f.vfs.fail.Load(); err != nil {
		return *err
	}
	return nil
}

// WriteAt implements vfs.File.
func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.failure(); err != nil {
		// A full disk takes a part.
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		f.note(diskWrite{off, append([]byte{}, p[:n]...)})
		return n, err
	}
	f.note(diskWrite{off, append([]byte{}, p...)})
	return f.File.WriteAt(p, off)
}

// Truncate implements vfs.File.
func (f *faultFile) Truncate(size int64) error {
	f.note(diskWrite{off: size})
	return f.File.Truncate(size)
}

// Sync implements vfs.File. What was written before it is on disk after it.
func (f *faultFile) Sync(flags vfs.SyncFlag) error {
	if err := f.failure(); err != nil {
		return err
	}
	f.vfs.mu.Lock()
	defer f.vfs.mu.Unlock()
	d := f.vfs.files[f.name]
	if d == nil {
		return nil
	}
	for _, w := range d.pending {
		d.synced = w.apply(d.synced)
	}
	d.pending = nil
	return nil
}

// Unwrap implements vfs.FileUnwrap.
func (f *faultFile) Unwrap() vfs.File { return f.File }

// SharedMemory implements vfs.FileSharedMemory.
func (f *faultFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }

// The ways in which a disk fails.
var diskFailures = []struct {
	name string
	err  error
}{
	{"full", vfs.SystemError(syscall.ENOSPC, sqlite3.FULL)},
	{"no space for a write", vfs.SystemError(syscall.ENOSPC, sqlite3.IOERR_WRITE)},
	{"broken", vfs.SystemError(syscall.EIO, sqlite3.IOERR_FSYNC)},
	{"short", io.ErrShortWrite},
}
