package delivery

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"expost/internal/delivery/deliverytest"
	"expost/internal/directory"
	"expost/internal/gate"
	"expost/internal/mail"
	"expost/internal/queue"
	"expost/internal/smtpclient"
)

// oldServer is a Carrier to a server that takes everything.
type oldServer struct{ sent []string }

func (o *oldServer) Dial(context.Context, string) (queue.Session, error) { return oldSession{o}, nil }

type oldSession struct{ *oldServer }

func (s oldSession) Send(m *smtpclient.Message) ([]smtpclient.Reply, error) {
	var b strings.Builder
	if _, err := m.Body.WriteTo(&b); err != nil {
		return nil, err
	}
	replies := make([]smtpclient.Reply, len(m.Recipients))
	for i, r := range m.Recipients {
		s.sent = append(s.sent, string(r.Address)+" "+b.String())
		replies[i] = smtpclient.Reply{Code: 250, Text: "old"}
	}
	return replies, nil
}
func (oldSession) Usable() bool     { return true }
func (oldSession) Remote() string   { return "old" }
func (oldSession) Has(string) bool  { return true }
func (oldSession) Limit(string) int { return 0 }
func (oldSession) Secure() bool     { return true }
func (oldSession) Close()           {}

func (oldSession) Next(context.Context) queue.Session { return nil }

// text is a message's body.
type text string

func (t text) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, string(t))
	return int64(n), err
}

func TestQueuedMailFollowsTheAccount(t *testing.T) {
	t.Parallel()
	const old = "exchange.example.org"
	dir := deliverytest.New(
		directory.Account{Address: "ajay@example.org", Host: old}, directory.Account{Address: "anup@example.org", Host: old})
	st, g := newStore(t), gate.New(50*time.Millisecond)
	a := New(Config{Hostname: "mail.example.org", Domains: []string{"example.org"}, Gate: g}, dir, st, slog.New(slog.DiscardHandler))
	server := &oldServer{}
	s, err := (&Moved{Carrier: server, Agent: func() *Agent { return a }, Gate: g}).Dial(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	send := func() []smtpclient.Reply {
		replies, err := s.Send(&smtpclient.Message{
			From: "far@far.example", Body: text("Subject: x\r\n\r\ntext\r\n"), Size: 22,
			Recipients: []smtpclient.Recipient{{Address: "ajay@example.org"}, {Address: "anup@example.org"}, {Address: "far@far.example"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return replies
	}
	if r := send(); len(server.sent) != 3 || !r[0].Delivered() {
		t.Errorf("before the move %q was sent, %v", server.sent, r)
	}
	ajay, err := dir.Resolve(t.Context(), "ajay@example.org")
	if err != nil {
		t.Fatal(err)
	}
	thaw, err := g.Freeze(t.Context(), ajay.ID)
	if err != nil {
		t.Fatal(err)
	}
	if r := send(); r[0].Code != 451 || !r[1].Delivered() || !r[2].Delivered() || len(server.sent) != 5 {
		t.Errorf("while it is frozen: %v, sent %q", r, server.sent)
	}
	ajay.Host = ""
	thaw()
	if r := send(); !r[0].Delivered() || len(server.sent) != 7 {
		t.Errorf("after the move: %v, sent %q", r, server.sent)
	}
	if n := count(t, st, ajay.ID, mail.Inbox); n != 1 {
		t.Errorf("the mailbox here has %d messages, want 1", n)
	}
}

func TestDeliveryWaitsForTheGate(t *testing.T) {
	t.Parallel()
	dir := deliverytest.New(directory.Account{Address: "ajay@example.org"})
	st, g := newStore(t), gate.New(time.Minute)
	a := New(Config{Hostname: "mail.example.org", Domains: []string{"example.org"}, Gate: g}, dir, st, slog.New(slog.DiscardHandler))
	ajay, err := dir.Resolve(t.Context(), "ajay@example.org")
	if err != nil {
		t.Fatal(err)
	}
	thaw, err := g.Freeze(t.Context(), ajay.ID)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan []error)
	go func() { done <- deliver(t, a, "Subject: x\r\n\r\n", "ajay@example.org") }()
	select {
	case errs := <-done:
		t.Errorf("delivered to a frozen account: %v", errs)
	case <-time.After(50 * time.Millisecond):
	}
	thaw()
	if errs := <-done; errs[0] != nil || count(t, st, ajay.ID, mail.Inbox) != 1 {
		t.Errorf("after the thaw: %v", errs)
	}
}
