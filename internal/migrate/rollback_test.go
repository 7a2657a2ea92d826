package migrate_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
)

// raw appends a message with bytes of its own.
func (s side) raw(t *testing.T, folder, text string) {
	t.Helper()
	a := s.open(t)
	defer a.Close()
	f, err := a.Prepare(t.Context(), migrate.Folder{Name: folder, Subscribed: true})
	if err != nil {
		t.Fatal(err)
	}
	body, err := s.spool.Spool(t.Context(), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if err := a.Append(t.Context(), folder, []migrate.Message{{Item: migrate.Item{UID: f.State.UIDNext}, Body: body}}); err != nil {
		t.Fatal(err)
	}
}

// shift moves a message within a side, as its user does.
func (s side) shift(t *testing.T, from, subject, to string) {
	t.Helper()
	a := s.open(t)
	defer a.Close()
	if _, err := a.(migrate.Organizer).Move(t.Context(), from, s.uid(t, from, subject), to); err != nil {
		t.Fatal(err)
	}
}

// rename renames a folder.
func (s side) rename(t *testing.T, from, to string) {
	t.Helper()
	a := s.open(t)
	defer a.Close()
	if err := a.(migrate.Organizer).Rename(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
}

// discard removes a folder with its messages.
func (s side) discard(t *testing.T, name string) {
	t.Helper()
	a := s.open(t)
	defer a.Close()
	var all mail.UIDSet
	if err := a.Items(t.Context(), name, func(it migrate.Item) error { all.Add(it.UID); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := a.Remove(t.Context(), name, all); err != nil {
		t.Fatal(err)
	}
	if err := a.(migrate.Organizer).Discard(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// checkBack rolls back with every single change failing once, before or behind
// it, and compares the old server with what is here; then it moves the account
// again and compares that.
func (b *carryBench) checkBack(t *testing.T, after bool, also map[string][]string) {
	t.Helper()
	want := b.here.mail(t)
	for name, subjects := range also {
		want[name] = append(want[name], subjects...)
		slices.Sort(want[name])
	}
	for n := 1; ; n++ {
		m := b.back(t, &faulty{Target: b.old, n: n, after: after})
		if m.Done {
			break
		}
		if !strings.Contains(m.Error, errFaulty.Error()) {
			t.Fatalf("change %d: %+v", n, m)
		}
	}
	if got := b.far.mail(t); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the old server has\n%q, want\n%q", got, want)
	}
	for range 2 {
		if r := b.run(t); r.Err != nil || r.Aside > 0 {
			t.Errorf("the pass behind it: %+v", r)
		}
	}
	if m := b.move(t, b.site); !m.Done {
		t.Fatalf("the second move is %+v", m)
	}
	if got := b.here.mail(t); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("here is\n%q, want\n%q", got, want)
	}
}

// TestCarries makes the old server's mailbox what users have made of the one
// here, whatever step fails first.
func TestCarries(t *testing.T) {
	t.Parallel()
	text := func(id, subject string) string {
		return "Message-ID: <" + id + "@example.org>\r\nSubject: " + subject + "\r\n\r\ntext\r\n"
	}
	for name, c := range map[string]struct {
		work func(t *testing.T, b *carryBench)
		also map[string][]string // at the old server beside what is here
	}{
		"taken": {work: func(t *testing.T, b *carryBench) { // a folder that takes another one's name
			b.here.rename(t, "Archive", "Archive 2024")
			b.here.rename(t, "Old", "Archive")
		}},
		"refilled": {work: func(t *testing.T, b *carryBench) { // a new folder in the place of one renamed
			b.here.rename(t, "Archive", "Archive 2024")
			for i := range 4 {
				b.here.add(t, "Archive", fmt.Sprint("later", i), 0)
			}
		}},
		"replaced": {work: func(t *testing.T, b *carryBench) { // a new folder in the place of one removed
			b.here.discard(t, "Archive")
			for i := range 2 {
				b.here.add(t, "Archive", fmt.Sprint("later", i), 0)
			}
			b.here.shift(t, "INBOX", "in4", "Archive")
		}},
		"swapped": {work: func(t *testing.T, b *carryBench) { // two folders that swap names
			b.here.rename(t, "Archive", "Between")
			b.here.rename(t, "Old", "Archive")
			b.here.rename(t, "Between", "Old")
			b.here.shift(t, "INBOX", "in4", "Old")
		}},
		"alike": {work: func(t *testing.T, b *carryBench) { // messages with one Message-ID
			b.here.raw(t, "INBOX", text("archived1", "other bytes"))
			b.here.shift(t, "INBOX", "other bytes", "Archive")
			b.here.raw(t, "Archive", text("in4", "sent"))
			b.here.shift(t, "INBOX", "in4", "Archive")
			b.here.raw(t, "Archive", text("archived2", "sent too"))
		}},
		"twins": {work: func(t *testing.T, b *carryBench) { // identical messages
			for range 3 {
				b.here.add(t, "INBOX", "in5", 0)
				b.here.add(t, "Archive", "new", 0)
			}
			b.here.shift(t, "Twins", "twin", "Archive")
			b.here.shift(t, "Twins", "twin", "Archive")
		}},
		"onward": {work: func(t *testing.T, b *carryBench) { // a message that moves on
			b.here.shift(t, "INBOX", "in1", "Archive")
			b.back(t, &faulty{Target: b.old, n: 2, after: true})
			b.here.shift(t, "Archive", "in1", "Old")
			b.here.add(t, "INBOX", "new", 0)
			b.back(t, &faulty{Target: b.old, n: 2, after: true})
			b.here.shift(t, "INBOX", "new", "Work/Deep")
		}},
		"stragglers": {work: func(t *testing.T, b *carryBench) {
			b.far.add(t, "Old", "straggler", 0)
			b.far.add(t, "INBOX", "straggler", 0)
			b.here.shift(t, "INBOX", "in3", "Archive")
			b.here.discard(t, "Old")
		}, also: map[string][]string{"Old": {"straggler"}, "INBOX": {"straggler"}}},
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(name, after), func(t *testing.T) {
				t.Parallel()
				b := newCarryBench(t)
				c.work(t, b)
				b.checkBack(t, after, c.also)
			})
		}
	}
}
