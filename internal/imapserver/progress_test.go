package imapserver_test

import (
	"slices"
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
