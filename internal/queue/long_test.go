package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/mail"
)

// fill enqueues n messages for 500 hops that nobody reaches, and returns how long
// each tenth of them took.
func fill(t *testing.T, b *bench, n int) (tenths []time.Duration) {
	t.Helper()
	text := "Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 40)
	for tenth := range 10 {
		var next atomic.Int64
		var work sync.WaitGroup
		start := time.Now()
		for range 256 {
			work.Go(func() {
				for i := next.Add(1); int(i) <= n/10; i = next.Add(1) {
					env := Envelope{From: mail.Address(fmt.Sprintf("s%d@example.org", tenth)), Recipients: []Recipient{{Address: mail.Address(fmt.Sprintf("u%d@x%d.example", i, i%500))}}}
					if _, err := b.Enqueue(t.Context(), env, strings.NewReader(text)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		work.Wait()
		tenths = append(tenths, time.Since(start).Round(time.Millisecond))
	}
	return tenths
}

// TestLongQueue fills the queue with mail that cannot leave, for 500 hops, opens
// it anew as after a kill, works on it, and sends mail for one more hop.
// EXPOST_QUEUED says how much; 5,000 by default. Neither the memory it takes nor
// the time of anything that concerns few messages may depend on that.
func TestLongQueue(t *testing.T) {
	queued := 5000
	if n, err := strconv.Atoi(os.Getenv("EXPOST_QUEUED")); err == nil {
		queued = n
	}
	dir := t.TempDir()
	b := newBench(t, func(c *Config) { c.Dir = dir })
	took := func(what string, start time.Time) {
		t.Logf("%s: %v", what, time.Since(start).Round(time.Millisecond))
	}
	before := heap()
	t.Logf("enqueued, each tenth: %v", fill(t, b, queued))
	copied := t.TempDir() // what a kill leaves: the database with its log as it is
	for _, name := range []string{"queue.db", "queue.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	b = newBench(t, func(c *Config) { c.Dir = copied })
	took("opened as after a kill", start)
	b.carrier.dials = make(chan string, 100000)
	b.carrier.dial = func(hop string) error {
		if hop != "good.example" {
			return errors.New("connection refused")
		}
		return nil
	}
	start = time.Now()
	counts, err := b.Counts(t.Context())
	if took("counted", start); err != nil || counts["ready"] != int64(queued) {
		t.Fatalf("%v are queued, want %d: %v", counts, queued, err)
	}
	start = time.Now()
	listed := 0
	if err := b.List(t.Context(), Filter{}, func(*Entry) bool { listed++; return listed < 1000 }); err != nil || listed != 1000 {
		t.Errorf("%d listed: %v", listed, err)
	}
	took("listed 1,000", start)
	for _, step := range []struct {
		name string
		do   func(context.Context, Filter) (int, error)
		f    Filter
		want int
	}{{"held one hop", b.Hold, Filter{Hop: "x7.example"}, queued / 500}, {"released it", b.Release, Filter{Hop: "x7.example"}, queued / 500},
		{"dropped one hop", b.Drop, Filter{Hop: "x7.example"}, queued / 500}} {
		start = time.Now()
		if n, err := step.do(t.Context(), step.f); n != step.want || err != nil {
			t.Errorf("%s: %d, want %d: %v", step.name, n, step.want, err)
		}
		took(step.name, start)
	}
	b.run(t)
	start = time.Now()
	tried := map[string]bool{}
	for len(tried) < 499 {
		tried[wait(t, b.carrier.dials)] = true
	}
	took("tried all hops", start)
	start = time.Now()
	for i := range 1000 {
		b.put(t, Envelope{From: "me@example.org"}, Recipient{Address: mail.Address(fmt.Sprintf("a%d@good.example", i))})
	}
	for range 1000 {
		if got := wait(t, b.carrier.sent); !strings.HasPrefix(got, "good.example ") {
			t.Errorf("sent %s", got)
		}
	}
	took("enqueued, one by one, and sent 1,000", start)
	grown := heap() - before
	t.Logf("%d messages queued: %d MiB of memory more", queued, grown>>20)
	if grown > 64<<20 {
		t.Errorf("the queue takes %d MiB", grown>>20)
	}
}

// heap returns what the heap has in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}
