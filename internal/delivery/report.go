package delivery

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"expost/internal/mail"
)

// maxReportedHeader is how much of a message's header a report shows, in bytes.
const maxReportedHeader = 16 << 10

// report tells a sender whose mailbox is here which of the recipients that
// wanted it said (NOTIFY=SUCCESS, RFC 3461 §6.2.2) have the mail. It can only be
// lost together with this process, and is no reason to refuse the mail.
func (a *Agent) report(ctx context.Context, env *Envelope, s *Spooled, results []error) {
	var delivered []Recipient
	for i, r := range env.Recipients {
		if results[i] == nil && len(r.Route.Targets) > 0 && slices.Contains(strings.Split(r.Notify, ","), "SUCCESS") {
			delivered = append(delivered, r)
		}
	}
	if len(delivered) == 0 || env.From == "" {
		return
	}
	route, err := a.Resolve(ctx, Query{Address: env.From})
	if err == nil {
		err = a.sendReport(ctx, env, s, delivered, route)
	}
	if err != nil {
		a.log.Warn("no report of delivery could be given", slog.String("id", env.ID), slog.String("from", string(env.From)), slog.Any("error", err))
	}
}

// sendReport delivers a report to the sender of env.
func (a *Agent) sendReport(ctx context.Context, env *Envelope, s *Spooled, delivered []Recipient, sender *Route) error {
	head, err := s.head()
	if err != nil {
		return err
	}
	rep := &Envelope{
		ID: env.ID + "R", Received: time.Now(), Client: Client{Helo: a.cfg.Hostname, Address: netip.IPv6Loopback()},
		Recipients: []Recipient{{Address: env.From, Route: sender}}, UTF8: env.UTF8,
	}
	msg, err := a.Spool(ctx, rep, bytes.NewReader(a.reportText(env, rep, delivered, head)))
	if err != nil {
		return err
	}
	err = Reply(a.Deliver(ctx, rep, msg))
	if closed := msg.Close(); err == nil {
		err = closed
	}
	return err
}

// head returns the message's header, or its beginning.
func (s *Spooled) head() ([]byte, error) {
	body, err := s.in.Open()
	if err != nil {
		return nil, fmt.Errorf("opening the message: %w", err)
	}
	end := min(s.in.Message().Parts[0].Body, maxReportedHeader)
	head, err := io.ReadAll(body.Section(0, end))
	if closed := body.Close(); err == nil {
		err = closed
	}
	return head, err
}

// reportText is a multipart/report (RFC 6522, RFC 3464).
func (a *Agent) reportText(env, rep *Envelope, delivered []Recipient, head []byte) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	boundary := rand.Text()
	line("From: Mail Delivery System <postmaster@%s>", a.firstDomain())
	line("To: <%s>", mail.QuotedAddress(env.From))
	line("Subject: Your message was delivered")
	line("Date: %s", rep.Received.Format(dateLayout))
	line("Message-ID: <%s@%s>", rep.ID, a.cfg.Hostname)
	line("Auto-Submitted: auto-generated")
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=delivery-status; boundary=%q", boundary)
	line("\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\n", boundary)
	line("As you asked, %s tells you that your message is in the mailbox of\r\n", a.cfg.Hostname)
	for _, r := range delivered {
		line("    %s", r.Address)
	}
	kind := "message/delivery-status"
	if env.UTF8 {
		kind = "message/global-delivery-status" // RFC 6533 §3
	}
	line("\r\n--%s\r\nContent-Type: %s\r\n", boundary, kind)
	if env.EnvID != "" {
		line("Original-Envelope-Id: %s", env.EnvID)
	}
	line("Reporting-MTA: dns; %s\r\nArrival-Date: %s", a.cfg.Hostname, env.Received.Format(dateLayout))
	for _, r := range delivered {
		line("")
		if r.Original != "" {
			line("Original-Recipient: %s", r.Original)
		}
		line("Final-Recipient: %s; %s\r\nAction: delivered\r\nStatus: 2.0.0", addressType(r.Address), mail.QuotedAddress(r.Address))
	}
	line("\r\n--%s\r\nContent-Type: text/rfc822-headers\r\n", boundary)
	b.Write(head)
	line("\r\n--%s--", boundary)
	return b.Bytes()
}

// addressType names the form of an address in a report.
func addressType(a mail.Address) string {
	for i := range len(a) {
		if a[i] >= 0x80 {
			return "utf-8"
		}
	}
	return "rfc822"
}
