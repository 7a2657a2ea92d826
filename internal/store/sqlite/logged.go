package sqlite

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"expost/internal/redo"
)

// loggedVFS is a VFS that makes the write-ahead logs of accounts durable
// through the node's journal: what a transaction writes is collected, goes to
// the journal when SQLite syncs, and then into the file.
type loggedVFS struct {
	vfs.VFS
	name    string // by which SQLite finds it
	root    string // of the journal
	journal *redo.Journal

	buffers sync.Pool // *[]byte of walFile

	mu    sync.Mutex
	files map[string]*redo.File // by path, those that the journal has records of
}

// walSuffix ends the name of a write-ahead log.
const walSuffix = "-wal"

// OpenFilename implements vfs.VFSFilename.
func (v *loggedVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, out, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil || flags&vfs.OPEN_WAL == 0 {
		return file, out, err
	}
	path := name.String()
	logged, err := v.file(path)
	if err != nil {
		return nil, out, errors.Join(err, file.Close())
	}
	return &walFile{File: file, vfs: v, path: path, logged: logged}, out, nil
}

// file returns a write-ahead log as the journal has it: owned by its database.
func (v *loggedVFS) file(path string) (*redo.File, error) {
	rel, err := filepath.Rel(v.root, path)
	if err != nil {
		return nil, err
	}
	return v.journal.File(rel, strings.TrimSuffix(rel, walSuffix))
}

// Delete implements vfs.VFS.
func (v *loggedVFS) Delete(name string, syncDir bool) error {
	err := v.VFS.Delete(name, syncDir)
	if !strings.HasSuffix(name, walSuffix) {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if f := v.files[name]; f != nil && err == nil {
		f.Deleted()
		delete(v.files, name)
	}
	return err
}

// walDirect is how much a transaction may write before it is too much for a
// record and goes to the file at once, bytes.
const walDirect = 1 << 20

// walFile is an open write-ahead log. A connection is used by one goroutine at
// a time, and so is its file.
//
// SQLite writes each frame in two parts and reads only frames that were
// committed, but for those of its own transaction when that is large. What it
// writes is kept until it syncs, so that no frame is in the file before
// the journal has it: then it also need not sync the header of a log that it
// begins anew before the first frames.
type walFile struct {
	vfs.File
	vfs    *loggedVFS
	path   string
	logged *redo.File
	known  bool    // it is in vfs.files
	runs   []run   // not in the file yet
	data   *[]byte // the bytes of runs, one behind the other; nil where there are none
	direct bool    // writes go to the file; nothing is in runs
}

// run is bytes that lie together in the file.
type run struct {
	off int64
	n   int
}

// WriteAt implements vfs.File.
func (f *walFile) WriteAt(p []byte, off int64) (int, error) {
	if f.data != nil && len(*f.data)+len(p) > walDirect {
		if err := f.goDirect(); err != nil {
			return 0, err
		}
	}
	if f.direct {
		return f.File.WriteAt(p, off)
	}
	if f.data == nil {
		f.data, _ = f.vfs.buffers.Get().(*[]byte)
		if f.data == nil {
			f.data = new([]byte)
		}
	}
	*f.data = append(*f.data, p...)
	if n := len(f.runs); n > 0 && f.runs[n-1].off+int64(f.runs[n-1].n) == off {
		f.runs[n-1].n += len(p)
	} else {
		f.runs = append(f.runs, run{off, len(p)})
	}
	return len(p), nil
}

// writes returns the runs with their bytes.
func (f *walFile) writes() []redo.Write {
	list := make([]redo.Write, 0, len(f.runs))
	at := 0
	for _, r := range f.runs {
		list = append(list, redo.Write{Off: r.off, Data: (*f.data)[at : at+r.n]})
		at += r.n
	}
	return list
}

// goDirect has this and what follows written to the file. The header of a log
// that was begun anew must not come later than frames do.
func (f *walFile) goDirect() error {
	for _, r := range f.runs {
		if r.off == 0 {
			if err := f.commit(); err != nil {
				return err
			}
			break
		}
	}
	f.direct = true
	return f.apply()
}

// commit brings the runs into the journal and the file.
func (f *walFile) commit() error {
	if !f.known { // Delete must tell the journal
		f.vfs.mu.Lock()
		f.vfs.files[f.path] = f.logged
		f.vfs.mu.Unlock()
		f.known = true
	}
	applied, err := f.logged.Log(f.writes())
	if err != nil {
		f.drop()
		return vfs.SystemError(err, sqlite3.IOERR_FSYNC)
	}
	defer applied()
	return f.apply()
}

// apply writes the runs to the file.
func (f *walFile) apply() error {
	defer f.drop()
	for _, w := range f.writes() {
		if n, err := f.File.WriteAt(w.Data, w.Off); err != nil {
			return err
		} else if n < len(w.Data) {
			return vfs.SystemError(io.ErrShortWrite, sqlite3.IOERR_WRITE)
		}
	}
	return nil
}

// drop forgets the runs.
func (f *walFile) drop() {
	f.runs = f.runs[:0]
	if f.data != nil {
		*f.data = (*f.data)[:0]
		f.vfs.buffers.Put(f.data)
		f.data = nil
	}
}

// Sync implements vfs.File.
func (f *walFile) Sync(flags vfs.SyncFlag) error {
	if f.direct {
		if err := f.File.Sync(flags); err != nil {
			return err
		}
		if err := f.logged.Synced(); err != nil {
			return vfs.SystemError(err, sqlite3.IOERR_FSYNC)
		}
		f.direct = false
		return nil
	}
	const header = 32 // SQLite syncs it on its own, before the first frames
	if len(f.runs) == 0 || len(f.runs) == 1 && f.runs[0] == (run{0, header}) {
		return nil
	}
	return f.commit()
}

// ReadAt implements vfs.File.
func (f *walFile) ReadAt(p []byte, off int64) (int, error) {
	for _, r := range f.runs {
		if off < r.off+int64(r.n) && r.off < off+int64(len(p)) {
			if err := f.goDirect(); err != nil {
				return 0, err
			}
			break
		}
	}
	return f.File.ReadAt(p, off)
}

// Truncate implements vfs.File.
func (f *walFile) Truncate(size int64) error {
	if err := f.apply(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Size implements vfs.File.
func (f *walFile) Size() (int64, error) {
	size, err := f.File.Size()
	for _, r := range f.runs {
		size = max(size, r.off+int64(r.n))
	}
	return size, err
}

// Close implements vfs.File. What was not synced did not happen.
func (f *walFile) Close() error {
	f.drop()
	return f.File.Close()
}

// Unwrap implements vfs.FileUnwrap.
func (f *walFile) Unwrap() vfs.File { return f.File }
