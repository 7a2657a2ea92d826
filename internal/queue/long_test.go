package queue

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/mail"
)

// TestLongQueue fills the queue with mail that cannot leave, for 500 hops, and
// then sends a message that can. EXPOST_QUEUED says how much; 5,000 by default.
// The memory it takes must not depend on that.
func TestLongQueue(t *testing.T) {
	queued := 5000
	if n, err := strconv.Atoi(os.Getenv("EXPOST_QUEUED")); err == nil {
		queued = n
	}
	b := newBench(t, nil)
	b.carrier.dials = make(chan string, 100000)
	b.carrier.dial = func(hop string) error {
		if hop != "good.example" {
			return errors.New("connection refused")
		}
		return nil
	}
	before := heap()
	text := "Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 40)
	var next atomic.Int64
	var work sync.WaitGroup
	for range 64 {
		work.Go(func() {
			for i := next.Add(1); int(i) <= queued; i = next.Add(1) {
				env := Envelope{From: "me@example.org", Recipients: []Recipient{{Address: mail.Address(fmt.Sprintf("u%d@x%d.example", i, i%500))}}}
				if _, err := b.Enqueue(t.Context(), env, strings.NewReader(text)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	b.run(t)
	tried := map[string]bool{}
	for len(tried) < 500 {
		tried[wait(t, b.carrier.dials)] = true
	}
	b.put(t, Envelope{From: "me@example.org"}, Recipient{Address: "a@good.example"})
	start := time.Now()
	if got := wait(t, b.carrier.sent); got != "good.example a@good.example" {
		t.Errorf("sent %s", got)
	}
	grown := heap() - before
	t.Logf("%d messages queued: %d MiB of memory more, a message to another host left after %v", queued, grown>>20, time.Since(start).Round(time.Millisecond))
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
