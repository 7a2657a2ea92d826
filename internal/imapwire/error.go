package imapwire

import (
	"errors"
	"strconv"
)

// SyntaxError is a command that does not follow the grammar.
type SyntaxError struct {
	Pos  int64  // bytes from the start of the command to the place
	Text string // what was expected or what is wrong there
}

// Error returns the text with the place, for a tagged BAD.
func (e *SyntaxError) Error() string {
	return e.Text + " at position " + strconv.FormatInt(e.Pos, 10)
}

// TooBigError is a command that exceeds a limit.
type TooBigError struct {
	Pos  int64
	Text string // which limit
}

// Error returns the text with the place.
func (e *TooBigError) Error() string {
	return e.Text + " at position " + strconv.FormatInt(e.Pos, 10)
}

// ErrFlood is the error of a command whose unwanted literals are larger than
// Limits.Skip: the connection cannot be brought back into step.
var ErrFlood = errors.New("unwanted literal is too large to skip")
