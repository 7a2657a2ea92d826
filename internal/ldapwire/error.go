package ldapwire

import (
	"fmt"

	"expost/internal/ldap"
)

// SyntaxError says that bytes are not an LDAP message. The connection cannot
// go on (RFC 4511 §4.1.1).
type SyntaxError struct {
	Offset int // within the message
	Text   string
}

// Error returns the text with the place.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Text, e.Offset) }

// TooBigError says that a message is longer than the limit.
type TooBigError struct{ Size, Limit int }

// Error names both sizes.
func (e *TooBigError) Error() string {
	return fmt.Sprintf("a message of %d bytes, more than %d", e.Size, e.Limit)
}

// RequestError says that a message is well formed but cannot be carried out: a
// DN that is none, a filter that is too deep. The connection goes on, and the
// request is answered with Err.
type RequestError struct {
	ID  int32
	Tag Tag // of the operation
	Err *ldap.Error
}

// Error returns the cause's text.
func (e *RequestError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.Err }
