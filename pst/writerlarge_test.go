package pst_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"expost/mapi"
	"expost/pst"
)

// large is a file that the test writes, and how it is filled.
type large struct {
	messages  int
	attached  int64 // bytes of attachments
	perFolder int
	peers     []string // that read it

	path string // where the file stays, for benchmarks
}

// largeFiles are a small file of 1000 messages, and with EXPOST_LONG=1 three large
// ones. pffexport makes a directory and several files of each message, and the
// larger a folder is the longer each message takes it: 0.15 ms of processor time in
// a folder of 5000, 0.19 ms in one of 10,000, 0.25 ms in one of 20,000 (that of the
// kernel aside, which is more). So it reads the 3 GB in few messages, and 20,000
// messages in folders of 1000; all of 200,000 messages are read by us and by
// readpst. EXPOST_PST_MESSAGES, EXPOST_PST_MB (of attachments), EXPOST_PST_FOLDER
// (messages a folder) and EXPOST_PST_FILE (where the file stays, which then no
// peer reads) are for benchmarks.
func largeFiles() map[string]large {
	both := []string{"readpst", "pffexport"}
	if path := os.Getenv("EXPOST_PST_FILE"); path != "" {
		number := func(name string, otherwise int) int {
			if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
				return n
			}
			return otherwise
		}
		return map[string]large{"benchmark": {messages: number("EXPOST_PST_MESSAGES", 1000), attached: int64(number("EXPOST_PST_MB", 24)) << 20,
			perFolder: number("EXPOST_PST_FOLDER", 5000), path: path}}
	}
	files := map[string]large{"small": {messages: 1000, attached: 24 << 20, perFolder: 400, peers: both}}
	if os.Getenv("EXPOST_LONG") != "" {
		files["messages"] = large{messages: 200_000, attached: 200 << 20, perFolder: 5000, peers: both[:1]}
		files["bytes"] = large{messages: 600, attached: 3400 << 20, perFolder: 400, peers: both}
		files["folders"] = large{messages: 20_000, attached: 100 << 20, perFolder: 1000, peers: both}
	}
	return files
}

// noise is a stream of n bytes that tell their number.
type noise struct {
	seed, n, at int64
}

func (s *noise) Size() int64 { return s.n }

func (s *noise) Read(p []byte) (int, error) {
	if s.at >= s.n {
		return 0, io.EOF
	}
	n, err := s.ReadAt(p[:min(int64(len(p)), s.n-s.at)], s.at)
	s.at += int64(n)
	return n, err
}

func (s *noise) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		k := uint64(off+int64(i))/8*0x9E3779B97F4A7C15 + uint64(s.seed)
		p[i] = byte(k >> (8 * (uint64(off+int64(i)) % 8)))
	}
	return len(p), nil
}

var vocabulary = strings.Fields("the of and to a in is that for it as was with be by on not he this are or his from at which but have an had they you were their one all we can her has there been if more when will would who so no")

// largeItem makes message i, the same each time: of a few KiB, every tenth with a
// file, every fiftieth with HTML too.
func largeItem(i int, file int64) *mapi.Item {
	rnd := rand.New(rand.NewPCG(uint64(i), 7))
	m := &mapi.Item{}
	text := func(id uint16, s string) { m.Set(mapi.NewTag(id, mapi.TypeString), s) }
	words := func(n int) string {
		var b strings.Builder
		for k := range n {
			b.WriteString(vocabulary[rnd.IntN(len(vocabulary))])
			if k%12 == 11 {
				b.WriteString("\r\n")
			} else {
				b.WriteByte(' ')
			}
		}
		return b.String()
	}
	at := mapi.TimeOf(time.Unix(1_000_000_000+int64(i)*600, 0))
	sender := fmt.Sprintf("p%d@example.org", rnd.IntN(500))
	text(0x001A, "IPM.Note")
	text(0x0037, fmt.Sprintf("Message %d about %s", i, strings.TrimSpace(words(4))))
	text(0x1000, words(100+rnd.IntN(700)))
	if i%50 == 7 {
		m.Set(mapi.NewTag(0x1013, mapi.TypeBinary), []byte("<html><body><p>"+words(400)+"</p></body></html>"))
		m.Set(mapi.NewTag(0x3FDE, mapi.TypeInt32), int32(65001))
	}
	text(0x1035, fmt.Sprintf("<%d@example.org>", i))
	for _, id := range []uint16{0x0042, 0x0C1A} {
		text(id, "Person "+sender)
	}
	text(0x0064, "SMTP")
	text(0x0065, sender)
	text(0x0C1E, "SMTP")
	text(0x0C1F, sender)
	text(0x007D, fmt.Sprintf("Received: from mx.example.org by mail.example.org; Thu, 01 May 2003 12:30:15 +0530\r\nFrom: %s\r\nTo: ajay@example.org\r\n"+
		"Subject: Message\r\nDate: Thu, 01 May 2003 12:30:15 +0530\r\nMessage-ID: <%d@example.org>\r\n\r\n", sender, i))
	for _, id := range []uint16{0x0039, 0x0E06, 0x3007, 0x3008} {
		m.Set(mapi.NewTag(id, mapi.TypeTime), at)
	}
	m.Set(mapi.NewTag(0x0E07, mapi.TypeInt32), int32(rnd.IntN(2)))
	to := &mapi.Item{}
	to.Set(mapi.NewTag(0x0C15, mapi.TypeInt32), int32(1))
	to.Set(mapi.NewTag(0x3001, mapi.TypeString), "Ajay")
	to.Set(mapi.NewTag(0x3002, mapi.TypeString), "SMTP")
	to.Set(mapi.NewTag(0x3003, mapi.TypeString), "ajay@example.org")
	m.To = append(m.To, to)
	if file > 0 {
		a := &mapi.Item{}
		a.Set(mapi.NewTag(0x3705, mapi.TypeInt32), int32(1))
		a.Set(mapi.NewTag(0x3707, mapi.TypeString), fmt.Sprintf("file%d.bin", i))
		a.Set(mapi.NewTag(0x3704, mapi.TypeString), "FILE.BIN")
		a.Set(mapi.NewTag(0x3701, mapi.TypeBinary), mapi.Opener(func() (mapi.Stream, error) { return &noise{seed: int64(i), n: file}, nil }))
		m.Attached = append(m.Attached, a)
	}
	return m
}

// attachmentSize is the size of the file of message i, 0 where it has none: one
// in a thousand is large, the first so large that its blocks need two levels of
// lists.
func attachmentSize(i, messages int, attached int64) int64 {
	switch {
	case i == 0:
		return max(attached/50, 12<<20)
	case i%10 == 0:
		return attached * 9 / 10 / int64(messages/10+1) * int64(1+i/10%3) / 2
	}
	return 0
}

// writeLarge writes the file, and tells the most memory that was in use.
func writeLarge(t testing.TB, path string, l large) (heap uint64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := pst.NewWriter(f, pst.WriterOptions{Name: "Large"})
	if err != nil {
		t.Fatal(err)
	}
	inbox, err := w.Subtree().Folder(pst.FolderOptions{Name: "Inbox", Kind: pst.Inbox})
	if err != nil {
		t.Fatal(err)
	}
	var mem runtime.MemStats
	folder := inbox
	for i := range l.messages {
		if i%l.perFolder == l.perFolder-1 {
			if err := folder.Close(); err != nil {
				t.Fatal(err)
			}
			if folder, err = inbox.Folder(pst.FolderOptions{Name: fmt.Sprintf("Folder %d", i/l.perFolder)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := folder.Add(largeItem(i, attachmentSize(i, l.messages, l.attached))); err != nil {
			t.Fatal(err)
		}
		if i%20000 == 19999 {
			runtime.GC()
			runtime.ReadMemStats(&mem)
			heap = max(heap, mem.HeapInuse)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&mem)
	heap = max(heap, mem.HeapInuse)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return heap
}

// TestWriterLarge writes many messages and much data and reads it with our
// reader and the peers.
func TestWriterLarge(t *testing.T) {
	for name, l := range largeFiles() {
		t.Run(name, func(t *testing.T) {
			path := l.path
			if path == "" {
				path = filepath.Join(t.TempDir(), "large.pst")
			}
			start := time.Now()
			heap := writeLarge(t, path, l)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d messages, %d MB written in %v with %d KiB of memory", l.messages, info.Size()>>20, time.Since(start).Round(time.Millisecond), heap>>10)
			if heap > 96<<20 {
				t.Errorf("%d MiB of memory were in use", heap>>20)
			}
			if name == "bytes" && info.Size() < 3e9 {
				t.Errorf("the file has %d bytes, fewer than it should", info.Size())
			}
			readLarge(t, path, info.Size(), l.messages, l.attached)
			for _, peer := range l.peers {
				needs(t, peer)
				run := map[string]func(*testing.T, string) int{"readpst": runReadpst, "pffexport": runPffexport}[peer]
				start := time.Now()
				if n := run(t, path); n != l.messages {
					t.Errorf("%s writes %d items, want %d", peer, n, l.messages)
				}
				t.Logf("read by %s in %v", peer, time.Since(start).Round(time.Millisecond))
			}
		})
	}
}

// readLarge compares every message with what was written.
func readLarge(t *testing.T, path string, size int64, messages int, attached int64) {
	t.Helper()
	disk, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	f, err := pst.Open(disk, size, pst.Options{Report: func(err error) { t.Error("damaged: ", err) }})
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]bool, messages)
	for d, err := range f.Folders() {
		if err != nil {
			t.Fatal(err)
		}
		for m, err := range d.Messages() {
			if err != nil {
				t.Fatal(err)
			}
			id, _, _ := mapi.Text(m, 0x1035, 0)
			i := -1
			if _, err := fmt.Sscanf(id, "<%d@", &i); err != nil || i < 0 || i >= messages || seen[i] {
				t.Fatalf("item %#x has the id %q", m.ID(), id)
			}
			seen[i] = true
			compareLarge(t, i, m, attachmentSize(i, messages, attached))
		}
	}
	for i, ok := range seen {
		if !ok {
			t.Fatalf("message %d is missing", i)
		}
	}
}

func compareLarge(t *testing.T, i int, m *pst.Message, file int64) {
	t.Helper()
	want := largeItem(i, file)
	for _, id := range []uint16{0x0037, 0x1000, 0x007D, 0x0C1F} {
		g, _, err := mapi.Text(m, id, 0)
		w, _, _ := mapi.Text(want, id, 0)
		if g != w || err != nil {
			t.Fatalf("message %d: property %#x is %.100q, want %.100q: %v", i, id, g, w, err)
		}
	}
	n := 0
	for a, err := range m.Attachments() {
		if err != nil {
			t.Fatal(err)
		}
		n++
		s, err := a.Open(mapi.NewTag(0x3701, mapi.TypeBinary))
		if err != nil || s.Size() != file {
			t.Fatalf("message %d: attachment of %d bytes, want %d: %v", i, s.Size(), file, err)
		}
		if file > 8<<20 || i%100 == 0 {
			got, err := io.ReadAll(io.LimitReader(s, 12<<20))
			expect := make([]byte, len(got))
			_, _ = (&noise{seed: int64(i), n: file}).ReadAt(expect, 0)
			if err != nil || !bytes.Equal(got, expect) {
				t.Fatalf("message %d: the attachment's bytes differ: %v", i, err)
			}
		}
	}
	if (n > 0) != (file > 0) {
		t.Fatalf("message %d has %d attachments", i, n)
	}
}

// BenchmarkConvert turns a whole file into mail.
func BenchmarkConvert(b *testing.B) {
	path := os.Getenv("EXPOST_PST_FILE")
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(b.TempDir(), "large.pst")
		writeLarge(b, path, large{messages: 2000, attached: 24 << 20, perFolder: 5000})
	}
	disk, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer disk.Close()
	info, err := disk.Stat()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	items := 0
	for b.Loop() {
		f, err := pst.Open(disk, info.Size(), pst.Options{})
		if err != nil {
			b.Fatal(err)
		}
		items = 0
		for d, err := range f.Folders() {
			if err != nil {
				b.Fatal(err)
			}
			for m, err := range d.Messages() {
				if err != nil {
					b.Fatal(err)
				}
				if _, err := (&mapi.Converter{}).Convert(io.Discard, m); err != nil {
					b.Fatal(err)
				}
				items++
			}
		}
	}
	b.ReportMetric(float64(items)*float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}
