package migrate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"expost/internal/gate"
	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/migratetest"
)

// site is a directory of one account, which can fail.
type site struct {
	gate *gate.Gate

	mu      sync.Mutex
	host    string
	setHost func(host string) error // before it is set
}

const oldHost = "exchange.example.org"

func newSite() *site { return &site{gate: gate.New(0), host: oldHost} }

func (s *site) site() migrate.Site {
	return migrate.Site{
		Place: func(_ context.Context, a mail.Address) (mail.AccountID, string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return migratetest.AccountID(a), s.host, nil
		},
		Freeze: s.gate.Freeze,
		SetHost: func(_ context.Context, _ mail.Address, host string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.setHost != nil {
				if err := s.setHost(host); err != nil {
					return err
				}
			}
			s.host = host
			return nil
		},
	}
}

// move makes a cutover of the bench's account.
func (b *bench) move(t *testing.T, s *site) migrate.Move {
	t.Helper()
	moves, err := b.engine.Cutover(t.Context(), []migrate.User{b.user}, s.site())
	if err != nil {
		t.Fatal(err)
	}
	return moves[0]
}

// stage returns where the report says the account is.
func (b *bench) stage(t *testing.T) migrate.Stage {
	t.Helper()
	r, err := b.ledger.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r.Accounts[0].Stage
}

func TestCutover(t *testing.T) {
	t.Parallel()
	inbox := box("INBOX", 11, messages(20, 1, 1))
	b := newBench(t, migratetest.Quirks{}, inbox, box("Sent", 12, messages(5, 1, 1)))
	b.run(t)
	s := newSite()
	s.setHost = func(host string) error {
		if n := len(b.items(t, "INBOX")); host != "" || n != 22 {
			t.Errorf("flipped to %q with %d messages at the target", host, n)
		}
		return nil
	}
	// A client's session, which ends with one that is changed at the last moment.
	session, leave, err := s.gate.Enter(t.Context(), migratetest.AccountID(b.user.Target))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-session.Done()
		b.server.Change(func(boxes []*migratetest.Box) {
			boxes[0].Messages = append(boxes[0].Messages, messages(2, 21, 1)...)
			boxes[0].Messages[0].Flags = `\Flagged`
			boxes[0].UIDNext = 23
		})
		leave()
	}()
	m := b.move(t, s)
	if !m.Done || m.Error != "" || m.Copied != 2 || m.Updated != 1 || m.Before != oldHost || m.After != "" || m.Gap <= 0 {
		t.Errorf("the move is %+v", m)
	}
	if s.host != "" || b.stage(t) != migrate.StageMoved {
		t.Errorf("mailHost %q, stage %q", s.host, b.stage(t))
	}
	b.check(t, "INBOX", inbox.Messages)
	if m := b.move(t, s); !m.Done || !strings.Contains(m.Note, "already") {
		t.Errorf("a second time: %+v", m)
	}
}

// items lists a folder of the target.
func (b *bench) items(t *testing.T, folder string) []migrate.Item {
	t.Helper()
	var items []migrate.Item
	if err := b.target.Items(t.Context(), folder, func(it migrate.Item) error { items = append(items, it); return nil }); err != nil {
		t.Error(err)
	}
	return items
}

func TestCutoverOfSomebodyWithoutPassword(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, messages(5, 1, 1)))
	s := newSite()
	site := s.site()
	site.Ready = func(context.Context, mail.Address) error { return errors.New("no password is known") }
	moves, err := b.engine.Cutover(t.Context(), []migrate.User{b.user}, site)
	if err != nil || moves[0].Done || !strings.Contains(moves[0].Error, "no password") || s.host != oldHost {
		t.Errorf("%+v, %v", moves, err)
	}
}

func TestCutoverThatFails(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk of the directory is full")
	for name, c := range map[string]struct {
		quirks migratetest.Quirks
		set    error
		want   string
	}{
		"the directory does not take it": {migratetest.Quirks{}, full, full.Error()},
		"a folder cannot be read": {migratetest.Quirks{Command: func(_ int, line string) string {
			if strings.HasPrefix(line, `EXAMINE "B"`) {
				return "NO not now"
			}
			return ""
		}}, nil, `"B"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, c.quirks, box("INBOX", 11, messages(5, 1, 1)), box("B", 12, messages(5, 1, 1)))
			s := newSite()
			s.setHost = func(string) error { return c.set }
			m := b.move(t, s)
			if m.Done || !strings.Contains(m.Error, c.want) || s.host != oldHost || b.stage(t) != migrate.StageCopying {
				t.Errorf("mailHost %q, stage %q, %+v", s.host, b.stage(t), m)
			}
			if _, leave, err := s.gate.Enter(t.Context(), migratetest.AccountID(b.user.Target)); err != nil {
				t.Errorf("the account is still frozen: %v", err)
			} else {
				leave()
			}
		})
	}
}

// TestCutoverCrashes ends a cutover before and after the flip, as a crash does.
func TestCutoverCrashes(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{"before the flip": false, "after the flip": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, messages(5, 1, 1)))
			s := newSite()
			s.setHost = func(host string) error {
				if after {
					s.host = host
				}
				panic("crash")
			}
			func() {
				defer func() { recover() }()
				migrate.CutoverOne(t.Context(), b.engine, b.user, s.site())
			}()
			s.setHost = nil
			if b.stage(t) != migrate.StageCutting {
				t.Errorf("the crash left the stage %q", b.stage(t))
			}
			m := b.move(t, s)
			if !m.Done || s.host != "" || b.stage(t) != migrate.StageMoved || after != (m.Note != "") {
				t.Errorf("mailHost %q, stage %q, %+v", s.host, b.stage(t), m)
			}
			b.check(t, "INBOX", messages(5, 1, 1))
		})
	}
}

func TestPassesBehindTheCutover(t *testing.T) {
	t.Parallel()
	inbox := box("INBOX", 11, messages(20, 1, 1))
	b := newBench(t, migratetest.Quirks{}, inbox)
	if m := b.move(t, newSite()); !m.Done {
		t.Fatalf("the move is %+v", m)
	}
	// The user works here: reads one, deletes one, gets one.
	if err := b.target.Update(t.Context(), "INBOX", []migrate.Item{{UID: 1, Flags: mail.Seen | mail.Flagged}}); err != nil {
		t.Fatal(err)
	}
	var gone mail.UIDSet
	gone.Add(2)
	if err := b.target.Remove(t.Context(), "INBOX", gone); err != nil {
		t.Fatal(err)
	}
	b.deliver(t, "Subject: new here\r\n\r\n")
	// The old server changes too, and gets a straggler.
	b.server.Change(func(boxes []*migratetest.Box) {
		boxes[0].Messages = append(slices.Clone(boxes[0].Messages[:15]), messages(1, 30, 1)...)
		boxes[0].Messages[0].Flags = `\Deleted`
		boxes[0].UIDNext = 31
	})
	if r := b.run(t); r.Err != nil || r.Copied != 1 || r.Updated+r.Removed != 0 {
		t.Errorf("the pass: %+v", r)
	}
	items := b.items(t, "INBOX")
	if len(items) != 21 || items[0].Flags != mail.Seen|mail.Flagged || items[1].UID != 3 {
		t.Errorf("the target has %d messages, the first %+v", len(items), items[0])
	}
	if r := b.run(t); r.Copied+r.There+r.Updated+r.Removed != 0 {
		t.Errorf("and again: %+v", r)
	}
}

func TestRollbackOfNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, messages(5, 1, 1)))
	b.run(t)
	moves, err := b.engine.Rollback(t.Context(), []migrate.User{b.user}, newSite().site(), nil)
	if err != nil || moves[0].Done || !strings.Contains(moves[0].Error, "not been moved") {
		t.Errorf("%+v, %v", moves, err)
	}
}
