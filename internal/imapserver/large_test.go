package imapserver_test

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// half a million
const largeMailbox = 500_000

// enlarge makes INBOX have so many messages, copies of one.
func (s *site) enlarge(b *testing.B, n int) {
	b.Helper()
	s.deliver(b, "INBOX", "Subject: one of many\r\n\r\ntext\r\n")
	a, err := s.store.Open(b.Context(), "example.org/ajay")
	if err != nil {
		b.Fatal(err)
	}
	defer a.Release()
	box, err := a.Mailbox(b.Context(), "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	for have := 1; have < n; have = min(2*have, n) {
		all := mail.UIDSet{{First: 1, Last: mail.UID(min(have, n-have))}}
		if _, err := a.Copy(b.Context(), box.ID, all, box.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// ask sends a command and reads its answer without looking at it.
func (p *peer) ask(b *testing.B, cmd string) {
	_ = p.nc.SetDeadline(time.Now().Add(time.Minute))
	p.send("x " + cmd + "\r\n")
	for {
		line, err := p.r.ReadSlice('\n')
		if err != nil && err != io.EOF {
			b.Fatal(err)
		}
		if strings.HasPrefix(string(line), "x ") {
			if !strings.HasPrefix(string(line), "x OK") {
				b.Fatalf("%s: %s", cmd, line)
			}
			return
		}
	}
}

// BenchmarkSelectCold opens an account whose INBOX has 500,000 messages, and
// reads that.
func BenchmarkSelectCold(b *testing.B) {
	s := &site{dir: b.TempDir()}
	open := func() {
		engine, err := sqlite.New(s.dir, sqlite.Options{})
		if err != nil {
			b.Fatal(err)
		}
		s.store = store.New(engine, store.Options{IndexDelay: -1})
	}
	open()
	if err := s.store.Create(b.Context(), "example.org/ajay"); err != nil {
		b.Fatal(err)
	}
	s.enlarge(b, largeMailbox)
	if err := s.store.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		open()
		st := s.store
		b.StartTimer()
		a, err := st.Open(b.Context(), "example.org/ajay")
		if err != nil {
			b.Fatal(err)
		}
		v, err := a.Examine(b.Context(), "INBOX")
		if err != nil || v.Snapshot().Len() != largeMailbox {
			b.Fatal(err)
		}
		b.StopTimer()
		v.Close()
		a.Release()
		if err := st.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkSelectWarm selects a mailbox of 500,000 messages again.
func BenchmarkSelectWarm(b *testing.B) {
	s := newSite(b, nil)
	s.enlarge(b, largeMailbox)
	p := s.login(b)
	p.ask(b, "SELECT INBOX")
	for b.Loop() {
		p.ask(b, "SELECT INBOX")
	}
}

// BenchmarkFetchFlags streams the flags of 500,000 messages; MB-heap is by how
// much the heap grows meanwhile, client included.
func BenchmarkFetchFlags(b *testing.B) {
	s := newSite(b, nil)
	s.enlarge(b, largeMailbox)
	p := s.login(b)
	p.ask(b, "SELECT INBOX")
	p.ask(b, "FETCH 1:* (FLAGS)")
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		p.ask(b, "FETCH 1:* (FLAGS)")
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/1e6, "MB-allocated")
	b.ReportMetric(largeMailbox*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkIdleWakeup is the time from an APPEND to what an idle client hears.
func BenchmarkIdleWakeup(b *testing.B) {
	s := newSite(b, nil)
	idle, other := s.login(b), s.login(b)
	idle.ask(b, "SELECT INBOX")
	idle.send("y IDLE\r\n")
	idle.line()
	for n := 1; b.Loop(); n++ {
		other.send("x APPEND INBOX {10+}\r\nA: b\r\n\r\nxx\r\n")
		for !strings.HasPrefix(idle.line(), fmt.Sprintf("* %d EXISTS", n)) {
		}
		b.StopTimer()
		idle.line() // RECENT
		other.line()
		b.StartTimer()
	}
}

// BenchmarkSlowFetch reads a message of 2 GB through a client that takes it
// slowly, and says by how much the heap grows.
func BenchmarkSlowFetch(b *testing.B) {
	const size = 2 << 30
	s := newSite(b, nil)
	s.deliverLarge(b, size)
	p := s.login(b)
	p.ask(b, "SELECT INBOX")
	before, grown := heapNow(), int64(0)
	for b.Loop() {
		p.takeSlowly(b, func() { grown = max(grown, heapNow()-before) })
	}
	b.ReportMetric(float64(grown)/1e6, "MB-grown")
	b.SetBytes(size)
}

// TestSlowFetch takes a message of 64 MB slowly: the heap does not grow with it.
// It runs alone, so that nobody else's memory counts.
func TestSlowFetch(t *testing.T) {
	const size, most = 64 << 20, 8 << 20
	s := newSite(t, nil)
	s.deliverLarge(t, size)
	p := s.login(t)
	p.must("SELECT INBOX")
	before, pieces := heapNow(), 0
	p.takeSlowly(t, func() {
		pieces++
		if grown := heapNow() - before; grown > most {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
	})
	if pieces < 4 {
		t.Errorf("%d pieces were looked at", pieces)
	}
}

// heapNow returns the bytes that are in use after a collection.
func heapNow() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// deliverLarge appends a message of about size bytes.
func (s *site) deliverLarge(tb testing.TB, size int) {
	tb.Helper()
	a, err := s.store.Open(tb.Context(), "example.org/ajay")
	if err != nil {
		tb.Fatal(err)
	}
	defer a.Release()
	box, err := a.Mailbox(tb.Context(), "INBOX")
	if err != nil {
		tb.Fatal(err)
	}
	line := strings.Repeat("0123456789abcdef", 4) + "\r\n"
	in, err := s.store.Spool(tb.Context(), nil, io.MultiReader(strings.NewReader("Subject: big\r\n\r\n"), &repeated{line: line, left: size / len(line)}), 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer in.Close()
	if _, err := a.Append(tb.Context(), box.ID, in, store.AppendOptions{}); err != nil {
		tb.Fatal(err)
	}
}

// takeSlowly fetches message 1 in small pieces, and calls look every 8 MB.
func (p *peer) takeSlowly(tb testing.TB, look func()) {
	p.send("x FETCH 1 BODY.PEEK[]\r\n")
	buf := make([]byte, 64<<10)
	head := p.line()
	length := 0
	if _, err := fmt.Sscanf(head[strings.LastIndexByte(head, '{'):], "{%d}", &length); err != nil {
		tb.Fatal(head)
	}
	for read := 0; read < length; {
		_ = p.nc.SetDeadline(time.Now().Add(time.Minute))
		n, err := p.r.Read(buf[:min(len(buf), length-read)])
		if err != nil {
			tb.Fatal(err)
		}
		if read += n; read%(8<<20) < n {
			look()
		}
	}
	for !strings.HasPrefix(p.line(), "x OK") {
	}
}

// repeated is a line again and again.
type repeated struct {
	line string
	left int
	rest string
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.left == 0 {
			return 0, io.EOF
		}
		r.left--
		r.rest = r.line
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
