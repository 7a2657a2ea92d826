package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/smtpclient"
)

// fakeClock stands still until it is set forward.
type fakeClock struct {
	mu      sync.Mutex
	now     time.Time
	waiting map[chan time.Time]time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Unix(1_800_000_000, 0), waiting: map[chan time.Time]time.Time{}}
}

func (c *fakeClock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.waiting[ch] = c.now.Add(d)
	return ch
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for ch, at := range c.waiting {
		if !at.After(c.now) {
			ch <- c.now
			delete(c.waiting, ch)
		}
	}
}

// fakeCarrier answers for all hops.
type fakeCarrier struct {
	mu        sync.Mutex
	dial      func(hop string) error
	answer    func(hop string, to mail.Address) smtpclient.Reply
	fail      func(nth int) error // of the nth message of a session
	sent      chan string         // "hop address"
	dials     chan string
	dsn       bool
	deliverBy bool
	limits    map[string]int

	transactions []int // recipients
}

func newFakeCarrier() *fakeCarrier {
	return &fakeCarrier{sent: make(chan string, 10000), dials: make(chan string, 10000)}
}

func (c *fakeCarrier) Dial(_ context.Context, hop string) (Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dial != nil {
		if err := c.dial(hop); err != nil {
			c.dials <- hop
			return nil, err
		}
	}
	c.dials <- hop
	return &fakeSession{c: c, hop: hop}, nil
}

type fakeSession struct {
	c    *fakeCarrier
	hop  string
	sent int
}

func (s *fakeSession) Send(m *smtpclient.Message) ([]smtpclient.Reply, error) {
	if s.sent++; s.c.fail != nil {
		if err := s.c.fail(s.sent); err != nil {
			return make([]smtpclient.Reply, len(m.Recipients)), err
		}
	}
	var b bytes.Buffer
	if n, err := m.Body.WriteTo(&b); err != nil || n != m.Size {
		return nil, fmt.Errorf("%d of %d bytes: %w", n, m.Size, err)
	}
	s.c.mu.Lock()
	s.c.transactions = append(s.c.transactions, len(m.Recipients))
	s.c.mu.Unlock()
	var replies []smtpclient.Reply
	for _, r := range m.Recipients {
		reply := smtpclient.Reply{Code: 250, Status: "2.0.0", Text: "ok"}
		s.c.mu.Lock()
		if s.c.answer != nil {
			reply = s.c.answer(s.hop, r.Address)
		}
		s.c.mu.Unlock()
		replies = append(replies, reply)
		s.c.sent <- s.hop + " " + string(r.Address)
	}
	return replies, nil
}

func (s *fakeSession) Usable() bool   { return true }
func (s *fakeSession) Remote() string { return "mx." + s.hop }
func (s *fakeSession) Has(word string) bool {
	return word == "DSN" && s.c.dsn || word == "DELIVERBY" && s.c.deliverBy
}
func (s *fakeSession) Secure() bool { return false }
func (s *fakeSession) Limit(name string) int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.limits[name]
}
func (s *fakeSession) Close()                       {}
func (s *fakeSession) Next(context.Context) Session { return nil }

// report is a report that was handed in.
type report struct {
	to   mail.Address
	text string
}

// bench is a queue under test.
type bench struct {
	*Queue
	clock   *fakeClock
	carrier *fakeCarrier
	reports chan report
	refuse  func(to mail.Address) error
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{clock: newFakeClock(), carrier: newFakeCarrier(), reports: make(chan report, 100)}
	cfg := Config{
		Dir: t.TempDir(), Hostname: "mail.example.org", Postmaster: "postmaster@example.org",
		Carrier: b.carrier, Clock: b.clock, Log: slog.New(slog.DiscardHandler),
		Inject: func(_ context.Context, to mail.Address, r io.Reader) error {
			text, err := io.ReadAll(r)
			if err == nil && b.refuse != nil {
				err = b.refuse(to)
			}
			if err == nil {
				b.reports <- report{to, string(text)}
			}
			return err
		},
	}
	if change != nil {
		change(&cfg)
	}
	q, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Queue = q
	return b
}

// run starts the queue and stops it with the test.
func (b *bench) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, 5*time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// wait returns the next value of ch.
func wait[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// until sets the clock forward, a step at a time, until cond is true.
func (b *bench) until(t *testing.T, step time.Duration, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
		b.clock.advance(step)
		<-time.After(2 * time.Millisecond)
	}
}

func (b *bench) empty(t *testing.T) bool {
	n := 0
	if err := b.List(t.Context(), Filter{}, func(*Entry) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n == 0
}

func (b *bench) enqueue(t *testing.T, from mail.Address, to ...mail.Address) ID {
	t.Helper()
	env := Envelope{From: from}
	for _, a := range to {
		env.Recipients = append(env.Recipients, Recipient{Address: a})
	}
	id, err := b.Enqueue(t.Context(), env, strings.NewReader("Subject: hello\r\n\r\nbody\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestSent(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.run(t)
	b.enqueue(t, "me@example.org", "a@x.example", "b@x.example", "c@Y.example")
	got := map[string]bool{}
	for range 3 {
		got[wait(t, b.carrier.sent)] = true
	}
	for _, want := range []string{"x.example a@x.example", "x.example b@x.example", "y.example c@Y.example"} {
		if !got[want] {
			t.Errorf("%s was not sent: %v", want, got)
		}
	}
	b.until(t, 0, func() bool { return b.empty(t) })
}

func TestLargeBody(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	noise := make([]byte, 300<<10)
	for i := range noise {
		noise[i] = byte(i*i>>3) | 0x80
	}
	_, err := b.Enqueue(t.Context(), Envelope{Recipients: []Recipient{{Address: "a@x.example"}}}, bytes.NewReader(noise))
	if err != nil {
		t.Fatal(err)
	}
	b.run(t)
	wait(t, b.carrier.sent)
	b.until(t, 0, func() bool { return b.empty(t) })
}

func TestRetriedUntilItWorks(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	fails := 3
	b.carrier.answer = func(string, mail.Address) smtpclient.Reply {
		if fails--; fails >= 0 {
			return smtpclient.Reply{Code: 450, Status: "4.7.1", Text: "greylisted"}
		}
		return smtpclient.Reply{Code: 250}
	}
	b.run(t)
	b.enqueue(t, "me@example.org", "a@x.example")
	start := b.clock.Now()
	b.until(t, 10*time.Second, func() bool { return b.empty(t) })
	if d := b.clock.Now().Sub(start); d < 5*time.Minute { // 1+2+4 min, a fifth less
		t.Errorf("it took %v", d)
	}
	if n := len(b.carrier.sent); n != 4 {
		t.Errorf("%d tries", n)
	}
}

func TestReturned(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.carrier.answer = func(string, mail.Address) smtpclient.Reply {
		return smtpclient.Reply{Code: 550, Status: "5.1.1", Text: "no such user"}
	}
	b.run(t)
	b.enqueue(t, "me@example.org", "a@x.example")
	r := wait(t, b.reports)
	for _, want := range []string{"Action: failed", "Status: 5.1.1", "Final-Recipient: rfc822; a@x.example", "Remote-MTA: dns; mx.x.example",
		"Diagnostic-Code: smtp; 550 5.1.1 no such user", "Subject: hello\r\n\r\nbody\r\n", "message/rfc822"} {
		if !strings.Contains(r.text, want) {
			t.Errorf("%q is not in\n%s", want, r.text)
		}
	}
	if r.to != "me@example.org" {
		t.Errorf("the report went to %s", r.to)
	}
	b.until(t, 0, func() bool { return b.empty(t) })
}

// TestRequireTLSReport brings back the header only (RFC 8689 §5).
func TestRequireTLSReport(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.carrier.answer = func(string, mail.Address) smtpclient.Reply { return smtpclient.Reply{Code: 550} }
	b.run(t)
	_, err := b.Enqueue(t.Context(), Envelope{From: "me@example.org", Return: "FULL", RequireTLS: true, Recipients: []Recipient{{Address: "a@x.example"}}},
		strings.NewReader("Subject: hello\r\n\r\nsecret\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r := wait(t, b.reports); strings.Contains(r.text, "secret") || !strings.Contains(r.text, "Subject: hello") {
		t.Errorf("the report is\n%s", r.text)
	}
}

func TestDoubleBounceGoesToPostmaster(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.refuse = func(to mail.Address) error {
		if to == "gone@example.org" {
			return mail.Errorf(mail.KindNotExist, "no such mailbox")
		}
		return nil
	}
	b.carrier.answer = func(string, mail.Address) smtpclient.Reply { return smtpclient.Reply{Code: 550} }
	b.run(t)
	for _, from := range []mail.Address{"", "gone@example.org"} {
		b.enqueue(t, from, "a@x.example")
		if r := wait(t, b.reports); r.to != "postmaster@example.org" {
			t.Errorf("sender %q: the report went to %s", from, r.to)
		}
	}
}

func TestNotify(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.carrier.answer = func(_ string, to mail.Address) smtpclient.Reply {
		if to.Local() == "bad" {
			return smtpclient.Reply{Code: 550}
		}
		return smtpclient.Reply{Code: 250}
	}
	b.run(t)
	_, err := b.Enqueue(t.Context(), Envelope{From: "me@example.org", Recipients: []Recipient{
		{Address: "bad@x.example", Notify: "NEVER"}, {Address: "bad@y.example", Notify: "SUCCESS"}, {Address: "ok@z.example", Notify: "SUCCESS,FAILURE"},
	}}, strings.NewReader("\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := wait(t, b.reports)
	if !strings.Contains(r.text, "Action: relayed") || strings.Contains(r.text, "bad@") {
		t.Errorf("the report is\n%s", r.text)
	}
	b.until(t, 0, func() bool { return b.empty(t) })
	if len(b.reports) > 0 {
		t.Errorf("another report: %s", (<-b.reports).text)
	}
}

// TestDeadHop has a hop that nobody reaches: late, then returned, and all the
// mail for it costs a connection at a time.
func TestDeadHop(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.carrier.dial = func(hop string) error {
		if hop == "dead.example" {
			return fmt.Errorf("connection refused")
		}
		return nil
	}
	for i := range 300 {
		b.enqueue(t, "me@example.org", mail.Address(fmt.Sprintf("u%d@dead.example", i)))
	}
	b.run(t)
	b.until(t, time.Minute, func() bool { return len(b.reports) > 0 })
	if r := <-b.reports; !strings.Contains(r.text, "Action: delayed") || !strings.Contains(r.text, "connection refused") || !strings.Contains(r.text, "Will-Retry-Until") {
		t.Errorf("the first report is\n%s", r.text)
	}
	go func() {
		for range b.reports { // two for each message
		}
	}()
	b.enqueue(t, "me@example.org", "a@alive.example")
	wait(t, b.carrier.sent)
	b.until(t, time.Hour, func() bool { return b.empty(t) })
	if n := len(b.carrier.dials); n > 600 {
		t.Errorf("%d connections were tried", n)
	}
}

// TestClosedSession has a server that closes sessions behind its first reply:
// a message that finds its session closed goes over a new one at once, and one
// that was cut half way waits alone.
func TestClosedSession(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err   error
		dials int
		left  int
	}{
		"idle":     {fmt.Errorf("%w: EOF", smtpclient.ErrUnheard), 3, 0},
		"half way": {errors.New("EOF"), 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(c *Config) { c.PerHop, c.Sessions, c.PerSession = 1, 1, 2 })
			b.carrier.fail = func(nth int) error {
				if nth == 2 {
					return test.err
				}
				return nil
			}
			for i := range 3 {
				b.enqueue(t, "me@example.org", mail.Address(fmt.Sprintf("u%d@x.example", i)))
			}
			b.run(t) // the clock stands still: what is put off is never sent
			for range 3 - test.left {
				wait(t, b.carrier.sent)
			}
			left := func() (n int) {
				if err := b.List(t.Context(), Filter{}, func(e *Entry) bool { n++; return true }); err != nil {
					t.Fatal(err)
				}
				return n
			}
			b.until(t, 0, func() bool { return left() == test.left })
			if n := len(b.carrier.dials); n != test.dials {
				t.Errorf("%d sessions, want %d", n, test.dials)
			}
		})
	}
}

func TestPermanentHop(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.carrier.dial = func(string) error { return noDomain{} }
	b.run(t)
	b.enqueue(t, "me@example.org", "a@nowhere.example")
	if r := wait(t, b.reports); !strings.Contains(r.text, "Status: 5.1.2") || !strings.Contains(r.text, "Diagnostic-Code: x-expost; no such domain") {
		t.Errorf("the report is\n%s", r.text)
	}
}

type noDomain struct{}

func (noDomain) Error() string          { return "no such domain" }
func (noDomain) Permanent() bool        { return true }
func (noDomain) EnhancedStatus() string { return "5.1.2" }

// TestFairness has a person's message go before a newsletter's rest.
func TestFairness(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.PerHop, c.Sessions = 1, 1 })
	for i := range 500 {
		b.enqueue(t, "news@example.org", mail.Address(fmt.Sprintf("u%d@x.example", i)))
	}
	b.enqueue(t, "me@example.org", "friend@x.example")
	b.run(t)
	for i := range 501 {
		if strings.Contains(wait(t, b.carrier.sent), "friend") {
			if i > 100 {
				t.Errorf("it went as number %d", i)
			}
			return
		}
	}
}

func TestHoldReleaseRetryDrop(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.carrier.answer = func(string, mail.Address) smtpclient.Reply { return smtpclient.Reply{Code: 450} }
	held, dropped := b.enqueue(t, "me@example.org", "a@x.example"), b.enqueue(t, "me@example.org", "b@x.example")
	ctx := t.Context()
	for _, step := range []struct {
		do func(context.Context, Filter) (int, error)
		id ID
	}{{b.Hold, held}, {b.Drop, dropped}} {
		if n, err := step.do(ctx, Filter{ID: step.id}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	b.run(t)
	other := b.enqueue(t, "me@example.org", "c@x.example")
	if got := wait(t, b.carrier.sent); got != "x.example c@x.example" {
		t.Fatalf("%s was sent", got)
	}
	if n, err := b.Release(ctx, Filter{Hop: "x.example", From: "me@example.org"}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if got := wait(t, b.carrier.sent); got != "x.example a@x.example" {
		t.Fatalf("%s was sent", got)
	}
	b.until(t, 0, func() bool {
		tries := 0
		if err := b.List(ctx, Filter{ID: other}, func(e *Entry) bool { tries = e.Recipients[0].Tries; return true }); err != nil {
			t.Fatal(err)
		}
		return tries == 1
	})
	if n, err := b.Retry(ctx, Filter{ID: other}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := wait(t, b.carrier.sent); got != "x.example c@x.example" {
		t.Fatalf("%s was sent", got)
	}
	if _, err := b.Retry(ctx, Filter{ID: dropped}); mail.KindOf(err) != mail.KindNotExist {
		t.Errorf("a message that was dropped: %v", err)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	q := &Queue{cfg: Config{}.withDefaults()}
	for tries, want := range map[int]time.Duration{1: time.Minute, 2: 2 * time.Minute, 6: 32 * time.Minute, 7: time.Hour, 100: time.Hour} {
		for range 50 {
			if got := q.backoff(tries); got < want*8/10 || got > want*12/10 {
				t.Errorf("after %d tries: %v", tries, got)
			}
		}
	}
}

func BenchmarkEnqueue(b *testing.B) {
	q, err := Open(Config{Dir: b.TempDir(), Carrier: newFakeCarrier(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	text := "Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 80)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := q.Enqueue(context.Background(), Envelope{From: "me@example.org", Recipients: []Recipient{{Address: "a@x.example"}}}, strings.NewReader(text)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
