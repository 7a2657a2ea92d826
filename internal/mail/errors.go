package mail

import (
	"errors"
	"fmt"
)

// Kind says what sort of thing went wrong. The set is closed: each protocol
// maps every Kind to a reply in one table.
type Kind uint8

// The kinds of error.
const (
	KindInternal    Kind = iota // anything else: a fault of ours
	KindNotExist                // the named thing is not there
	KindExist                   // the named thing is there already
	KindPermission              // not allowed
	KindAuth                    // wrong login or password
	KindInvalid                 // the request makes no sense
	KindQuota                   // over quota
	KindTooBig                  // larger than a limit
	KindTemporary               // may work later
	KindUnavailable             // a thing we need is away (disk full, directory down)
	KindCorrupt                 // stored data is damaged
	KindConflict                // the thing changed meanwhile
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	names := [...]string{"internal", "not exist", "exist", "permission", "auth", "invalid",
		"quota", "too big", "temporary", "unavailable", "corrupt", "conflict"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Error is an error with a Kind. Text is what a client may be told; Err is
// the private cause and goes to the log only.
type Error struct {
	Kind Kind
	Text string
	Err  error
}

// Error returns the public text and the private cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Text
	}
	return e.Text + ": " + e.Err.Error()
}

// Unwrap returns the private cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an *Error of the kind with a formatted public text.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// WrapError returns an *Error of the kind with a public text and a private cause.
func WrapError(kind Kind, err error, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...), Err: err}
}

// KindOf returns the Kind of the first *Error in err's chain, and
// KindInternal where there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}

// PublicText returns what a client may be told of err.
func PublicText(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Text
	}
	return "internal error"
}
