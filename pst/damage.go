package pst

import (
	"errors"
	"fmt"
	"strings"
)

// Why a file is refused; errors.Is finds them in the errors of Open.
var (
	ErrFormat    = errors.New("not a PST, OST or PAB file")
	ErrProtected = errors.New("the file is encrypted by Windows")
	ErrTruncated = errors.New("the file is cut off")
)

// Place is where in a file something lies; what is not known is zero.
type Place struct {
	Node   uint32 // the node's id ([MS-PST] 2.2.2.1)
	Block  uint64 // the id of a block or page (2.2.2.2)
	Offset int64  // from the start of the file, in bytes
}

// String names the place as an administrator may quote it.
func (p Place) String() string {
	var parts []string
	if p.Node != 0 {
		parts = append(parts, fmt.Sprintf("node %#x", p.Node))
	}
	if p.Block != 0 {
		parts = append(parts, fmt.Sprintf("block %#x", p.Block))
	}
	if p.Offset != 0 {
		parts = append(parts, fmt.Sprintf("offset %d", p.Offset))
	}
	if len(parts) == 0 {
		return "header"
	}
	return strings.Join(parts, ", ")
}

// Damage is a part of the file that is not as it should be.
type Damage struct {
	Place
	Err error
}

// Error names the place and the cause.
func (d *Damage) Error() string { return d.Place.String() + ": " + d.Err.Error() }

// Unwrap returns the cause.
func (d *Damage) Unwrap() error { return d.Err }

// damaged makes a Damage of a place and a formatted cause.
func damaged(p Place, format string, args ...any) *Damage {
	return &Damage{p, fmt.Errorf(format, args...)}
}

// at adds the node to an error that came from below it, unless it names one.
func at(node uint32, err error) error {
	var d *Damage
	if !errors.As(err, &d) {
		return &Damage{Place{Node: node}, err}
	}
	if d.Node == 0 {
		return &Damage{Place{node, d.Block, d.Offset}, d.Err}
	}
	return err
}
