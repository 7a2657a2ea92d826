package smtpserver

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"expost/internal/delivery"
	"expost/internal/mail"
	"expost/internal/ratelimit"
)

// alertEvery is how often the postmaster is told of one who sends too much.
const alertEvery = time.Hour

// newAlerts returns what keeps alerts apart.
func newAlerts() *ratelimit.Limiter {
	return ratelimit.New(ratelimit.Limit{Count: 1, Per: alertEvery})
}

// checkOutgoing counts what users and relaying hosts send, and holds a message
// that is beyond a limit: a stolen password sends no more than the limit. The
// postmaster and the log are told, once an hour for each limit and sender.
func (c *conn) checkOutgoing(ctx context.Context, env *delivery.Envelope) {
	p := &c.cfg.Policy
	login := string(env.SignedInAs)
	if login == "" && !c.relays() || env.Hold != "" {
		return
	}
	host := ""
	if login == "" {
		host = c.hostKey()
	}
	now := time.Now()
	for _, l := range []struct {
		limiter *ratelimit.Limiter
		what    string
		key     string
	}{
		{p.User, "of " + login, login}, {p.UserDay, "of " + login, login}, {p.RelayHost, "of the host " + host, host},
		{p.Sender, "from " + string(env.From), env.From.Key()},
		{p.SenderDomain, "from the domain " + env.From.Domain(), mail.DomainKey(env.From.Domain())},
	} {
		if l.key == "" || l.limiter.Take(l.key, len(env.Recipients), now) {
			continue
		}
		limit := l.limiter.Limit()
		env.Hold = fmt.Sprintf("over the limit of %d recipients in %s %s", limit.Count, span(limit.Per), l.what)
		c.alert(ctx, env, l.what)
		return
	}
}

// span says a duration: "1h".
func span(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	return strings.TrimSuffix(s, "0m")
}

// alert tells the log and the postmaster that mail is held.
func (c *conn) alert(ctx context.Context, env *delivery.Envelope, what string) {
	if !c.alerts.Take(what, 1, time.Now()) {
		return
	}
	c.log.Error("mail is held: somebody sends more than the limit; a password may be stolen",
		slog.String("id", env.ID), slog.String("login", string(env.SignedInAs)), slog.String("from", string(env.From)), slog.String("reason", env.Hold))
	to := c.cfg.Postmaster
	if to == "" {
		return
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("From: Mail server %s <%s>", c.cfg.Hostname, mail.QuotedAddress(to))
	line("To: <%s>", mail.QuotedAddress(to))
	line("Subject: Mail %s is held", printable(what))
	line("Date: %s", time.Now().Format(time.RFC1123Z))
	line("Message-ID: <%s.alert@%s>", env.ID, c.cfg.Hostname)
	line("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n")
	line("%s holds mail in its queue:\r\n", c.cfg.Hostname)
	line("    %s\r\n", printable(env.Hold))
	line("The login is %q, the sender <%s>, the client %s.", env.SignedInAs, printable(string(env.From)), c.remote)
	line("If the mail is spam, a password has been stolen: change it, and drop the mail.")
	line("If it is wanted, release it, and raise the limit (policy in expost.toml).\r\n")
	line("    expost queue list --from %s", printable(string(env.From)))
	line("    expost queue drop --from %s", printable(string(env.From)))
	line("    expost queue release --from %s\r\n", printable(string(env.From)))
	line("You hear of this again in an hour, if it goes on.")
	if err := c.cfg.Delivery.Inject(ctx, to, strings.NewReader(b.String())); err != nil {
		c.log.Error("the postmaster could not be told that mail is held; give smtp.postmaster a mailbox",
			slog.String("postmaster", string(to)), slog.String("id", env.ID), slog.String("reason", env.Hold), slog.Any("error", err))
	}
}
