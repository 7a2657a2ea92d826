package delivery

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"expost/internal/delivery/deliverytest"
	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// newStore returns a store in a fresh folder.
func newStore(tb testing.TB) *store.Store {
	tb.Helper()
	engine, err := sqlite.New(tb.TempDir(), sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	st := store.New(engine, store.Options{Log: slog.New(slog.DiscardHandler)})
	tb.Cleanup(func() {
		if err := st.Close(); err != nil {
			tb.Errorf("closing the store: %v", err)
		}
	})
	return st
}

// deliver sends a message to recipients and returns what became of them.
func deliver(tb testing.TB, a *Agent, message string, to ...mail.Address) []error {
	tb.Helper()
	ctx := context.Background()
	env := &Envelope{ID: "TEST", From: "sender@far.example", Received: time.Now()}
	for _, addr := range to {
		route, err := a.Resolve(ctx, Query{Address: addr})
		if err != nil {
			tb.Fatal(err)
		}
		env.Recipients = append(env.Recipients, Recipient{Address: addr, Route: route})
	}
	msg, err := a.Spool(ctx, env, strings.NewReader(message))
	if err != nil {
		tb.Fatal(err)
	}
	results := a.Deliver(ctx, env, msg)
	if err := msg.Close(); err != nil {
		tb.Fatal(err)
	}
	return results
}

// count returns how many messages a mailbox has.
func count(t *testing.T, st *store.Store, id mail.AccountID, box string) int {
	t.Helper()
	acct, err := st.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer acct.Release()
	m, err := acct.Mailbox(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	return m.Messages
}

func TestDeliverFollowsForwards(t *testing.T) {
	t.Parallel()
	st, log := newStore(t), &bytes.Buffer{}
	a := testAgent(people())
	a.store, a.log = st, slog.New(slog.NewTextHandler(log, nil))
	// both forwards to ann, who is a recipient herself; only forwards to bob.
	for i, err := range deliver(t, a, "Subject: x\r\n\r\n", "both@example.org", "ann@example.org", "only@example.org") {
		if err != nil {
			t.Errorf("recipient %d: %v", i, err)
		}
	}
	for _, id := range []mail.AccountID{"example.org/both", "example.org/ann", "example.org/bob"} {
		if got := count(t, st, id, mail.Inbox); got != 1 {
			t.Errorf("%s has %d messages, want 1", id, got)
		}
	}
	if _, err := st.Open(t.Context(), "example.org/only"); mail.KindOf(err) != mail.KindNotExist {
		t.Errorf("an account that only forwards has got a store: %v", err)
	}
	if !strings.Contains(log.String(), "forward=x@gmail.example") {
		t.Errorf("the forward that was left out is not in the log: %s", log)
	}
}

// TestQuotaFollowsTheDirectory changes the quota in the directory between messages.
func TestQuotaFollowsTheDirectory(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	small := directory.Account{Address: "ann@example.org", Quota: mail.Quota{Messages: 1}}
	first := New(Config{Domains: []string{"example.org"}}, deliverytest.New(small), st, slog.New(slog.DiscardHandler))
	if err := deliver(t, first, "Subject: 1\r\n\r\n", "ann@example.org")[0]; err != nil {
		t.Fatal(err)
	}
	err := deliver(t, first, "Subject: 2\r\n\r\n", "ann@example.org")[0]
	if describe(nil, err) != "4.2.2" || Permanent(err) {
		t.Errorf("over quota: %v", err)
	}
	route, err := first.Resolve(t.Context(), Query{Address: "ann@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Room(t.Context(), route, 0); err == nil || describe(nil, err) != "4.2.2" {
		t.Errorf("Room: %v", err)
	}
	small.Quota.Messages = 2
	second := New(Config{Domains: []string{"example.org"}}, deliverytest.New(small), st, slog.New(slog.DiscardHandler))
	if err := deliver(t, second, "Subject: 2\r\n\r\n", "ann@example.org")[0]; err != nil {
		t.Errorf("after the quota was raised: %v", err)
	}
}

func TestSubAddressChoosesTheMailbox(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	a := testAgent(people())
	a.store = st
	if err := st.Create(t.Context(), "example.org/ann"); err != nil {
		t.Fatal(err)
	}
	acct, err := st.Open(t.Context(), "example.org/ann")
	if err != nil {
		t.Fatal(err)
	}
	defer acct.Release()
	for _, name := range []string{"Work/2026", "lists", "Lists"} {
		if _, err := acct.CreateMailbox(t.Context(), name, store.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for detail, want := range map[string]string{
		"Work/2026": "Work/2026", "work/2026": "Work/2026", "Lists": "Lists", "lists": "lists", "Junk": "Junk",
		"Sent": mail.Inbox, "drafts": mail.Inbox, "Trash": mail.Inbox, "nothing": mail.Inbox, "inbox": mail.Inbox, "../bob": mail.Inbox,
	} {
		m, err := mailbox(t.Context(), acct, detail, false)
		if err != nil || m.Name != want {
			t.Errorf("%s: got %s, %v; want %s", detail, m.Name, err, want)
		}
	}
}

// The right "p" (RFC 4314 §2.1) is taken away by name: that sender's mail, or that
// of all, goes to INBOX.
func TestSubAddressAndPostRight(t *testing.T) {
	t.Parallel()
	st := newStore(t)
	a := testAgent(people())
	a.store = st
	if err := st.Create(t.Context(), "example.org/ann"); err != nil {
		t.Fatal(err)
	}
	acct, err := st.Open(t.Context(), "example.org/ann")
	if err != nil {
		t.Fatal(err)
	}
	defer acct.Release()
	work, err := acct.CreateMailbox(t.Context(), "Work", store.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ann := &directory.Account{ID: "example.org/ann", Address: "ann@example.org"}
	bob := &directory.Account{ID: "example.org/bob", Address: "robert@example.org", Aliases: []mail.Address{"Bob@example.org"}}
	for _, tt := range []struct {
		entry             string
		owner, bob, other string // where their mail goes
	}{
		{"", "Work", "Work", "Work"},
		{"bob@example.org", "Work", "Work", "Work"}, // what he has others need not have
		{"-bob@example.org", "Work", "INBOX", "Work"},
		{"-anyone", "Work", "INBOX", "INBOX"},
	} {
		if tt.entry != "" {
			if err := acct.SetACL(t.Context(), work.ID, store.ACLSet, store.ACLEntry{Identifier: tt.entry, Rights: mail.RightPost}); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			sender *directory.Account
			want   string
		}{{ann, tt.owner}, {bob, tt.bob}, {nil, tt.other}} {
			before := count(t, st, "example.org/ann", c.want)
			env := &Envelope{ID: "TEST", From: "sender@far.example", Received: time.Now()}
			route, err := a.Resolve(t.Context(), Query{Address: "ann+work@example.org", Sender: c.sender})
			if err != nil {
				t.Fatal(err)
			}
			env.Recipients = []Recipient{{Address: "ann+work@example.org", Route: route}}
			msg, err := a.Spool(t.Context(), env, strings.NewReader("Subject: x\r\n\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range a.Deliver(t.Context(), env, msg) {
				if err != nil {
					t.Error(err)
				}
			}
			if err := msg.Close(); err != nil {
				t.Error(err)
			}
			if got := count(t, st, "example.org/ann", c.want); got != before+1 {
				t.Errorf("%q: mail of %+v did not go to %s", tt.entry, c.sender, c.want)
			}
		}
		if tt.entry != "" {
			if err := acct.SetACL(t.Context(), work.ID, store.ACLSet, store.ACLEntry{Identifier: tt.entry}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var people []directory.Account
			var to []mail.Address
			for i := range n {
				addr := mail.Address(fmt.Sprintf("u%d@example.org", i))
				people, to = append(people, directory.Account{Address: addr}), append(to, addr)
			}
			a := New(Config{Domains: []string{"example.org"}}, deliverytest.New(people...), newStore(b), slog.New(slog.DiscardHandler))
			message := "Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 80)
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range deliver(b, a, message, to...) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}
