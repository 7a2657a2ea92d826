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
	root    string // of the journal
	journal *redo.Journal

	mu    sync.Mutex
	files map[string]*redo.File // by path: what Delete tells the journal
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
	rel, err := filepath.Rel(v.root, path)
	if err != nil {
		return nil, out, errors.Join(err, file.Close())
	}
	logged, err := v.journal.File(rel, strings.TrimSuffix(rel, walSuffix))
	if err != nil {
		return nil, out, errors.Join(err, file.Close())
	}
	v.mu.Lock()
	v.files[path] = logged
	v.mu.Unlock()
	return &walFile{File: file, logged: logged}, out, nil
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
// writes stays in runs until it syncs, so that no frame is in the file before
// the journal has it: then it also need not sync the header of a log that it
// begins anew before the first frames.
type walFile struct {
	vfs.File
	logged *redo.File
	runs   []redo.Write // not in the file yet
	size   int          // bytes in runs
	direct bool         // writes go to the file; nothing is in runs
}

// WriteAt implements vfs.File.
func (f *walFile) WriteAt(p []byte, off int64) (int, error) {
	if f.size+len(p) > walDirect && !f.direct {
		if err := f.goDirect(); err != nil {
			return 0, err
		}
	}
	if f.direct {
		return f.File.WriteAt(p, off)
	}
	f.size += len(p)
	if n := len(f.runs); n > 0 {
		if last := &f.runs[n-1]; last.Off+int64(len(last.Data)) == off {
			last.Data = append(last.Data, p...)
			return len(p), nil
		}
	}
	f.runs = append(f.runs, redo.Write{Off: off, Data: f.room(p)})
	return len(p), nil
}

// runRoom is what a run is made for: most transactions change few pages.
const runRoom = 48 << 10

// room copies p into a buffer that can grow.
func (f *walFile) room(p []byte) []byte {
	n := len(f.runs)
	if n < cap(f.runs) {
		if old := f.runs[:n+1][n].Data; cap(old) > 0 {
			return append(old[:0], p...)
		}
	}
	return append(make([]byte, 0, max(runRoom, len(p))), p...)
}

// goDirect has this and what follows written to the file. The header of a log
// that was begun anew must not come later than frames do.
func (f *walFile) goDirect() error {
	for i := range f.runs {
		if f.runs[i].Off == 0 {
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
	applied, err := f.logged.Log(f.runs)
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
	for _, w := range f.runs {
		if n, err := f.File.WriteAt(w.Data, w.Off); err != nil {
			return err
		} else if n < len(w.Data) {
			return vfs.SystemError(io.ErrShortWrite, sqlite3.IOERR_WRITE)
		}
	}
	return nil
}

// drop forgets the runs, and those that were too large to keep.
func (f *walFile) drop() {
	if len(f.runs) > 8 || f.size > 4*runRoom {
		f.runs = nil
	}
	f.runs, f.size = f.runs[:0], 0
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
	if len(f.runs) == 0 || len(f.runs) == 1 && f.runs[0].Off == 0 && len(f.runs[0].Data) == header {
		return nil
	}
	return f.commit()
}

// ReadAt implements vfs.File.
func (f *walFile) ReadAt(p []byte, off int64) (int, error) {
	for _, w := range f.runs {
		if off < w.Off+int64(len(w.Data)) && w.Off < off+int64(len(p)) {
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
	for _, w := range f.runs {
		size = max(size, w.Off+int64(len(w.Data)))
	}
	return size, err
}

// Unwrap implements vfs.FileUnwrap.
func (f *walFile) Unwrap() vfs.File { return f.File }
