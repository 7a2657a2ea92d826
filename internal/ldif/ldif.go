// Package ldif reads and writes LDIF (RFC 2849): entries and changes, record
// by record, each with the line it came from. A strict reader takes what the
// RFC allows; a lenient one also takes what twenty-five years of programs
// wrote, and reports each repair. A value given as a URL is never fetched.
package ldif

import (
	"fmt"

	"expost/internal/ldap"
)

// ChangeType is what a record does.
type ChangeType string

// The change types of RFC 2849. An entry in a content file has none.
const (
	Content     ChangeType = ""
	Add         ChangeType = "add"
	Delete      ChangeType = "delete"
	Modify      ChangeType = "modify"
	ModRDN      ChangeType = "modrdn"
	ModDN       ChangeType = "moddn"
	unknownType ChangeType = "?"
)

// Value is one "attribute: value" line.
type Value struct {
	Desc   string // attribute description as written, options included
	Data   []byte // decoded
	Line   int    // where it begins
	Base64 bool   // it stood behind "::"
}

// Mod is one part of a modify record.
type Mod struct {
	Op     ldap.ChangeOp
	Desc   string
	Values []Value
	Line   int
}

// Control is a "control:" line (RFC 2849, RFC 4511 §4.1.11).
type Control struct {
	OID      string
	Critical bool
	Value    []byte // nil where absent
	Line     int
}

// Record is one entry or one change.
type Record struct {
	Line     int    // of "dn:"
	DN       string // as written; ldap.ParseDN may not take what Netscape wrote
	Change   ChangeType
	Controls []Control
	Values   []Value // Content and Add, in the order of the file
	Mods     []Mod   // Modify

	NewRDN       string // ModRDN, ModDN
	DeleteOldRDN bool
	NewSuperior  string
	HasSuperior  bool // NewSuperior was given, if only as the empty DN

	// Truncated tells that the file ended inside this record.
	Truncated bool
}

// Get returns the first value of an attribute, compared without regard to
// case and without its options.
func (r *Record) Get(desc string) (Value, bool) {
	for _, v := range r.Values {
		if equalFold(baseName(v.Desc), desc) {
			return v, true
		}
	}
	return Value{}, false
}

// Entry returns a content or add record as an entry: the values of one
// description together, in the order in which the descriptions first appear.
func (r *Record) Entry() (*ldap.Entry, error) {
	if r.Change != Content && r.Change != Add {
		return nil, &Error{Line: r.Line, Text: fmt.Sprintf("a %s record is not an entry", r.Change)}
	}
	dn, err := ldap.ParseDN(r.DN)
	if err != nil {
		return nil, &Error{Line: r.Line, Text: fmt.Sprintf("dn %q: %v", r.DN, err)}
	}
	e := &ldap.Entry{DN: dn}
	at := make(map[string]int, len(r.Values))
	for _, v := range r.Values {
		key := lower(v.Desc)
		i, ok := at[key]
		if !ok {
			i = len(e.Attributes)
			at[key] = i
			e.Attributes = append(e.Attributes, ldap.Attribute{Desc: v.Desc})
		}
		e.Attributes[i].Values = append(e.Attributes[i].Values, v.Data)
	}
	return e, nil
}

// Changes returns a modify record's parts as LDAP changes.
func (r *Record) Changes() []ldap.Change {
	out := make([]ldap.Change, 0, len(r.Mods))
	for _, m := range r.Mods {
		c := ldap.Change{Op: m.Op, Attribute: ldap.Attribute{Desc: m.Desc}}
		for _, v := range m.Values {
			c.Attribute.Values = append(c.Attribute.Values, v.Data)
		}
		out = append(out, c)
	}
	return out
}

// Error is a place in a file that cannot be read. After it, Reader.Next goes
// on with the next record.
type Error struct {
	File string // as given in Options
	Line int
	Text string
}

// Error returns "file:line: text".
func (e *Error) Error() string {
	if e.File == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Text)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Issue is a repair that a lenient reader made.
type Issue struct {
	Line int
	Attr string // where one is concerned
	What string // the defect
	Did  string // the repair
}

// baseName returns an attribute description without its options.
func baseName(desc string) string {
	for i := range len(desc) {
		if desc[i] == ';' {
			return desc[:i]
		}
	}
	return desc
}
