package redo

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"expost/internal/mail"
)

// testDisk is the operating system's disk, which can fail.
type testDisk struct {
	osDisk
	syncs   atomic.Int64
	written atomic.Pointer[error] // what writes fail with
	synced  func(name string) error
}

type testFile struct {
	DiskFile
	disk *testDisk
	name string
}

func (d *testDisk) Open(name string, create bool) (DiskFile, error) {
	f, err := d.osDisk.Open(name, create)
	if err != nil {
		return nil, err
	}
	return &testFile{f, d, name}, nil
}

func (f *testFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.disk.written.Load(); err != nil {
		n, _ := f.DiskFile.WriteAt(p[:len(p)/2], off)
		return n, *err
	}
	return f.DiskFile.WriteAt(p, off)
}

func (f *testFile) Sync() error {
	f.disk.syncs.Add(1)
	if f.disk.synced != nil {
		if err := f.disk.synced(f.name); err != nil {
			return err
		}
	}
	return nil // a test ends before the power does
}

// node is a folder with a journal and what it logs.
type node struct {
	t    *testing.T
	root string
	opt  Options
	log  *bytes.Buffer
	*Journal
}

// newNode makes a node with the owners of some files.
func newNode(t *testing.T, opt Options) *node {
	t.Helper()
	n := &node{t: t, root: t.TempDir(), opt: opt, log: new(bytes.Buffer)}
	n.opt.Log = slog.New(slog.NewTextHandler(n.log, nil))
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(n.root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	return n
}

// start opens the journal, as after a crash where it was not closed.
func (n *node) start() {
	n.t.Helper()
	if err := n.tryStart(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) tryStart() (err error) {
	n.Journal, err = Open(n.root, filepath.Join(n.root, ".journal"), n.opt)
	return err
}

// file returns the file that belongs to an owner.
func (n *node) file(owner string) *File {
	n.t.Helper()
	f, err := n.File(owner+"-wal", owner)
	if err != nil {
		n.t.Fatal(err)
	}
	return f
}

// mustLog logs one write, and writes it too where apply is true.
func (n *node) mustLog(f *File, off int64, text string, apply bool) {
	n.t.Helper()
	applied, err := f.Log([]Write{{off, []byte(text)}})
	if err != nil {
		n.t.Fatal(err)
	}
	if apply {
		n.put(f, off, text)
	}
	applied()
}

func (n *node) put(f *File, off int64, text string) {
	n.t.Helper()
	out, err := os.OpenFile(filepath.Join(n.root, f.name), os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = out.WriteAt([]byte(text), off)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		n.t.Fatal(err)
	}
}

// want fails where a file does not hold text; "" where it should be missing.
func (n *node) want(name, text string) {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.root, name))
	if string(data) != text || (err != nil) != (text == "") {
		n.t.Errorf("%s holds %q, %v; want %q", name, data, err, text)
	}
}

// segments returns the names of the log's files.
func (n *node) segments() []string {
	n.t.Helper()
	names, err := filepath.Glob(filepath.Join(n.root, ".journal", "*"))
	if err != nil {
		n.t.Fatal(err)
	}
	return names
}

func TestReplay(t *testing.T) {
	t.Parallel()
	n := newNode(t, Options{})
	a, b := n.file("a"), n.file("b")
	n.mustLog(a, 0, "hello world", false)
	n.mustLog(b, 3, "b", false)
	n.mustLog(a, 6, "earth", true)
	n.mustLog(a, 2, "LL", false)
	n.start()
	n.want("a-wal", "heLLo earth")
	n.want("b-wal", "\x00\x00\x00b")
	if len(n.segments()) != 0 {
		t.Errorf("left: %v", n.segments())
	}
	if !strings.Contains(n.log.String(), "records=4") {
		t.Errorf("the log says %s", n.log)
	}
	c := n.file("c")
	n.mustLog(c, 0, "again", true)
	if err := n.Close(); err != nil || len(n.segments()) != 0 {
		t.Errorf("closed: %v, left %v", err, n.segments())
	}
	if _, err := c.Log(nil); err == nil {
		t.Error("a closed journal takes a record")
	}
}

// TestGroup has many log while the disk is busy: one sync serves them all.
func TestGroup(t *testing.T) {
	t.Parallel()
	var hold, held = make(chan bool), make(chan bool)
	disk := &testDisk{synced: func(string) error { held <- true; <-hold; return nil }}
	n := newNode(t, Options{Disk: disk})
	var done sync.WaitGroup
	logOne := func(f *File, i int) {
		done.Go(func() { n.mustLog(f, int64(i), "x", true) })
	}
	logOne(n.file("a"), 0)
	<-held
	for i := range 16 {
		logOne(n.file([]string{"a", "b"}[i%2]), i+1)
	}
	for waiting := 0; waiting < 16; {
		n.mu.Lock()
		waiting = len(n.waiting)
		n.mu.Unlock()
	}
	hold <- true
	<-held
	hold <- true
	done.Wait()
	if got := disk.syncs.Load(); got != 2 {
		t.Errorf("%d syncs for 17 records", got)
	}
}

// TestWraps writes much more than the segments hold, and crashes now and then
// before the last write is in its file.
func TestWraps(t *testing.T) {
	t.Parallel()
	n := newNode(t, Options{Segments: 2, SegmentSize: 32 << 10, Disk: &testDisk{}})
	model := map[string][]byte{}
	for range 12 {
		var files []*File
		for _, name := range []string{"a", "b", "c"} {
			files = append(files, n.file(name))
		}
		for i := range 40 {
			f := files[rand.IntN(len(files))]
			w := Write{int64(rand.IntN(3000)), bytes.Repeat([]byte{byte(rand.IntN(256))}, 1+rand.IntN(3000))}
			n.mustLog(f, w.Off, string(w.Data), i < 39)
			m := bytes.Clone(model[f.name])
			m = append(m, make([]byte, max(0, int(w.Off)+len(w.Data)-len(m)))...)
			copy(m[w.Off:], w.Data)
			model[f.name] = m
		}
		if len(n.segments()) > 2 {
			t.Errorf("segments: %v", n.segments())
		}
		n.start()
		for name, m := range model {
			n.want(name, string(m))
		}
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// TestTorn destroys the last record from each byte on.
func TestTorn(t *testing.T) {
	t.Parallel()
	n := newNode(t, Options{})
	f := n.file("a")
	n.mustLog(f, 0, "acknowledged", false)
	end := n.active.end
	n.mustLog(f, 0, "TORN", false)
	path := n.active.path
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := end; at < n.active.end; at++ {
		torn := bytes.Clone(whole)
		for i := at; i < int64(len(torn)); i++ {
			torn[i] ^= 0x5a
		}
		h, records, ok := parseSegment(torn)
		if !ok || len(records) != 1 || h.first != 1 || string(records[0].writes[0].Data) != "acknowledged" {
			t.Fatalf("torn at %d: %d records, %v", at-end, len(records), ok)
		}
	}
	if err := os.WriteFile(path, whole[:end+30], 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.want("a-wal", "acknowledged")
}

// TestStale has a file used again whose old records lie where new ones are
// expected.
func TestStale(t *testing.T) {
	t.Parallel()
	s := &segment{salt: 1}
	f := &File{name: "a-wal", owner: "a"}
	one, two := appendBody(nil, kindWrites, f, []Write{{0, []byte("one")}}), appendBody(nil, kindWrites, f, []Write{{0, []byte("old")}})
	seal(one, s.salt, 1)
	seal(two, 99, 2)
	data := append(head{salt: s.salt, number: 1, first: 1}.marshal(), append(one, two...)...)
	if _, records, ok := parseSegment(data); !ok || len(records) != 1 {
		t.Errorf("%d records, %v", len(records), ok)
	}
}

// TestReplaced puts another file in the place of one owner, and removes one.
func TestReplaced(t *testing.T) {
	t.Parallel()
	n := newNode(t, Options{})
	for _, name := range []string{"a", "b", "c"} {
		n.mustLog(n.file(name), 0, "old "+name, false)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.Remove(filepath.Join(n.root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(n.root, "a"), []byte("restored"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.want("a-wal", "")
	n.want("b-wal", "")
	n.want("c-wal", "old c")
	for _, line := range []string{"replaced since", "file=a", "is gone", "file=b"} {
		if !strings.Contains(n.log.String(), line) {
			t.Errorf("the log does not say %q: %s", line, n.log)
		}
	}
}

// TestCopied copies everything to another place before the start.
func TestCopied(t *testing.T) {
	t.Parallel()
	n := newNode(t, Options{})
	n.mustLog(n.file("a"), 0, "text", false)
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(n.root)); err != nil {
		t.Fatal(err)
	}
	n.root = to
	n.start()
	n.want("a-wal", "text")
	if !strings.Contains(n.log.String(), "is a copy") {
		t.Errorf("the log says %s", n.log)
	}
}

func TestDeleted(t *testing.T) {
	t.Parallel()
	n := newNode(t, Options{})
	a, b := n.file("a"), n.file("b")
	n.mustLog(a, 0, "old old old", true) // its removal is not on disk
	n.mustLog(b, 0, "old old old", true)
	a.Deleted()
	b.Deleted()
	n.mustLog(n.file("b"), 0, "new", false)
	n.start()
	n.want("a-wal", "")
	n.want("b-wal", "new")
}

func TestSynced(t *testing.T) {
	t.Parallel()
	n := newNode(t, Options{})
	a := n.file("a")
	n.mustLog(a, 0, "old", true)
	n.put(a, 0, "by its owner")
	if err := a.Synced(); err != nil {
		t.Fatal(err)
	}
	n.mustLog(a, 3, "BEHIND", false)
	n.start()
	n.want("a-wal", "by BEHINDner")
}

// TestDamaged removes a segment from the middle, and spoils one.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"removed": os.Remove,
		"spoilt":  func(path string) error { return os.WriteFile(path, make([]byte, 100), 0o600) },
		"record": func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("?"), headSize+60)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			block := make(chan bool)
			t.Cleanup(func() { close(block) })
			n := newNode(t, Options{SegmentSize: headSize + 100, Disk: &testDisk{synced: func(name string) error {
				if strings.HasSuffix(name, "-wal") {
					<-block // no segment becomes free
				}
				return nil
			}}})
			f := n.file("a")
			for i := range 3 {
				n.mustLog(f, int64(100*i), strings.Repeat("x", 100), true)
			}
			names := n.segments()
			if len(names) != 3 {
				t.Fatalf("segments %v", names)
			}
			if err := spoil(names[1]); err != nil {
				t.Fatal(err)
			}
			n.opt.Disk = osDisk{}
			err := n.tryStart()
			if mail.KindOf(err) != mail.KindCorrupt || !strings.Contains(mail.PublicText(err), names[2]) {
				t.Errorf("error %v", err)
			}
			if len(n.segments()) < 2 {
				t.Error("segments were removed")
			}
		})
	}
}

// TestLogFails breaks the disk of the log: nothing is acknowledged, and the log
// is begun anew once the disk is mended.
func TestLogFails(t *testing.T) {
	t.Parallel()
	full, broken := error(syscall.ENOSPC), errors.New("input/output error")
	for name, fail := range map[string]func(*testDisk, *atomic.Bool){
		"write": func(d *testDisk, on *atomic.Bool) {
			if on.Load() {
				d.written.Store(&full)
			} else {
				d.written.Store(nil)
			}
		},
		"sync": func(d *testDisk, on *atomic.Bool) {
			d.synced = func(string) error {
				if on.Load() {
					return broken
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, on := &testDisk{}, &atomic.Bool{}
			fail(disk, on)
			n := newNode(t, Options{Disk: disk})
			f := n.file("a")
			n.mustLog(f, 0, "before", true)
			for range 3 {
				on.Store(true)
				fail(disk, on)
				for i := range 3 {
					if _, err := f.Log([]Write{{0, []byte("failed")}}); err == nil {
						t.Fatalf("record %d was acknowledged", i)
					}
				}
				on.Store(false)
				fail(disk, on)
				n.mustLog(f, 10, "behind", false)
				n.mustLog(n.file("b"), 0, "x", false)
			}
			n.start()
			n.want("a-wal", "before\x00\x00\x00\x00behind")
			n.want("b-wal", "x")
		})
	}
}

// TestFileSyncFails has the sync of a file fail: the journal keeps what it has,
// and acknowledges nothing more, even if a later sync succeeds.
func TestFileSyncFails(t *testing.T) {
	t.Parallel()
	var on atomic.Bool
	on.Store(true)
	n := newNode(t, Options{Segments: 2, SegmentSize: headSize + 200, Disk: &testDisk{synced: func(name string) error {
		if on.Load() && strings.HasSuffix(name, "a-wal") {
			return errors.New("input/output error")
		}
		return nil
	}}})
	f, acked := n.file("a"), 0
	n.put(f, 0, "?")
	for i := range 100 {
		applied, err := f.Log([]Write{{int64(i), []byte("x")}})
		if err != nil {
			break
		}
		applied()
		acked++
	}
	if acked == 0 || acked == 100 {
		t.Fatalf("%d records were acknowledged", acked)
	}
	on.Store(false)
	if _, err := n.file("b").Log([]Write{{0, []byte("x")}}); err == nil {
		t.Error("the journal goes on")
	}
	if err := n.Close(); err == nil {
		t.Error("the journal was emptied")
	}
	n.start()
	n.want("a-wal", strings.Repeat("x", acked))
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	n := newNode(t, Options{})
	if _, err := n.file("a").Log([]Write{{0, make([]byte, maxRecord)}}); err == nil {
		t.Error("a record of any size is taken")
	}
	if _, err := n.File("x-wal", "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file without an owner: %v", err)
	}
}

// FuzzSegment reads what may be a segment.
func FuzzSegment(f *testing.F) {
	file := &File{name: "a-wal", owner: "a", id: Identity{7, 8}}
	data := head{salt: 5, number: 1, first: 1}.marshal()
	for i, kind := range []byte{kindWrites, kindDeleted, kindSynced} {
		b := appendBody(nil, kind, file, []Write{{int64(i), []byte("text")}, {1 << 40, nil}})
		seal(b, 5, uint64(i+1))
		f.Add(b[recordHead:])
		data = append(data, b...)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, records, ok := parseSegment(data); ok {
			for _, r := range records {
				if r.kind < kindWrites || r.kind > kindSynced {
					t.Errorf("a record of kind %d", r.kind)
				}
			}
		}
		r, ok := parseBody(data)
		if !ok {
			return
		}
		again := appendBody(nil, r.kind, &File{name: r.name, owner: r.owner, id: r.id}, r.writes)
		if !bytes.Equal(again[recordHead:], data) {
			t.Errorf("%x is read as %+v, which is written %x", data, r, again[recordHead:])
		}
	})
}
