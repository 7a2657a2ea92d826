package imapserver

import (
	"strings"
	"testing"

	"expost/internal/mail"
)

// What is kept of messages stays within its budget, also for sessions that go on
// in a mailbox whose cards were dropped.
func TestCardsStayWithinBudget(t *testing.T) {
	t.Parallel()
	const budget = 100_000
	x := newCardIndex(budget)
	a, b := x.open(boxKey{box: 1}), x.open(boxKey{box: 2})
	for i := range 2000 {
		a.put(mail.EmailID(i), card{envelope: strings.Repeat("x", 1000)})
		b.put(mail.EmailID(i), card{header: strings.Repeat("y", 500)})
		if held := a.bytes + b.bytes; held > budget || held != x.bytes.Load() {
			t.Fatalf("after %d messages %d bytes are held, %d counted", i, held, x.bytes.Load())
		}
	}
	a.put(1, card{envelope: "kept"})
	if k := a.get(1); k.envelope != "kept" {
		t.Errorf("what was put last is %q", k.envelope)
	}
	x.shrink()
	other := x.open(boxKey{box: 1})
	if other != a { // a was dropped: its session keeps nothing
		a.put(2, card{envelope: "x"})
		if k := a.get(2); k.envelope != "" {
			t.Error("two mailboxes of one name keep cards")
		}
	}
}
