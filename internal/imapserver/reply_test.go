package imapserver_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"expost/internal/directory"
	"expost/internal/imapserver"
	"expost/internal/mail"
)

// absent is a directory that does not answer while it is away.
type absent struct {
	logins
	away atomic.Bool
}

// Resolve fails as a connection to a directory server does.
func (d *absent) Resolve(ctx context.Context, addr mail.Address) (*directory.Account, error) {
	if d.away.Load() {
		return nil, fmt.Errorf("asking the directory: %w", os.ErrDeadlineExceeded)
	}
	return d.logins.Resolve(ctx, addr)
}

// What fails behind the server, be it by a time-out of another connection, fails
// a command and not the session.
func TestTimeoutBehindTheServer(t *testing.T) {
	t.Parallel()
	d := &absent{logins: people()}
	s := newSite(t, func(c *imapserver.Config) { c.People = d })
	s.grant(t, "example.org/info", "INBOX", "anyone", "lr")
	p := s.login(t)
	d.away.Store(true)
	for _, cmd := range []string{
		"SELECT Shared/info@example.org/INBOX", "APPEND Shared/info@example.org/INBOX {4+}\r\nabcd", "GETQUOTA Shared/info@example.org",
		"STATUS Shared/info@example.org/INBOX (MESSAGES)",
	} {
		if _, answer := p.do(cmd); !strings.HasPrefix(answer, "NO [UNAVAILABLE]") {
			t.Errorf("%.40q: %s", cmd, answer)
		}
	}
	d.away.Store(false)
	p.must("SELECT Shared/info@example.org/INBOX")
}
