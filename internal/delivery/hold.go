package delivery

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"expost/internal/directory"
	"expost/internal/dsn"
	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/moderation"
)

// Hold is what must come before the members of a list get a message.
type Hold uint8

// What a message may be held for.
const (
	HoldNot      Hold = iota
	HoldConfirm       // its sender says that it is really theirs
	HoldModerate      // a moderator lets it pass
)

// Decision is a recipient address that decides on a message that is held, as
// qmail-ldap has them: list-approve-TOKEN@domain, list-reject-TOKEN@domain,
// list-confirm-TOKEN@domain.
type Decision struct {
	Token string
	Pass  bool
}

// place names a decision among those that have a message.
func (d *Decision) place() place { return place{mail.AccountID(d.Token), "\x00decision"} }

// verbs of the addresses that decide.
const (
	verbApprove = "-approve-"
	verbReject  = "-reject-"
	verbConfirm = "-confirm-"
)

// decisionOf returns the decision that an address stands for; nil: none, or on
// a message that does not wait.
func (a *Agent) decisionOf(addr mail.Address) *Decision {
	if a.cfg.Moderation == nil {
		return nil
	}
	local := addr.Local()
	for _, verb := range []string{verbApprove, verbReject, verbConfirm} {
		i := strings.LastIndex(strings.ToLower(local), verb)
		if i < 0 {
			continue
		}
		token := strings.ToLower(local[i+len(verb):])
		h, err := a.cfg.Moderation.Get(token)
		if err != nil {
			return nil
		}
		defer h.Close()
		list := mail.Address(local[:i] + "@" + addr.Domain())
		confirms := verb == verbConfirm
		if list.Key() != h.List.Key() || confirms != (h.Stage == moderation.Confirm) && verb != verbReject {
			return nil
		}
		return &Decision{Token: token, Pass: verb != verbReject}
	}
	return nil
}

// hold keeps a message for a list and asks those who decide on it.
func (a *Agent) hold(ctx context.Context, env *Envelope, s *Spooled, r *Recipient, l *ListRoute) error {
	head, err := s.fields()
	if err != nil {
		return err
	}
	if isAutomatic(head) && l.Hold == HoldConfirm {
		return refuse("5.7.1", mail.KindPermission, "%s takes no automatic mail from those who must confirm", nameOf(l.List))
	}
	m := &moderation.Message{
		Token: moderation.NewToken(), Stage: moderation.Moderate, List: l.List.Address, From: env.From, Login: env.SignedInAs,
		Subject: message.DecodeHeader(s.in.Message().Envelope.Subject), Received: env.Received,
		UTF8: env.UTF8, Return: env.Return, EnvID: env.EnvID, Notify: r.Notify, Original: r.Original,
	}
	if l.Hold == HoldConfirm {
		m.Stage = moderation.Confirm
	}
	body, err := s.in.Open()
	if err != nil {
		return fmt.Errorf("opening the message: %w", err)
	}
	text := func() io.Reader { return body.Section(s.path, body.Size()) }
	err = a.cfg.Moderation.Put(m, text(), func() error { return a.ask(ctx, m, l.List, text) })
	if err = errors.Join(err, body.Close()); err != nil {
		return err
	}
	a.log.Info("held for a decision", slog.String("id", env.ID), slog.String("list", string(m.List)),
		slog.String("from", string(m.From)), slog.String("token", m.Token), slog.String("stage", string(m.Stage)))
	return nil
}

// ask sends the question to those who decide. One who can be asked is enough.
func (a *Agent) ask(ctx context.Context, m *moderation.Message, l *directory.List, text func() io.Reader) error {
	to, err := a.judges(ctx, m, l)
	if err != nil {
		return err
	}
	var errs []error
	for _, addr := range to {
		if err := a.Inject(ctx, addr, a.question(m, l, addr, text())); err != nil {
			errs = append(errs, fmt.Errorf("asking %s: %w", addr, err))
		}
	}
	if len(errs) < len(to) {
		for _, err := range errs {
			a.log.Warn("a moderator could not be asked", slog.String("list", nameOf(l)), slog.Any("error", err))
		}
		return nil
	}
	return &Error{Status: "4.2.4", Err: mail.WrapError(mail.KindTemporary, errors.Join(errs...), "nobody can be asked who decides on mail for %s", nameOf(l))}
}

// judges returns who is asked.
func (a *Agent) judges(ctx context.Context, m *moderation.Message, l *directory.List) ([]mail.Address, error) {
	if m.Stage == moderation.Confirm {
		return []mail.Address{m.From}, nil
	}
	var list []mail.Address
	seen := map[string]bool{}
	var add func(m directory.Member) error
	add = func(m directory.Member) error {
		key := strings.ToLower(m.DN.String()) + "\x00" + m.Address.Key()
		if seen[key] || len(seen) >= maxTargets {
			return nil
		}
		seen[key] = true
		if m.List == nil {
			f, err := a.find(ctx, a.unalias(m.Address))
			if err != nil {
				return err
			}
			m.List = f.list
		}
		if m.List != nil {
			return m.List.Members.Expand(ctx, a.directory, add)
		}
		list = append(list, m.Address)
		return nil
	}
	if err := l.Moderators.Expand(ctx, a.directory, add); err != nil {
		return nil, errDirectory(err)
	}
	return list, nil
}

// decider returns the address of a verb.
func decider(m *moderation.Message, verb string) mail.Address {
	return mail.Address(m.List.Local() + verb + m.Token + "@" + m.List.Domain())
}

// maxAsked is how much of a message is shown to those who decide, in bytes.
const maxAsked = 1 << 20

// question is the message that asks for a decision.
func (a *Agent) question(m *moderation.Message, l *directory.List, to mail.Address, text io.Reader) io.Reader {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	pass, subject, intro := decider(m, verbApprove), "Decide on a message to ", l.ModText
	if intro == "" {
		intro = "You are a moderator of the list " + nameOf(l) + ". The message below is for its members."
	}
	if m.Stage == moderation.Confirm {
		pass, subject, intro = decider(m, verbConfirm), "Confirm your message to ", l.ConfirmText
		if intro == "" {
			intro = "The list " + nameOf(l) + " got the message below in your name. If it is not yours, you need do nothing."
		}
	}
	boundary := rand.Text()
	line("From: <%s>", mail.QuotedAddress(m.List))
	line("To: <%s>", mail.QuotedAddress(to))
	line("Reply-To: <%s>", mail.QuotedAddress(pass))
	line("Subject: %s%s", subject, word(string(m.List)))
	line("Date: %s", time.Now().Format(dateLayout))
	line("Message-ID: <%s@%s>", rand.Text(), a.cfg.Hostname)
	line("Auto-Submitted: auto-generated")
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/mixed; boundary=%q", boundary)
	line("\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", boundary)
	line("%s\r\n", strings.Join(strings.FieldsFunc(intro, func(r rune) bool { return r == '\r' || r == '\n' }), "\r\n"))
	line("From:    %s\r\nSubject: %s\r\n", printable(orNull(m.From)), printable(m.Subject))
	line("To let it pass, reply to this mail, or write to\r\n    %s\r\nTo refuse it, write to\r\n    %s\r\n", pass, decider(m, verbReject))
	line("Without an answer it is returned on %s.", m.Expires().UTC().Format("2 January 2006"))
	line("\r\n--%s\r\nContent-Type: message/rfc822\r\nContent-Disposition: inline\r\n", boundary)
	return io.MultiReader(&b, io.LimitReader(text, maxAsked), strings.NewReader("\r\n--"+boundary+"--\r\n"))
}

// printable keeps text of others on its line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// decide carries a decision out that came by mail. An automatic answer is none.
func (a *Agent) decide(ctx context.Context, s *Spooled, d *Decision) error {
	head, err := s.fields()
	if err != nil {
		return err
	}
	if isAutomatic(head) {
		return refuse("5.7.1", mail.KindPermission, "an automatic answer decides nothing")
	}
	return a.Decide(ctx, d.Token, d.Pass)
}

// Decide lets a message pass that is held, or returns it to its sender.
// mail.KindNotExist where it does not wait (any more).
func (a *Agent) Decide(ctx context.Context, token string, pass bool) error {
	err := a.cfg.Moderation.Decide(token, func(h *moderation.Held) error {
		a.log.Info("decided", slog.String("token", token), slog.String("list", string(h.List)), slog.String("from", string(h.From)), slog.Bool("pass", pass))
		if !pass {
			return a.returnHeld(ctx, h, "5.7.1", "the message was refused by a moderator")
		}
		return a.pass(ctx, h)
	})
	if mail.KindOf(err) == mail.KindNotExist {
		return refuse("5.7.7", mail.KindNotExist, "%s", mail.PublicText(err))
	}
	return err
}

// pass sends a message on that was held.
func (a *Agent) pass(ctx context.Context, h *moderation.Held) error {
	q := Query{Address: h.List, From: h.From}
	if h.Login != "" {
		acct, err := a.lookup(ctx, h.Login)
		if err != nil {
			return err
		}
		q.Sender = acct
	}
	q.decided, q.decidedBy = h.List, h.Stage
	r, err := a.Resolve(ctx, q)
	if err != nil {
		return a.notPassed(ctx, h, err)
	}
	env := &Envelope{
		ID: rand.Text()[:16], From: h.From, SignedInAs: h.Login, Received: time.Now(), UTF8: h.UTF8, Return: h.Return, EnvID: h.EnvID,
		Client:     Client{Helo: a.cfg.Hostname, Address: netip.IPv6Loopback()},
		Recipients: []Recipient{{Address: h.List, Notify: h.Notify, Original: h.Original, Route: r}},
	}
	msg, err := a.Spool(ctx, env, h.Body())
	if err != nil {
		return a.notPassed(ctx, h, err)
	}
	err = Reply(a.Deliver(ctx, env, msg))
	if err = errors.Join(err, msg.Close()); err != nil {
		return a.notPassed(ctx, h, err)
	}
	return nil
}

// notPassed returns a message to its sender that a list can never get.
func (a *Agent) notPassed(ctx context.Context, h *moderation.Held, err error) error {
	if !Permanent(err) {
		return err
	}
	r := failedRecipient(h.List, err)
	return a.returnHeld(ctx, h, r.Status, r.Reply)
}

// returnHeld returns a message to its sender. The question whether it is
// theirs, unanswered, is no reason to write again.
func (a *Agent) returnHeld(ctx context.Context, h *moderation.Held, status, why string) error {
	if h.From == "" || h.Stage == moderation.Confirm || !wantsFailure(h.Notify) {
		return nil
	}
	env := &Envelope{ID: h.Token, From: h.From, Received: h.Received, UTF8: h.UTF8, Return: h.Return, EnvID: h.EnvID}
	to := dsn.Recipient{Address: h.List, Original: h.Original, Action: dsn.Failed, Status: status, Reply: why}
	err := a.tell(ctx, env, h.From, []dsn.Recipient{to}, func() (io.Reader, int64, func() error, error) {
		return h.Body(), h.Size, func() error { return nil }, nil
	})
	if err != nil && Permanent(err) {
		a.log.Warn("a refused message cannot be returned", slog.String("token", h.Token), slog.String("from", string(h.From)), slog.Any("error", err))
		return nil
	}
	return err
}

// Expire returns the messages that waited too long.
func (a *Agent) Expire(ctx context.Context, now time.Time) error {
	list, err := a.cfg.Moderation.All()
	errs := []error{err}
	for _, m := range list {
		if now.Before(m.Expires()) {
			continue
		}
		err := a.cfg.Moderation.Decide(m.Token, func(h *moderation.Held) error {
			return a.returnHeld(ctx, h, "4.4.7", "nobody decided on the message in time")
		})
		if err != nil && mail.KindOf(err) != mail.KindNotExist {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
