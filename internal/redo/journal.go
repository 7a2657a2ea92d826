// Package redo makes writes to many files durable by one sync. A Journal is one
// log for all files below a folder: who changes a file hands over what he is
// about to write, waits until that is in the log and synced, together with
// whatever others have handed over meanwhile, and only then writes to the file,
// without a sync. After a crash the log is written into the files once more.
//
// The log is a few segments in a folder of their own, used in turn and written
// over, so that a sync need not change the file system's own structures. A
// segment that is full is used again when every file that it has records of was
// synced, which happens in the background; where that is too slow, writers wait.
//
// # What is on disk, and what a crash leaves
//
//	step                                      a crash behind it leaves            and then
//	1 records are collected                   nothing                             nobody was told of them
//	2 they are written, unsynced              any part of them                    the first that is not whole ends the log: it and
//	                                                                              what follows did not happen
//	3 they are synced: acknowledged           records, files as before            written into the files at the next start
//	4 files are written, unsynced             any part of that in the files       written once more, in the same order
//	5 a segment is full, the next is begun    the head of the next, or not        without it the next is empty
//	6 files of a full segment are synced      a segment that is not needed        written once more: records say what is where,
//	                                                                              so that this changes nothing
//	7 its head is made void, and synced       a free file                         it is removed
//	8 a file is removed by its owner, and     records of a file that is gone,     the file appears again as it was when it was
//	  a record says so                        the file, or neither                removed, or not: both are the same to its owner
//	9 a file is synced by its owner, with     the record, or not                  with it earlier records are void; without it they
//	  writes that were too many for a record,                                     are written over bytes that nobody was promised
//	  and a record says so
//	10 Close: files are synced, segments      segments, the last ones             written once more
//	   removed, the oldest first
//	11 start: records are written, synced,    as before 11, or as in 10           all once more
//	   segments removed
//
//	a record's owner is missing               its folder was removed              the record is dropped
//	a record's owner is another file          its folder was put there from a     the record is dropped, and the log says so
//	                                          backup, or made anew
//	the segments are other files than those   all was copied to another place     owners are not compared: they are copies too
//	that were written
//	a segment is not the continuation of the  a damaged disk, or a segment was    Open refuses with what to do
//	one before                                removed
//	writing or syncing the log fails          some of the records that failed     nobody was told of them. All files are synced and
//	                                                                              the log begun anew before anything else is
//	                                                                              acknowledged; until that succeeds nothing is
//	syncing a file fails in the background    the segment                         nothing is acknowledged any more until the
//	                                                                              program is started again and has written it once more
//
// A file is only ever written by what is in the log already, or by its owner
// between Direct and Synced. So a record can be written over the file at any
// later time as long as all that follow are too, which is why segments become
// free in order.
package redo

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// Options of a Journal. The zero value of a field means what stands beside it.
type Options struct {
	Segments    int          // at most: 4
	SegmentSize int64        // bytes: 32 MiB
	Disk        Disk         // the operating system's
	Log         *slog.Logger // slog.Default
}

// Journal is a log. Its methods may be called from any number of goroutines.
type Journal struct {
	root string // of the files
	dir  string // of the segments
	opt  Options

	full     chan *segment  // to be freed, in order
	free     chan *segment  // to be begun
	dead     chan struct{}  // closed when a file could not be synced
	deadErr  error          // why, before dead is closed
	freeing  sync.WaitGroup // segments in full
	freeDone chan struct{}  // closed when the goroutine that frees has ended

	buffers sync.Pool // *[]byte, for records

	mu      sync.Mutex
	busy    bool // somebody leads
	waiting []*entry
	notes   []*entry // that nobody waits for
	closed  bool

	// Of whoever leads.
	active  *segment
	made    []*segment // all, to be removed
	records uint64     // the number of the next record
	number  uint64     // of the next segment
	broken  error      // the log is to be begun anew
	buf     []byte
}

// segment is a file of the log.
type segment struct {
	file     DiskFile
	path     string
	self     Identity
	salt     uint64
	number   uint64
	end      int64               // of the records
	size     int64               // of the file
	unnamed  bool                // its name is not synced
	dirty    map[string]struct{} // names of files
	applying sync.WaitGroup      // records that are not in their files yet
}

// entry is a record on its way into the log.
type entry struct {
	file *File
	data []byte
	seg  *segment
	err  error
	wake chan bool // true: the receiver leads
}

// extension is how much a segment grows at once while it is new.
const extension = 1 << 20

// maxGroup bounds what is written at once, in bytes.
const maxGroup = 4 << 20

var errClosed = errors.New("the journal is closed")

// Open writes what a crash has left in the log into the files below root, and
// returns an empty log in dir, which it makes where it is missing.
func Open(root, dir string, opt Options) (*Journal, error) {
	if opt.Segments == 0 {
		opt.Segments = 4
	}
	if opt.SegmentSize == 0 {
		opt.SegmentSize = 32 << 20
	}
	if opt.Disk == nil {
		opt.Disk = osDisk{}
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the journal: %w", err)
	}
	j := &Journal{
		root: root, dir: dir, opt: opt, records: 1, number: 1,
		full: make(chan *segment, opt.Segments), free: make(chan *segment, opt.Segments),
		dead: make(chan struct{}), freeDone: make(chan struct{}),
	}
	if err := j.replay(); err != nil {
		return nil, err
	}
	if err := opt.Disk.SyncDir(root); err != nil {
		return nil, fmt.Errorf("making the journal: %w", err)
	}
	go j.freeAll()
	return j, nil
}

// File returns a file of which the log is to take records. name and owner are
// relative to the root. The owner is a file that outlives this one and whose
// replacement makes its records void; it must exist, and be synced.
func (j *Journal) File(name, owner string) (*File, error) {
	id, err := j.opt.Disk.Identity(filepath.Join(j.root, owner))
	if err != nil {
		return nil, fmt.Errorf("journaling %s: %w", name, err)
	}
	if len(name) > 1<<15 || len(owner) > 1<<15 {
		return nil, fmt.Errorf("journaling a file whose name is too long")
	}
	return &File{j: j, name: name, owner: owner, id: id}, nil
}

// File is one opening of a file; one goroutine at a time may use it.
type File struct {
	j           *Journal
	name, owner string
	id          Identity
	entry       entry
}

// Log returns when the writes are in the log and synced. Then the caller must
// write them to the file, in order, and call applied, whether he could or not.
// An error says that nobody may be told that they happened.
func (f *File) Log(writes []Write) (applied func(), err error) {
	return f.log(kindWrites, writes)
}

// Synced says that the file was synced by its owner; what the log has of it is
// void. It returns when that is in the log and synced.
func (f *File) Synced() error {
	applied, err := f.log(kindSynced, nil)
	if err == nil {
		applied()
	}
	return err
}

// Deleted says that the file was removed. It does not wait: Close, and whatever
// the log takes next, bring it to disk.
func (f *File) Deleted() {
	e := &entry{file: f, data: appendBody(nil, kindDeleted, f, nil)}
	f.j.mu.Lock()
	defer f.j.mu.Unlock()
	f.j.notes = append(f.j.notes, e)
}

// Gone is Deleted, and returns when that is in the log and synced.
func (f *File) Gone() error {
	applied, err := f.log(kindDeleted, nil)
	if err == nil {
		applied()
	}
	return err
}

// log brings a record into the log.
func (f *File) log(kind byte, writes []Write) (applied func(), err error) {
	e := &f.entry
	e.file, e.err, e.seg = f, nil, nil
	buf, _ := f.j.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	defer f.j.buffers.Put(buf)
	*buf = appendBody((*buf)[:0], kind, f, writes)
	e.data = *buf
	if len(e.data) > maxRecord {
		return nil, fmt.Errorf("journaling %s: a record of %d bytes is too large", f.name, len(e.data))
	}
	if e.wake == nil {
		e.wake = make(chan bool, 1)
	}
	if err := f.j.append(e); err != nil {
		return nil, fmt.Errorf("journaling %s: %w", f.name, err)
	}
	return e.seg.applying.Done, nil
}

// append brings an entry into the log, together with what waits beside it: the
// first that comes leads, and hands over to one that came while it wrote.
func (j *Journal) append(e *entry) error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return errClosed
	}
	j.waiting = append(j.waiting, e)
	if j.busy {
		j.mu.Unlock()
		if lead := <-e.wake; !lead {
			return e.err
		}
		j.mu.Lock()
	}
	j.busy = true
	notes, group := j.takeLocked()
	j.mu.Unlock()

	err := j.write(notes, group)

	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		j.notes = append(notes, j.notes...)
	}
	for _, g := range group {
		g.err = err
		if g != e {
			g.wake <- false
		}
	}
	j.busy = len(j.waiting) > 0
	if j.busy {
		j.waiting[0].wake <- true
	}
	return err
}

// takeLocked takes what is written next, and at least one entry. mu is held.
func (j *Journal) takeLocked() (notes, group []*entry) {
	notes = j.notes
	j.notes = nil
	n, size := 0, 0
	for n < len(j.waiting) && (n == 0 || size+len(j.waiting[n].data) <= maxGroup) {
		size += len(j.waiting[n].data)
		n++
	}
	group = j.waiting[:n:n]
	j.waiting = append([]*entry(nil), j.waiting[n:]...)
	return notes, group
}

// write writes entries and syncs them. Only who leads may call it.
func (j *Journal) write(notes, group []*entry) error {
	if err := j.usable(); err != nil {
		return err
	}
	size := int64(0)
	for _, list := range [][]*entry{notes, group} {
		for _, e := range list {
			size += int64(len(e.data))
		}
	}
	if j.active != nil && j.active.end+size > j.opt.SegmentSize && j.active.end > headSize {
		j.freeing.Add(1)
		j.full <- j.active
		j.active = nil
	}
	begun := j.active == nil
	if begun {
		s, err := j.next()
		if err != nil {
			return err
		}
		j.active = s
	}
	if err := j.put(j.active, begun, size, notes, group); err != nil {
		j.broken = err
		j.opt.Log.Error("the journal of the mail store cannot be written; nothing is acknowledged until it can", "err", err)
		return err
	}
	return nil
}

// usable begins the log anew where that must be.
func (j *Journal) usable() error {
	select {
	case <-j.dead:
		return j.deadErr
	default:
	}
	if j.broken == nil {
		return nil
	}
	if err := j.probe(); err != nil {
		return fmt.Errorf("beginning the journal anew: %w", err)
	}
	if err := j.empty(); err != nil {
		return fmt.Errorf("beginning the journal anew: %w", err)
	}
	j.opt.Log.Info("the journal of the mail store was begun anew")
	j.broken = nil
	return nil
}

// put writes entries behind those of a segment.
func (j *Journal) put(s *segment, begun bool, size int64, notes, group []*entry) error {
	b, at := j.buf[:0], s.end
	if begun {
		b, at = append(b, head{s.salt, s.number, j.records, s.self}.marshal()...), 0
	}
	number := j.records
	for _, list := range [][]*entry{notes, group} {
		for _, e := range list {
			seal(e.data, s.salt, number)
			b = append(b, e.data...)
			number++
		}
	}
	if cap(b) <= maxGroup {
		j.buf = b
	}
	if end := at + int64(len(b)); end > s.size {
		grown := max(end, min((s.size+extension)/extension*extension, j.opt.SegmentSize))
		if _, err := s.file.WriteAt(make([]byte, grown-s.size), s.size); err != nil {
			return err
		}
		s.size = grown
	}
	if _, err := s.file.WriteAt(b, at); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	if s.unnamed {
		if err := j.opt.Disk.SyncDir(j.dir); err != nil {
			return err
		}
		s.unnamed = false
	}
	j.records, s.end = number, at+int64(len(b))
	for _, e := range notes {
		s.dirty[e.file.name] = struct{}{}
	}
	s.applying.Add(len(group))
	for _, e := range group {
		e.seg = s
		s.dirty[e.file.name] = struct{}{}
	}
	return nil
}
