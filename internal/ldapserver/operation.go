package ldapserver

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapwire"
	"expost/internal/mail"
)

// operation is one request being carried out.
type operation struct {
	c         *conn
	m         *ldapwire.Message
	cancel    context.CancelFunc
	abandoned atomic.Bool
	canceled  atomic.Bool
	persists  atomic.Bool     // it has no end of its own
	done      chan struct{}   // closed when it has been answered; nil where nobody could wait
	code      ldap.ResultCode // by done: of the answer

	who      directory.Identity // for whom it is
	controls controls
	answers  []ldapwire.Control // of the last message
	entries  int                // sent
}

// respond adds a control to the last message of the answer.
func (o *operation) respond(c ldapwire.Control) { o.answers = append(o.answers, c) }

// answer carries an operation out and sends the answer, unless it was given up.
func (c *conn) answer(ctx context.Context, o *operation) error {
	started := time.Now()
	o.who = c.who
	o.who.Peer = c.peer
	op := c.perform(ctx, o)
	if r, ok := resultIn(op); ok {
		o.code = r.Code
	}
	c.operations.Add(1)
	c.entries.Add(int64(o.entries))
	c.logOperation(ctx, o, op, time.Since(started))
	c.traceOperation(o, op)
	if o.abandoned.Load() {
		return nil
	}
	return c.send(o.m.ID, op, o.answers...)
}

// perform carries an operation out and returns the last message of its answer.
func (c *conn) perform(ctx context.Context, o *operation) (answer ldapwire.Op) {
	of := o.m.Op.Tag().Response()
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic in an operation", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			answer = response(of, ldapwire.Result{Code: ldap.Other, Text: "internal error"})
		}
	}()
	if err := o.readControls(ctx); err != nil {
		return response(of, c.result(ctx, err))
	}
	err := o.refer(ctx)
	if err != nil {
		return response(of, c.result(ctx, err))
	}
	switch r := o.m.Op.(type) {
	case *ldapwire.BindRequest:
		return c.bind(ctx, r)
	case *ldapwire.ExtendedRequest:
		return c.extended(ctx, o, r)
	case *ldapwire.SearchRequest:
		err = o.search(ctx, &r.SearchRequest)
	case *ldapwire.CompareRequest:
		err = o.compare(ctx, r)
	default:
		err = o.change(ctx)
	}
	if err != nil && o.canceled.Load() {
		return response(of, ldapwire.Result{Code: ldap.Canceled})
	}
	return response(of, c.result(ctx, err))
}

// result makes an LDAPResult of a handler's error, logging a cause that the
// client is not told.
func (c *conn) result(ctx context.Context, err error) ldapwire.Result {
	r := resultOf(err)
	if (r.Code == ldap.Other || r.Code == ldap.Unavailable) && ctx.Err() == nil { // whoever gives up knows why
		c.log.LogAttrs(ctx, slog.LevelError, "operation failed", slog.Any("error", err))
	}
	return r
}

// response returns the answer of the kind with nothing but a result.
func response(of ldapwire.Tag, r ldapwire.Result) ldapwire.Op {
	switch of {
	case ldapwire.TagBindResponse:
		return &ldapwire.BindResponse{Result: r}
	case ldapwire.TagExtendedResponse:
		return &ldapwire.ExtendedResponse{Result: r}
	}
	return &ldapwire.Response{Of: of, Result: r}
}

// resultOf maps an error to an LDAPResult; nil is success.
func resultOf(err error) ldapwire.Result {
	if err == nil {
		return ldapwire.Result{}
	}
	if e, ok := errors.AsType[*ldap.Error](err); ok {
		return ldapwire.Result{Code: e.Code, Matched: e.Matched.String(), Text: e.Text, Referral: e.Referral}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return ldapwire.Result{Code: ldap.TimeLimitExceeded}
	}
	return ldapwire.Result{Code: codeOf(mail.KindOf(err)), Text: mail.PublicText(err)}
}

// codeOf maps the kinds of mail's errors to result codes.
func codeOf(k mail.Kind) ldap.ResultCode {
	switch k {
	case mail.KindNotExist:
		return ldap.NoSuchObject
	case mail.KindExist:
		return ldap.EntryAlreadyExists
	case mail.KindPermission:
		return ldap.InsufficientAccessRights
	case mail.KindAuth:
		return ldap.InvalidCredentials
	case mail.KindInvalid:
		return ldap.ConstraintViolation
	case mail.KindQuota, mail.KindTooBig:
		return ldap.AdminLimitExceeded
	case mail.KindTemporary, mail.KindConflict:
		return ldap.Busy
	case mail.KindUnavailable:
		return ldap.Unavailable
	}
	return ldap.Other
}
