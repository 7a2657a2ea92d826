package storetest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"expost/internal/mail"
	"expost/internal/store"
)

// PowerCut works on a store whose disk image takes copies of: what a power cut
// at that moment would leave. Each image must hold all that was acknowledged
// before it was taken.
func PowerCut(t *testing.T, running store.Engine, image func(dir string), open Open, cuts int) {
	s := store.New(running, crashOptions)
	if err := s.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	acks := &ackLog{states: make(map[string]int)}
	acks.more.L = &acks.mu
	done := make(chan error, 1)
	go func() { done <- newWork(s, acks, "cut").run(ctx, 4) }()
	type cut struct {
		dir           string
		acked, latest map[string]int // before and behind the image
	}
	var taken []cut
	for range cuts {
		acks.wait(25)
		c := cut{dir: t.TempDir(), acked: acks.copy()}
		image(c.dir)
		c.latest = acks.copy()
		taken = append(taken, c)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range taken {
		s := store.New(open(t, c.dir), crashOptions)
		verify(t, s, c.acked, c.latest)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// ackLog takes the lines of a work.
type ackLog struct {
	mu     sync.Mutex
	states map[string]int
	lines  int
	more   sync.Cond
}

// Write implements io.Writer; it gets a line at a time.
func (l *ackLog) Write(p []byte) (int, error) {
	name, state := "", 0
	if _, err := fmt.Fscan(bytes.NewReader(p), &name, &state); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.states[name] = state
	l.lines++
	l.more.Signal()
	return len(p), nil
}

// wait waits for n more lines.
func (l *ackLog) wait(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for until := l.lines + n; l.lines < until; {
		l.more.Wait()
	}
}

// copy returns what was acknowledged so far.
func (l *ackLog) copy() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	states := make(map[string]int, len(l.states))
	for name, state := range l.states {
		states[name] = state
	}
	return states
}

// Failing works on a store whose disk fails after some operations and works
// again later: the operations that fail must say mail.KindUnavailable, nothing
// of them may be seen, and the store must go on.
func Failing(t *testing.T, e store.Engine, breakDisk, mendDisk func()) {
	ctx := t.Context()
	s := store.New(e, crashOptions)
	defer s.Close()
	if err := s.Create(ctx, account); err != nil {
		t.Fatal(err)
	}
	a, err := s.Open(ctx, account)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	inbox, err := a.Mailbox(ctx, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	v, err := a.Select(ctx, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	want, failures := 0, 0
	for round := range 6 {
		for n := range 40 {
			switch n {
			case 5 * round % 20:
				breakDisk()
			case 30:
				mendDisk()
			}
			err := appendOne(ctx, s, a, inbox.ID, round*100+n, 1+n%3*15_000)
			switch {
			case err == nil:
				want++
			case mail.KindOf(err) == mail.KindUnavailable && n < 30:
				failures++
			default:
				t.Fatalf("message %d of round %d: %v", n, round, err)
			}
			if got := v.Latest().Len(); got != want {
				t.Fatalf("%d messages are seen, %d were acknowledged", got, want)
			}
		}
	}
	if failures == 0 {
		t.Error("the disk never failed")
	}
	for finding, err := range s.Check(ctx, store.CheckOptions{Repair: true}) {
		if err != nil || !strings.Contains(finding.Problem, "belongs to no message") {
			t.Errorf("check found: %v, %v", finding, err)
		}
	}
}

// appendOne appends one message of a size that does not compress.
func appendOne(ctx context.Context, s *store.Store, a *store.Account, id mail.MailboxID, n, size int) error {
	in, err := s.Spool(ctx, nil, strings.NewReader(text(n)+noise(size, uint64(n))), 0)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = a.Append(ctx, id, in, store.AppendOptions{})
	return err
}
