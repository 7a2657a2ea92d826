package imapserver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"expost/internal/imapserver"
)

func TestInProgress(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *imapserver.Config) { c.Limits.Progress = time.Nanosecond })
	for range 3 {
		s.deliver(t, "INBOX", "Subject: x\r\n\r\nneedle\r\n")
	}
	p := s.login(t)
	p.must("SELECT INBOX")
	want := []string{
		`* OK [INPROGRESS ("t3" 1 3)] still at work`, `* OK [INPROGRESS ("t3" 2 3)] still at work`, `* OK [INPROGRESS ("t3" 3 3)] still at work`, "* SEARCH 1 2 3",
	}
	if got := p.must("SEARCH BODY needle"); !slices.Equal(got, want) {
		t.Errorf("hears %q", got)
	}
	if got := p.must("SEARCH UNSEEN"); len(got) != 1 {
		t.Errorf("a search of the index alone: %q", got)
	}
}

// TestInProgressStep hears that the server is at work while the store is.
func TestInProgressStep(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *imapserver.Config) { c.Limits.Progress = time.Millisecond })
	p := s.login(t)
	p.must("APPEND INBOX {15+}\r\nSubject: x\r\n\r\ny")
	p.must("SELECT INBOX")
	for _, cmd := range []string{`STORE 1 +FLAGS.SILENT (\Seen)`, "COPY 1 Archive", "MOVE 1 Trash"} {
		s.gate.Lock()
		p.n++
		p.send(fmt.Sprintf("t%d %s\r\n", p.n, cmd))
		want := fmt.Sprintf(`* OK [INPROGRESS ("t%d" NIL NIL)] still at work`, p.n)
		if got := p.line(); got != want {
			t.Errorf("%s: hears %q", cmd, got)
		}
		s.gate.Unlock()
		for line := ""; !strings.HasPrefix(line, fmt.Sprintf("t%d OK", p.n)); {
			if line = p.line(); strings.Contains(line, " NO ") || strings.Contains(line, " BAD ") {
				t.Fatalf("%s: %s", cmd, line)
			}
		}
	}
}
