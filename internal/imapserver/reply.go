package imapserver

import (
	"context"
	"errors"
	"net"

	"expost/internal/imapwire"
	"expost/internal/mail"
)

// reply is how a command ends: a status, a response code without its brackets,
// a text, and what happens once it is written. One without a status is written
// later.
type reply struct {
	status, code, text string
	then               func(ctx context.Context) error // may be nil
}

// Error makes a reply an error, for handlers that refuse.
func (r *reply) Error() string { return r.status + " " + r.text }

// no returns a NO with a response code (RFC 5530), which may be empty.
func no(code, text string) error { return &reply{status: "NO", code: code, text: text} }

// bad returns a BAD.
func bad(text string) error { return &reply{status: "BAD", text: text} }

// allGone refuses to work on messages of which others have expunged every one
// (RFC 2180 §4.4, RFC 5530).
func allGone() error { return no("EXPUNGEISSUED", "the messages are gone") }

// uidRequired refuses sequence numbers from a client that has given them up
// (RFC 9586 §3).
func uidRequired(text string) error {
	return &reply{status: "BAD", code: "UIDREQUIRED", text: text + ", and UIDONLY is on"}
}

// ok returns an OK.
func ok(code, text string) reply { return reply{status: "OK", code: code, text: text} }

// errClose ends the connection without a word: the client is gone or the
// streams are out of step.
var errClose = errors.New("connection is over")

// over tells whether an error is the end of the connection: it cannot be read or
// written any more, is out of step, or the server ends it. An error of anything
// else, be it of some other network connection, ends a command alone.
func (c *conn) over(ctx context.Context, err error) bool {
	return errors.Is(err, errClose) || errors.Is(err, imapwire.ErrFlood) || c.out.err != nil || c.dec.Lost() != nil || ctx.Err() != nil
}

// failure maps an error to the reply a client gets.
func failure(err error) reply {
	var refused *reply
	var syntax *imapwire.SyntaxError
	var big *imapwire.TooBigError
	var netErr net.Error
	switch {
	case errors.As(err, &refused):
		return *refused
	case errors.As(err, &syntax):
		return reply{status: "BAD", code: "CLIENTBUG", text: syntax.Error()}
	case errors.As(err, &big):
		return reply{status: "BAD", code: "TOOBIG", text: big.Error()}
	case mail.KindOf(err) == mail.KindInternal && (errors.As(err, &netErr) && netErr.Timeout() || errors.Is(err, context.DeadlineExceeded)):
		return reply{status: "NO", code: "UNAVAILABLE", text: "something that is needed does not answer, try again"}
	}
	return reply{status: "NO", code: code(mail.KindOf(err)), text: mail.PublicText(err)}
}

// code returns the response code of a kind of error (RFC 5530).
func code(k mail.Kind) string {
	switch k {
	case mail.KindNotExist:
		return "NONEXISTENT"
	case mail.KindExist:
		return "ALREADYEXISTS"
	case mail.KindPermission:
		return "NOPERM"
	case mail.KindAuth:
		return "AUTHENTICATIONFAILED"
	case mail.KindInvalid:
		return "CANNOT"
	case mail.KindQuota:
		return "OVERQUOTA"
	case mail.KindTooBig:
		return "TOOBIG"
	case mail.KindConflict:
		return "INUSE"
	case mail.KindTemporary, mail.KindUnavailable:
		return "UNAVAILABLE"
	case mail.KindCorrupt:
		return "CORRUPTION"
	}
	return "SERVERBUG"
}

// orTryCreate turns a missing target of APPEND, COPY or MOVE into the hint that
// it can be created (RFC 9051 §7.1).
func orTryCreate(err error) error {
	if mail.KindOf(err) == mail.KindNotExist {
		return no("TRYCREATE", mail.PublicText(err))
	}
	return err
}
