package delivery

import (
	"errors"

	"expost/internal/mail"
)

// Error is a recipient or a message that is refused. Status is the enhanced
// status code (RFC 3463), "5.1.1", which says more than the Kind; the two agree
// on whether another try may help. Returned says that the message was accepted
// for the sake of other recipients, and its sender is told by a report.
type Error struct {
	Status   string
	Err      *mail.Error
	Returned bool
}

// Error returns the text of the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the *mail.Error.
func (e *Error) Unwrap() error { return e.Err }

// refuse returns an *Error with a formatted public text.
func refuse(status string, kind mail.Kind, format string, args ...any) *Error {
	return &Error{Status: status, Err: mail.Errorf(kind, format, args...)}
}

// Permanent tells whether err will be the same at every further try.
func Permanent(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status[0] == '5'
	}
	switch mail.KindOf(err) {
	case mail.KindNotExist, mail.KindPermission, mail.KindInvalid, mail.KindTooBig, mail.KindExist:
		return true
	}
	return false
}
