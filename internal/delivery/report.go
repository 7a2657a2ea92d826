package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"expost/internal/dsn"
	"expost/internal/mail"
)

// Bounds of what a report brings back of a message, in bytes.
const (
	maxReportedHeader = 16 << 10
	maxReported       = 1 << 20 // a larger message comes as its header
)

// report tells the sender which of the recipients that wanted it said
// (NOTIFY=SUCCESS, RFC 3461 §4.1) have the mail, or have passed it on to where
// nobody will say more (§5.2.7). It can only be lost together with this process,
// and is no reason to refuse the mail.
func (a *Agent) report(ctx context.Context, env *Envelope, s *Spooled, results []error) {
	if env.From == "" {
		return
	}
	var to []dsn.Recipient
	for i, r := range env.Recipients {
		if results[i] != nil || !slices.Contains(strings.Split(r.Notify, ","), "SUCCESS") {
			continue
		}
		if action, ok := r.Route.success(); ok {
			to = append(to, dsn.Recipient{Address: r.Address, Original: r.Original, Action: action, Status: "2.0.0"})
		}
	}
	for _, r := range s.relayed {
		if slices.Contains(strings.Split(r.Notify, ","), "SUCCESS") {
			to = append(to, dsn.Recipient{Address: r.Address, Original: r.Original, Action: dsn.Relayed, Status: "2.0.0"})
		}
	}
	if len(to) == 0 {
		return
	}
	if err := a.tell(ctx, env, env.From, to, returnedOf(s)); err != nil {
		a.log.Warn("no report of delivery could be given", slog.String("id", env.ID), slog.String("from", string(env.From)), slog.Any("error", err))
	}
}

// returnFailed reports the recipients that failed for good, where all others have
// the message: SMTP's one reply cannot say that, and to try again would help
// nobody. They are marked as returned then. Over LMTP each has a reply of its own.
func (a *Agent) returnFailed(ctx context.Context, env *Envelope, s *Spooled, results []error) {
	if env.PerReply {
		return
	}
	var to []dsn.Recipient
	failed := 0
	for i, err := range results {
		switch r := env.Recipients[i]; {
		case err == nil:
		case !Permanent(err):
			return
		case wantsFailure(r.Notify):
			f := failedRecipient(r.Address, err)
			f.Original = r.Original
			to = append(to, f)
			failed++
		default:
			failed++
		}
	}
	if failed == 0 || failed == len(results) {
		return
	}
	if len(to) > 0 && env.From != "" && !a.silent(env, s) {
		if err := a.tell(ctx, env, env.From, to, returnedOf(s)); err != nil {
			a.log.Warn("a message cannot be returned", slog.String("id", env.ID), slog.String("from", string(env.From)), slog.Any("error", err))
			return
		}
	}
	for i, err := range results {
		if err != nil {
			results[i] = returnedError(err)
		}
	}
}

// silent tells whether nobody is told of a message that cannot be delivered: spam
// from other hosts has the sender of somebody who never sent it.
func (a *Agent) silent(env *Envelope, s *Spooled) bool {
	if !env.Foreign || !env.Junk && !s.junk {
		return false
	}
	a.log.Info("spam is not returned", slog.String("id", env.ID), slog.String("from", string(env.From)))
	return true
}

// returnedError marks the failure of a recipient whose sender is told.
func returnedError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Status: e.Status, Err: e.Err, Returned: true}
	}
	return &Error{Status: "5.0.0", Err: mail.WrapError(mail.KindOf(err), err, "%s", mail.PublicText(err)), Returned: true}
}

// success is what is said of a recipient whose mail is accepted. It is false
// where somebody else says it: the queue, the next host, or a moderator.
func (r *Route) success() (dsn.Action, bool) {
	held := slices.ContainsFunc(r.Lists, func(l *ListRoute) bool { return l.Hold != HoldNot })
	forwards := slices.ContainsFunc(r.Remote, func(t RemoteTarget) bool { return t.Forward })
	switch {
	case held || r.Decision != nil:
		return "", false
	case len(r.Lists) > 0, forwards:
		return dsn.Expanded, true
	case len(r.Targets) > 0:
		return dsn.Delivered, true
	}
	return "", false
}

// failedRecipient is a recipient in a report of failure.
func failedRecipient(addr mail.Address, err error) dsn.Recipient {
	r := dsn.Recipient{Address: addr, Action: dsn.Failed, Status: "5.0.0", Reply: mail.PublicText(err), Last: time.Now()}
	if e, ok := errors.AsType[*Error](err); ok {
		r.Status = e.Status
	}
	return r
}

// returned opens a message for its report: a reader from its beginning, its
// size, and what ends the reading.
type returned func() (r io.Reader, size int64, end func() error, err error)

// returnedOf opens a spooled message, without its Return-Path.
func returnedOf(s *Spooled) returned {
	return func() (io.Reader, int64, func() error, error) {
		body, err := s.in.Open()
		if err != nil {
			return nil, 0, nil, fmt.Errorf("opening the message: %w", err)
		}
		return body.Section(s.path, body.Size()), body.Size() - s.path, body.Close, nil
	}
}

// tell sends a report about a message.
func (a *Agent) tell(ctx context.Context, env *Envelope, to mail.Address, about []dsn.Recipient, open returned) error {
	text, size, end, err := open()
	if err != nil {
		return err
	}
	now := time.Now()
	rep := &dsn.Report{
		ID: env.ID + "R" + fmt.Sprint(now.UnixMilli()%1e6), Hostname: a.cfg.Hostname, From: mail.Address("postmaster@" + a.firstDomain()), To: to,
		Date: now, Arrival: env.Received, Queue: env.ID, EnvID: env.EnvID, UTF8: env.UTF8, EightBit: true, Recipients: about,
	}
	failed := slices.ContainsFunc(about, func(r dsn.Recipient) bool { return r.Action == dsn.Failed })
	back := dsn.Returned{Reader: text, Full: failed && env.Return != "HDRS" && !env.RequireTLS && size <= maxReported}
	if !back.Full {
		var head []byte
		if head, err = io.ReadAll(io.LimitReader(text, maxReportedHeader)); err == nil {
			back.Reader = bytes.NewReader(onlyHeader(head))
		}
	}
	if err == nil {
		err = a.Inject(ctx, to, rep.Reader(back))
	}
	return errors.Join(err, end())
}

// onlyHeader cuts a message behind its header, or where it is longer behind a
// whole line.
func onlyHeader(b []byte) []byte {
	if end := bytes.Index(b, []byte("\r\n\r\n")); end >= 0 {
		return b[:end+2]
	}
	if end := bytes.LastIndex(b, []byte("\r\n")); end >= 0 {
		return b[:end+2]
	}
	return nil
}

// head returns the message's header, or its beginning.
func (s *Spooled) head() ([]byte, error) {
	body, err := s.in.Open()
	if err != nil {
		return nil, fmt.Errorf("opening the message: %w", err)
	}
	end := min(s.in.Message().Parts[0].Body, maxReportedHeader*4)
	head, err := io.ReadAll(body.Section(0, end))
	return head, errors.Join(err, body.Close())
}
