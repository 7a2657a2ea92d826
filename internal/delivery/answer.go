package delivery

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"mime"
	"slices"
	"strings"
	"time"

	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/message"
)

// answer sends the answers of those who answer by themselves (deliveryMode
// reply, mailReplyText), as RFC 3834 has it: to the reverse-path, with the null
// one, once in two weeks, and never to a list or a machine, nor to mail that
// was not sent to the mailbox by name.
func (a *Agent) answer(ctx context.Context, env *Envelope, s *Spooled, results []error) {
	if a.cfg.Vacation == nil || env.From == "" || env.Junk || s.junk || isMachine(env.From) {
		return
	}
	var head map[string][]string
	for i, r := range env.Recipients {
		for _, acct := range r.Route.Replies {
			if results[i] != nil {
				continue
			}
			if head == nil {
				var err error
				if head, err = s.fields(); err != nil {
					a.log.Warn("no automatic answer", slog.String("id", env.ID), slog.Any("error", err))
					return
				}
			}
			if isAutomatic(head) || owns(acct, env.From.Key()) || !isNamed(s.in.Message(), acct) {
				continue
			}
			if err := a.answerFor(ctx, env, s, acct, head); err != nil {
				a.log.Warn("no automatic answer", slog.String("id", env.ID), slog.String("account", string(acct.Address)), slog.Any("error", err))
			}
		}
	}
}

// answerFor sends the answer of one account, unless the sender had it already.
func (a *Agent) answerFor(ctx context.Context, env *Envelope, s *Spooled, acct *directory.Account, head map[string][]string) error {
	ok, err := a.cfg.Vacation.Claim(acct.ID, env.From)
	if !ok || err != nil {
		return err
	}
	return a.Inject(ctx, env.From, bytes.NewReader(a.answerText(env, s, acct, head)))
}

// isMachine tells whether an address is one that no person reads (RFC 3834 §2,
// RFC 5230 §4.6).
func isMachine(addr mail.Address) bool {
	local := strings.ToLower(addr.Local())
	switch local {
	case "mailer-daemon", "postmaster", "listserv", "majordomo", "noreply", "no-reply", "donotreply", "do-not-reply", "bounce", "bounces", "abuse", "root":
		return true
	}
	for _, end := range []string{"-request", "-bounces", "-bounce", "-owner", "-relay", "-noreply", "-no-reply"} {
		if strings.HasSuffix(local, end) {
			return true
		}
	}
	for _, start := range []string{"owner-", "request-", "bounce-", "bounces-", "srs0", "srs1", "prvs=", "noreply-", "no-reply-"} {
		if strings.HasPrefix(local, start) {
			return true
		}
	}
	return false
}

// isAutomatic tells whether a header is that of a list or a machine.
func isAutomatic(head map[string][]string) bool {
	for name, values := range head {
		switch {
		case strings.HasPrefix(name, "list-"), name == "x-list-member-of", name == "x-autoreply", name == "x-autorespond", name == "x-loop",
			name == "feedback-id", name == "x-mailing-list":
			return true
		case name == "auto-submitted":
			word, _, _ := strings.Cut(values[0], ";")
			word, _, _ = strings.Cut(word, "(")
			if !strings.EqualFold(strings.TrimSpace(word), "no") {
				return true
			}
		case name == "precedence":
			switch strings.ToLower(strings.TrimSpace(values[0])) {
			case "bulk", "list", "junk", "auto_reply":
				return true
			}
		case name == "x-auto-response-suppress": // [MS-OXCMAIL] 2.1.3.2.20
			v := strings.ToLower(strings.Join(values, ","))
			if strings.Contains(v, "oof") || strings.Contains(v, "all") || strings.Contains(v, "autoreply") {
				return true
			}
		case name == "content-type":
			if strings.HasPrefix(strings.ToLower(values[0]), "multipart/report") {
				return true
			}
		}
	}
	return false
}

// isNamed tells whether To or Cc has an address of the account (RFC 3834 §2).
func isNamed(m *message.Message, acct *directory.Account) bool {
	return slices.ContainsFunc(slices.Concat(m.Envelope.To, m.Envelope.Cc, m.Envelope.Bcc), func(x message.Address) bool {
		return owns(acct, mail.Address(x.Mailbox+"@"+x.Host).Key())
	})
}

// maxSubject bounds what of a subject comes back, in bytes.
const maxSubject = 200

// answerText is the answer. As in qmail-ldap the text of the directory may
// begin with a header of its own, behind a first line %HEADER%, and %SUBJECT%
// anywhere stands for the subject of the message.
func (a *Agent) answerText(env *Envelope, s *Spooled, acct *directory.Account, head map[string][]string) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	subject := printable(message.DecodeHeader(s.in.Message().Envelope.Subject))
	if len(subject) > maxSubject {
		subject = strings.ToValidUTF8(subject[:maxSubject], "")
	}
	own, text := replyParts(strings.ReplaceAll(acct.Reply, "%SUBJECT%", subject))
	line("From: %s<%s>", displayName(acct.Name), mail.QuotedAddress(acct.Address))
	line("To: <%s>", mail.QuotedAddress(env.From))
	if own["subject"] == "" {
		own["subject"] = "Auto: " + subject
	}
	line("Subject: %s", mime.QEncoding.Encode("utf-8", own["subject"]))
	for _, name := range []string{"Reply-To", "Organization"} {
		if v := own[strings.ToLower(name)]; v != "" {
			line("%s: %s", name, mime.QEncoding.Encode("utf-8", v))
		}
	}
	line("Date: %s", time.Now().Format(dateLayout))
	line("Message-ID: <%s@%s>", rand.Text(), a.cfg.Hostname)
	if id := head["message-id"]; len(id) > 0 && len(id[0]) < 900 {
		line("In-Reply-To: %s", printable(id[0]))
		references := id[0]
		if r := head["references"]; len(r) > 0 && len(r[0]) < 800 {
			references = r[0] + " " + id[0]
		}
		line("References: %s", strings.Join(strings.Fields(printable(references)), "\r\n "))
	}
	line("Auto-Submitted: auto-replied")
	line("Precedence: bulk")
	line("X-Auto-Response-Suppress: All")
	line("MIME-Version: 1.0")
	line("Content-Type: text/plain; charset=utf-8")
	line("Content-Transfer-Encoding: 8bit")
	line("")
	for l := range strings.Lines(text) {
		line("%s", strings.TrimRight(l, "\r\n"))
	}
	return b.Bytes()
}

// replyParts takes the text of mailReplyText apart: its own header, by names in
// lower case, and the rest.
func replyParts(s string) (map[string]string, string) {
	own := map[string]string{}
	rest, ok := strings.CutPrefix(s, "%HEADER%")
	if !ok {
		return own, s
	}
	rest = strings.TrimLeft(rest, "\r\n")
	for rest != "" {
		var l string
		l, rest, _ = strings.Cut(rest, "\n")
		l = strings.TrimRight(l, "\r")
		name, value, ok := strings.Cut(l, ":")
		if !ok {
			if strings.TrimSpace(l) != "" {
				rest = l + "\n" + rest
			}
			break
		}
		own[strings.ToLower(strings.TrimSpace(name))] = printable(strings.TrimSpace(value))
	}
	return own, rest
}

// displayName returns a name as it stands before an address.
func displayName(name string) string {
	if name = printable(name); name == "" {
		return ""
	}
	for i := range len(name) {
		if name[i] >= 0x80 {
			return mime.QEncoding.Encode("utf-8", name) + " "
		}
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" `
}
