package redo

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"
)

// next returns an empty segment: a free one, a new one, or the one that is free
// next.
func (j *Journal) next() (*segment, error) {
	var s *segment
	select {
	case s = <-j.free:
	default:
		if len(j.made) < j.opt.Segments {
			return j.create()
		}
		select {
		case s = <-j.free:
		case <-j.dead:
			return nil, j.deadErr
		}
	}
	j.begin(s)
	return s, nil
}

// begin numbers an empty segment.
func (j *Journal) begin(s *segment) {
	var salt [8]byte
	rand.Read(salt[:])
	s.salt, s.number, s.end = binary.LittleEndian.Uint64(salt[:]), j.number, headSize
	s.dirty = make(map[string]struct{})
	j.number++
}

// create makes a segment's file.
func (j *Journal) create() (*segment, error) {
	s := &segment{path: filepath.Join(j.dir, strconv.FormatUint(j.number, 10)), unnamed: true}
	file, err := j.opt.Disk.Open(s.path, true)
	if err != nil {
		return nil, fmt.Errorf("making a segment of the journal: %w", err)
	}
	s.file = file
	if s.size, err = file.Size(); err == nil {
		s.self, err = j.opt.Disk.Identity(s.path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	j.made = append(j.made, s)
	j.begin(s)
	return s, nil
}

// freeAll frees full segments until there are no more.
func (j *Journal) freeAll() {
	defer close(j.freeDone)
	for s := range j.full {
		err := j.deadErr // of an earlier one: order matters
		if err == nil {
			err = j.release(s)
		}
		if err != nil && j.deadErr == nil {
			j.opt.Log.Error("a file could not be synced; the mail store acknowledges nothing any more. "+
				"Mend the disk and start the program again: the journal has what is missing", "err", err)
			j.deadErr = err
			close(j.dead)
		}
		if err == nil {
			j.free <- s
		}
		j.freeing.Done()
	}
}

// release makes a segment one that is not needed any more, and void.
func (j *Journal) release(s *segment) error {
	if err := j.syncFiles(s); err != nil {
		return err
	}
	if _, err := s.file.WriteAt(make([]byte, headSize), 0); err != nil {
		return err
	}
	return s.file.Sync()
}

// syncAtOnce is how many files are synced at the same time.
const syncAtOnce = 8

// syncFiles syncs the files that a segment has records of, once all of those
// are written.
func (j *Journal) syncFiles(s *segment) error {
	s.applying.Wait()
	var g errgroup.Group
	g.SetLimit(syncAtOnce)
	for name := range s.dirty {
		g.Go(func() error { return j.syncFile(filepath.Join(j.root, name)) })
	}
	return g.Wait()
}

// syncFile syncs a file and its name, or that it has none any more.
func (j *Journal) syncFile(path string) error {
	f, err := j.opt.Disk.Open(path, false)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = j.opt.Disk.SyncDir(filepath.Dir(path))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // who removed the folder has synced that
	}
	return err
}

// probe tells whether the disk takes writes, before what is known to be in the
// log is given up for what is in the files.
func (j *Journal) probe() error {
	path := filepath.Join(j.dir, "probe")
	f, err := j.opt.Disk.Open(path, true)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 512), 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), j.opt.Disk.Remove(path))
}

// empty syncs all files and removes the segments, so that there is no log.
func (j *Journal) empty() error {
	j.freeing.Wait()
	select {
	case <-j.dead:
		return j.deadErr
	default:
	}
	if j.active != nil {
		if err := j.syncFiles(j.active); err != nil {
			return err
		}
	}
	for len(j.free) > 0 {
		<-j.free
	}
	for len(j.made) > 0 {
		s := j.made[0]
		if err := j.opt.Disk.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.file.Close()
		if s == j.active {
			j.active = nil
		}
		j.made = j.made[1:]
	}
	return j.opt.Disk.SyncDir(j.dir)
}

// Close syncs all files and leaves an empty log. Nobody may log any more.
func (j *Journal) Close() error {
	j.mu.Lock()
	closed := j.closed
	j.closed = true
	j.mu.Unlock()
	if closed {
		return nil
	}
	err := j.empty()
	close(j.full)
	<-j.freeDone
	for _, s := range j.made { // those that could not be removed: the next start has them
		s.file.Close()
	}
	if err != nil {
		return fmt.Errorf("emptying the journal: %w", err)
	}
	return nil
}
