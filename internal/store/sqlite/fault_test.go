package sqlite_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
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

	"expost/internal/redo"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// faultVFS is the operating system's VFS under dir with a disk that can fail,
// and of which one can see what a power cut would leave. It is the Disk of the
// journal too.
type faultVFS struct {
	vfs.VFS
	name  string
	dir   string
	fail  atomic.Pointer[error] // of every write and sync, where set
	syncs atomic.Int64
	steps atomic.Int64 // writes and syncs

	mu     sync.Mutex
	files  map[string]*disk
	ghosts map[string]*disk // that were removed, in folders that were not synced since
}

// disk is what is known of a file: what was synced, and what was written since.
type disk struct {
	synced  []byte
	pending []diskWrite
	unnamed bool // its folder was not synced since it was made
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
		VFS: vfs.Find("os"), name: fmt.Sprintf("fault%d", faultVFSes.Add(1)), dir: dir, files: make(map[string]*disk), ghosts: make(map[string]*disk),
	}
	vfs.Register(f.name, f)
	t.Cleanup(func() { vfs.Unregister(f.name) })
	return f
}

// engine returns an engine on the disk, with segments of a size; 0 as ever.
func (v *faultVFS) engine(t *testing.T, segment int64) store.Engine {
	t.Helper()
	e, err := sqlite.New(v.dir, sqlite.Options{VFS: v.name, Journal: redo.Options{Disk: journalDisk{v}, SegmentSize: segment}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// OpenFilename implements vfs.VFSFilename.
func (v *faultVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, missing := os.Stat(name.String())
	file, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil || flags&(vfs.OPEN_MAIN_DB|vfs.OPEN_WAL) == 0 {
		return file, flags, err
	}
	if err := v.knowLocked(name.String(), missing != nil); err != nil {
		return nil, flags, errors.Join(err, file.Close())
	}
	return &faultFile{File: file, vfs: v, name: name.String()}, flags, nil
}

// knowLocked takes note of a file that was opened. mu is held.
func (v *faultVFS) knowLocked(name string, made bool) error {
	if v.files[name] != nil {
		return nil
	}
	data, err := os.ReadFile(name) // synced when it was made
	v.files[name] = &disk{synced: data, unnamed: made}
	return err
}

// journalDisk is a faultVFS as a redo.Disk.
type journalDisk struct{ *faultVFS }

// Open implements redo.Disk.
func (v journalDisk) Open(name string, create bool) (redo.DiskFile, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, missing := os.Stat(name)
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &faultDiskFile{faultDisk{f, v.faultVFS, name}}, v.knowLocked(name, missing != nil)
}

// Remove implements redo.Disk.
func (v *faultVFS) Remove(name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.goneLocked(name)
	return os.Remove(name)
}

// goneLocked takes note of a file that is removed. mu is held.
func (v *faultVFS) goneLocked(name string) {
	if d := v.files[name]; d != nil && !d.unnamed {
		v.ghosts[name] = d
	}
	delete(v.files, name)
}

// SyncDir implements redo.Disk.
func (v *faultVFS) SyncDir(dir string) error {
	if err := v.fail.Load(); err != nil {
		return *err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.syncs.Add(1)
	for name, d := range v.files {
		if filepath.Dir(name) == dir {
			d.unnamed = false
		}
	}
	maps.DeleteFunc(v.ghosts, func(name string, _ *disk) bool { return filepath.Dir(name) == dir })
	_, err := os.Stat(dir)
	return err
}

// Identity implements redo.Disk.
func (v *faultVFS) Identity(name string) (redo.Identity, error) {
	info, err := os.Stat(name)
	if err != nil {
		return redo.Identity{}, err
	}
	return redo.Identity{Inode: info.Sys().(*syscall.Stat_t).Ino}, nil
}

// faultDisk is a file of the Disk.
type faultDisk struct {
	*os.File
	vfs  *faultVFS
	name string
}

// faultDiskFile implements redo.DiskFile.
type faultDiskFile struct{ faultDisk }

// WriteAt implements redo.DiskFile.
func (f *faultDiskFile) WriteAt(p []byte, off int64) (int, error) {
	return (&faultFile{vfs: f.vfs, name: f.name}).write(f.File, p, off)
}

// Sync implements redo.DiskFile.
func (f *faultDiskFile) Sync() error {
	return (&faultFile{vfs: f.vfs, name: f.name}).sync(false)
}

// Size implements redo.DiskFile.
func (f *faultDiskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Delete implements vfs.VFS.
func (v *faultVFS) Delete(name string, syncDir bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.goneLocked(name)
	return v.VFS.Delete(name, syncDir)
}

// image writes what a power cut would leave now to dir: what was synced, and of
// what was written since, any 512 bytes or not.
func (v *faultVFS) image(dir string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	left := maps.Clone(v.ghosts)
	maps.DeleteFunc(left, func(string, *disk) bool { return rand.IntN(2) == 0 })
	maps.Copy(left, v.files)
	for name, d := range left {
		rel, err := filepath.Rel(v.dir, name)
		if err != nil || strings.Contains(rel, ".spool") || d.unnamed && rand.IntN(2) == 0 {
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
	f.vfs.steps.Add(1)
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
func (f *faultFile) WriteAt(p []byte, off int64) (int, error) { return f.write(f.File, p, off) }

// write writes to a file.
func (f *faultFile) write(to io.WriterAt, p []byte, off int64) (int, error) {
	if err := f.failure(); err != nil {
		// A full disk takes a part.
		n, _ := to.WriteAt(p[:len(p)/2], off)
		f.note(diskWrite{off, append([]byte{}, p[:n]...)})
		return n, err
	}
	f.note(diskWrite{off, append([]byte{}, p...)})
	return to.WriteAt(p, off)
}

// Truncate implements vfs.File.
func (f *faultFile) Truncate(size int64) error {
	f.note(diskWrite{off: size})
	return f.File.Truncate(size)
}

// Sync implements vfs.File. What was written before it is on disk after it, and
// as SQLite does it the file's name.
func (f *faultFile) Sync(flags vfs.SyncFlag) error { return f.sync(true) }

// sync makes what was written durable.
func (f *faultFile) sync(name bool) error {
	if err := f.failure(); err != nil {
		return err
	}
	f.vfs.mu.Lock()
	defer f.vfs.mu.Unlock()
	f.vfs.syncs.Add(1)
	f.vfs.steps.Add(1)
	d := f.vfs.files[f.name]
	if d == nil {
		return nil
	}
	for _, w := range d.pending {
		d.synced = w.apply(d.synced)
	}
	d.pending = nil
	d.unnamed = d.unnamed && !name
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
