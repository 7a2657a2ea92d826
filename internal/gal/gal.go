// Package gal reads and writes address lists: the CSV files of Outlook
// Express, Outlook, Mozilla and Exchange, the LDIF of Netscape and Active
// Directory, vCards, offline and personal address books, and directory servers
// themselves. Whatever the format, an entry becomes a Recipient; lists
// of them are merged, turned into entries of the directory, compared with what
// is there, and written out again. What a file has wrong is repaired where
// that is safe, and reported with its line in every case; nothing is dropped
// in silence.
package gal

import (
	"fmt"
	"strings"
)

// Kind is what a recipient is.
type Kind int

// The kinds of recipient.
const (
	Person    Kind = iota // somebody, here or elsewhere
	Contact               // somebody with an address outside (AD contact, mail user)
	Group                 // a distribution list
	Room                  // a room to book
	Equipment             // a thing to book
	Folder                // a public folder with an address
)

// String returns the kind in words.
func (k Kind) String() string {
	names := [...]string{"person", "contact", "group", "room", "equipment", "public folder"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Origin is where a recipient or a value was read.
type Origin struct {
	File string
	Line int
}

// String returns "file:line".
func (o Origin) String() string {
	if o.File == "" {
		return fmt.Sprintf("line %d", o.Line)
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Value is one value of a field.
type Value struct {
	Field Field
	Text  string // never empty
	Line  int
}

// Member is a member of a group, as far as the source tells.
type Member struct {
	Name    string // display name or common name
	Address string // empty where the source gives none
	DN      string // in the source
	Line    int
}

// Recipient is one entry of an address list.
type Recipient struct {
	Kind    Kind
	Origin  Origin
	DN      string // its name in the source, if it has one there
	Values  []Value
	Members []Member // Group
	Links   []Link
	SID     string // of Windows, "S-1-5-…"; empty: none
	Hidden  bool   // not to be shown in the address list

	Photo        []byte   // JPEG
	Certificates [][]byte // DER

	Truncated bool // the file ended inside this entry
}

// Add appends a value; an empty one is left out, and so is one that the field
// has already.
func (r *Recipient) Add(f Field, text string, line int) {
	if text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")); text == "" {
		return
	}
	for _, v := range r.Values {
		if v.Field == f && v.Text == text {
			return
		}
	}
	r.Values = append(r.Values, Value{Field: f, Text: text, Line: line})
}

// Get returns the first value of a field, or "".
func (r *Recipient) Get(f Field) string {
	for _, v := range r.Values {
		if v.Field == f {
			return v.Text
		}
	}
	return ""
}

// All returns the values of a field.
func (r *Recipient) All(f Field) []string {
	var out []string
	for _, v := range r.Values {
		if v.Field == f {
			out = append(out, v.Text)
		}
	}
	return out
}

// remove takes the values of a field away.
func (r *Recipient) remove(f Field) {
	kept := r.Values[:0]
	for _, v := range r.Values {
		if v.Field != f {
			kept = append(kept, v)
		}
	}
	r.Values = kept
}

// Name returns what the recipient is called: its full name, else its first
// and last name, else its nickname, its alias, its address.
func (r *Recipient) Name() string {
	if n := r.Get(FullName); n != "" {
		return n
	}
	if n := strings.Join(strings.Fields(r.Get(FirstName)+" "+r.Get(MiddleName)+" "+r.Get(LastName)), " "); n != "" {
		return n
	}
	for _, f := range []Field{Nickname, UID, Company, Email, WorkPhone, MobilePhone, HomePhone} {
		if n := r.Get(f); n != "" {
			return n
		}
	}
	return ""
}

// Severity is how much an issue matters.
type Severity int

// The severities.
const (
	Info    Severity = iota // put into another form, nothing lost
	Warning                 // look at it
	Error                   // something was not taken over
)

// String returns the severity in lower case.
func (s Severity) String() string { return [...]string{"info", "warning", "error"}[s] }

// MarshalText returns the severity for JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Issue is one line of a report: what was found, and what was done about it.
type Issue struct {
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"`
	Column   string   `json:"column,omitempty"` // of a CSV, or an attribute
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Did      string   `json:"did,omitempty"`
}

// String returns the issue as one line: "file:line: column: what; did".
func (i Issue) String() string {
	var b strings.Builder
	switch {
	case i.File != "" && i.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", i.File, i.Line)
	case i.File != "":
		fmt.Fprintf(&b, "%s: ", i.File)
	case i.Line > 0:
		fmt.Fprintf(&b, "line %d: ", i.Line)
	}
	if i.Severity > Info {
		b.WriteString(i.Severity.String() + ": ")
	}
	if i.Column != "" {
		b.WriteString(i.Column + ": ")
	}
	b.WriteString(i.What)
	if i.Did != "" {
		b.WriteString("; " + i.Did)
	}
	return b.String()
}

// Reporter receives issues.
type Reporter func(Issue)

// at returns an issue's place.
func (o Origin) issue(line int, s Severity, column, what, did string) Issue {
	if line == 0 {
		line = o.Line
	}
	return Issue{File: o.File, Line: line, Column: column, Severity: s, What: what, Did: did}
}
