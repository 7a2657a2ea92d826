package redo

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"expost/internal/mail"
)

// found is a segment that a crash has left.
type found struct {
	head
	path    string
	records []record
	moved   bool // it is a copy
}

// replay writes what the log holds into the files, syncs them and removes the
// log.
func (j *Journal) replay() error {
	segments, names, err := j.find()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return nil
	}
	count := 0
	for i, s := range segments {
		if count += len(s.records); i > 0 && s.number != segments[i-1].number+1 || i > 0 && s.first != segments[i-1].first+uint64(len(segments[i-1].records)) {
			return mail.Errorf(mail.KindCorrupt, "the journal of the mail store is damaged: %s does not continue %s. Mail of the last minutes may be in it. "+
				"Mend the disk, or move the folder %s away, start the program and run expost check", s.path, segments[i-1].path, j.dir)
		}
	}
	if count > 0 {
		if err := j.apply(segments); err != nil {
			return fmt.Errorf("writing the journal into the files: %w", err)
		}
		j.opt.Log.Info("the program was not stopped as it should be: the journal was written into the files", "records", count)
	}
	for _, name := range names { // the oldest first, so that what a crash leaves has no gap
		if err := errors.Join(j.opt.Disk.Remove(name), j.opt.Disk.SyncDir(j.dir)); err != nil {
			return fmt.Errorf("emptying the journal: %w", err)
		}
	}
	return nil
}

// find reads the segments, the oldest first, and returns the names of all files
// in the order in which they may be removed.
func (j *Journal) find() (segments []found, names []string, err error) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the journal: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(j.dir, e.Name())
		data, err := j.load(path)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the journal: %w", err)
		}
		h, records, ok := parseSegment(data)
		if !ok {
			names = append(names, path)
			continue
		}
		self, err := j.opt.Disk.Identity(path)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the journal: %w", err)
		}
		segments = append(segments, found{head: h, path: path, records: records, moved: self != h.self})
	}
	slices.SortFunc(segments, func(a, b found) int { return cmp.Compare(a.number, b.number) })
	for _, s := range segments {
		names = append(names, s.path)
	}
	return segments, names, nil
}

// load reads a file.
func (j *Journal) load(path string) ([]byte, error) {
	f, err := j.opt.Disk.Open(path, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err == io.EOF && int64(n) == size {
		err = nil
	}
	return data[:n], err
}

// parseSegment reads a segment up to the first record that is not whole; false
// where it is void.
func parseSegment(data []byte) (head, []record, bool) {
	h, ok := parseHead(data)
	if !ok || len(data) < headSize {
		return head{}, nil, false
	}
	var records []record
	for rest := data[headSize:]; ; {
		r, next, ok := parseRecord(rest, h.salt, h.first+uint64(len(records)))
		if !ok {
			return h, records, true
		}
		records, rest = append(records, r), next
	}
}

// fileKey names a file that belongs to one owner.
type fileKey struct {
	name string
	id   Identity
}

// apply writes the records of segments into their files and syncs those.
func (j *Journal) apply(segments []found) error {
	var all []record
	moved := false
	for _, s := range segments {
		all, moved = append(all, s.records...), moved || s.moved
	}
	if moved {
		j.opt.Log.Warn("the mail store is a copy of one that was running: its journal is taken for that of all accounts in it")
	}
	void := make(map[fileKey]int) // records before this do not count
	for i, r := range all {
		if r.kind != kindWrites {
			void[fileKey{r.name, r.id}] = i
		}
	}
	owners := make(map[fileKey]bool)
	files := make(map[string]*segment)
	dirty := &segment{dirty: make(map[string]struct{})}
	defer func() {
		for _, s := range files {
			s.file.Close()
		}
	}()
	for i, r := range all {
		key := fileKey{r.name, r.id}
		owned, known := owners[key]
		if !known {
			var err error
			if owned, err = j.owned(r, moved); err != nil {
				return err
			}
			owners[key] = owned
		}
		if !owned || i < void[key] {
			continue
		}
		dirty.dirty[r.name] = struct{}{}
		if err := j.redo(r, files); err != nil {
			return err
		}
	}
	return j.syncFiles(dirty)
}

// owned tells whether a record is of what now has the owner's name.
func (j *Journal) owned(r record, moved bool) (bool, error) {
	for _, name := range []string{r.name, r.owner} {
		if !filepath.IsLocal(name) {
			return false, mail.Errorf(mail.KindCorrupt, "the journal of the mail store is damaged: it names a file %q", name)
		}
	}
	id, err := j.opt.Disk.Identity(filepath.Join(j.root, r.owner))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j.opt.Log.Info("the journal has changes of a file that is gone", "file", r.owner)
		return false, nil
	case err != nil:
		return false, err
	case !moved && id != r.id:
		j.opt.Log.Warn("the journal has changes of a file that was replaced since; they are dropped", "file", r.owner)
		return false, nil
	}
	return true, nil
}

// openFiles bounds the files that a replay has open.
const openFiles = 64

// redo does what a record says.
func (j *Journal) redo(r record, files map[string]*segment) error {
	path := filepath.Join(j.root, r.name)
	s := files[r.name]
	switch {
	case r.kind == kindSynced:
		return nil
	case r.kind == kindDeleted:
		if s != nil {
			s.file.Close()
			delete(files, r.name)
		}
		if err := j.opt.Disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	case s == nil:
		for name, other := range files {
			if len(files) < openFiles {
				break
			}
			other.file.Close()
			delete(files, name)
		}
		f, err := j.opt.Disk.Open(path, true)
		if err != nil {
			return err
		}
		s = &segment{file: f}
		files[r.name] = s
	}
	for _, w := range r.writes {
		if _, err := s.file.WriteAt(w.Data, w.Off); err != nil {
			return fmt.Errorf("writing %s: %w", strings.TrimPrefix(path, j.root), err)
		}
	}
	return nil
}
