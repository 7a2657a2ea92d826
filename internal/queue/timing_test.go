package queue

import (
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/smtpclient"
)

// put puts a message into the queue.
func (b *bench) put(t *testing.T, env Envelope, to ...Recipient) ID {
	t.Helper()
	env.Recipients = to
	id, err := b.Enqueue(t.Context(), env, strings.NewReader("Subject: hello\r\n\r\nbody\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// state returns the state of a message's first recipient.
func (b *bench) state(t *testing.T, id ID) (s Status) {
	t.Helper()
	err := b.List(t.Context(), Filter{ID: id}, func(e *Entry) bool { s = e.Recipients[0]; return true })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHeldFromTheStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.run(t)
	id := b.put(t, Envelope{From: "a@example.org", Hold: "too much"}, Recipient{Address: "b@example.org", Host: Local})
	b.clock.advance(48 * time.Hour)
	if s := b.state(t, id); s.State != "held" || s.Hop != Local || s.Reply != "too much" {
		t.Errorf("the message is %+v", s)
	}
	if n, err := b.Release(t.Context(), Filter{ID: id}); n != 1 || err != nil {
		t.Fatalf("release: %d, %v", n, err)
	}
	if got := wait(t, b.carrier.sent); got != "local: b@example.org" {
		t.Errorf("sent %s", got)
	}
}

func TestNotBefore(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.run(t)
	at := b.clock.Now().Add(10 * 24 * time.Hour)
	id := b.put(t, Envelope{From: "a@example.org", NotBefore: at}, Recipient{Address: "b@x.example"})
	b.until(t, time.Hour, func() bool { return b.clock.Now().After(at.Add(-2 * time.Hour)) })
	select {
	case got := <-b.carrier.sent:
		t.Fatalf("%s was sent too early", got)
	case r := <-b.reports:
		t.Fatalf("a report came: %s", r.text)
	default:
	}
	if s := b.state(t, id); s.State != "waiting" || s.Next == nil || !s.Next.Equal(at.Truncate(time.Microsecond)) {
		t.Errorf("the message is %+v, and not to be sent at %v", s, at)
	}
	b.until(t, time.Hour, func() bool { return len(b.carrier.sent) > 0 })
}

func TestDeliverBy(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.carrier.answer = func(string, mail.Address) smtpclient.Reply { return smtpclient.Reply{Code: 451, Text: "not now"} }
	b.run(t)
	by := DeliverBy{Time: b.clock.Now().Add(time.Hour), Return: true}
	b.put(t, Envelope{From: "a@example.org", By: by}, Recipient{Address: "b@x.example"})
	b.put(t, Envelope{From: "c@example.org", By: DeliverBy{Time: by.Time}}, Recipient{Address: "b@y.example"})
	got := map[mail.Address]string{}
	b.until(t, time.Minute, func() bool { return !b.clock.Now().Before(by.Time) })
	b.until(t, time.Second, func() bool { // a slow machine needs time for it, which is none of the clock's
		for len(b.reports) > 0 {
			r := <-b.reports
			got[r.to] += r.text
		}
		return len(got) == 2
	})
	if text := got["a@example.org"]; !strings.Contains(text, "Action: failed") || !strings.Contains(text, "Status: 5.4.7") {
		t.Errorf("with R the sender is told\n%s", text)
	}
	if text := got["c@example.org"]; !strings.Contains(text, "Action: delayed") {
		t.Errorf("with N the sender is told\n%s", text)
	}
	if late := b.clock.Now().Sub(by.Time); late < 0 || late > 10*time.Minute {
		t.Errorf("they were told %v after the time", late)
	}
}

// TestDeliverByWithoutIt has a message with a deliver-by time leave for a server
// that does not know such times, and for one that does.
func TestDeliverByWithoutIt(t *testing.T) {
	t.Parallel()
	for _, knows := range []bool{false, true} {
		b := newBench(t, nil)
		b.carrier.deliverBy = knows
		b.run(t)
		by := DeliverBy{Time: b.clock.Now().Add(time.Hour)}
		b.put(t, Envelope{From: "a@example.org", By: by}, Recipient{Address: "b@x.example"}, Recipient{Address: "never@x.example", Notify: "NEVER"})
		b.until(t, 0, func() bool { return b.empty(t) })
		switch {
		case knows && len(b.reports) > 0:
			t.Errorf("a report: %s", (<-b.reports).text)
		case !knows:
			if r := wait(t, b.reports); !strings.Contains(r.text, "Action: relayed") || strings.Contains(r.text, "never@x.example") {
				t.Errorf("the sender is told\n%s", r.text)
			}
		}
	}
}

func TestPriority(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.PerHop = 1; c.Sessions = 1 })
	for _, p := range []int{-3, 0, 9, 3} {
		b.put(t, Envelope{From: "a@example.org", Priority: p}, Recipient{Address: mail.Address(string(rune('a'+p+3)) + "@x.example")})
	}
	b.run(t)
	var order []string
	for range 4 {
		order = append(order, wait(t, b.carrier.sent))
	}
	if got := strings.Join(order, ", "); got != "x.example m@x.example, x.example g@x.example, x.example d@x.example, x.example a@x.example" {
		t.Errorf("sent in the order %s", got)
	}
}

func TestLimitsOfTheServer(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.carrier.limits = map[string]int{"RCPTMAX": 2, "MAILMAX": 1}
	b.run(t)
	b.put(t, Envelope{From: "a@example.org"}, Recipient{Address: "a@x.example"}, Recipient{Address: "b@x.example"}, Recipient{Address: "c@x.example"},
		Recipient{Address: "d@x.example"}, Recipient{Address: "e@x.example"})
	for range 5 {
		wait(t, b.carrier.sent)
	}
	b.until(t, 0, func() bool { return b.empty(t) })
	if n := len(b.carrier.transactions); n != 3 {
		t.Errorf("there were %d transactions, want 3", n)
	}
}

// TestOldFormat opens a queue of the first format.
func TestOldFormat(t *testing.T) {
	t.Parallel()
	var dir string
	b := newBench(t, func(c *Config) { dir = c.Dir })
	id := b.enqueue(t, "a@example.org", "b@x.example")
	err := b.db.Exec(`ALTER TABLE message DROP COLUMN by; ALTER TABLE message DROP COLUMN bymode; ALTER TABLE message DROP COLUMN priority; PRAGMA user_version = 1`)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := newBench(t, func(c *Config) { c.Dir = dir })
	again.run(t)
	if got := wait(t, again.carrier.sent); got != "x.example b@x.example" {
		t.Errorf("of message %s was sent %s", id, got)
	}
}
