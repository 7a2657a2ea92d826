package imapserver_test

import (
	"fmt"
	"testing"

	"expost/internal/imapserver"
	"expost/internal/mail"
)

// Annotations of the server are told to every account that is open.
func TestNotifyOfTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *imapserver.Config) { c.Admins = []mail.Address{people()["ajay"].Address} })
	admin, other := s.login(t), s.dial(t)
	other.line()
	other.must("LOGIN bishal secret")
	other.must("NOTIFY SET (personal (ServerMetadataChange))")
	admin.must(`SETMETADATA "" (/shared/comment "down at noon")`)
	if got := other.line(); got != `* METADATA "" "/shared/comment"` {
		t.Errorf("hears %q", got)
	}
}

// What is too much to watch is refused, or ended when it becomes too much.
func TestNotifyOverflow(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *imapserver.Config) { c.Limits.Watched = 8 })
	p, other := s.login(t), s.login(t)
	p.must("NOTIFY SET (personal (MailboxName))") // six mailboxes are there
	for i := range 2 {
		other.must(fmt.Sprintf("CREATE New%d", i))
		if got := p.line(); got != fmt.Sprintf(`* LIST (\HasNoChildren) "/" New%d`, i) {
			t.Errorf("hears %q", got)
		}
	}
	other.must("CREATE TooMuch")
	if got := p.line(); got != "* OK [NOTIFICATIONOVERFLOW] there are too many mailboxes to watch" {
		t.Errorf("hears %q", got)
	}
	other.must("CREATE NotTold")
	if got := p.must("NOOP"); len(got) != 0 {
		t.Errorf("then hears %q", got)
	}
	if _, tagged := p.do("NOTIFY SET (personal (MailboxName))"); tagged != "NO [NOTIFICATIONOVERFLOW] there are too many mailboxes to watch" {
		t.Errorf("is told %q", tagged)
	}
}
