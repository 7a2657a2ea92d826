package imapclient

import (
	"strconv"
	"strings"

	"expost/internal/mail"
)

// Listed is one LIST or LSUB response.
type Listed struct {
	Name       string // as on the wire, modified UTF-7 where nothing else is enabled
	Delimiter  string // "" where the hierarchy is flat
	Attributes []string
}

// Is tells whether the mailbox has the attribute, `\Noselect`.
func (l Listed) Is(attribute string) bool {
	for _, a := range l.Attributes {
		if strings.EqualFold(a, attribute) {
			return true
		}
	}
	return false
}

// List reads a LIST or LSUB response.
func (r *Response) List() (Listed, error) {
	var out Listed
	attrs, err := r.line.Value()
	if err != nil {
		return out, err
	}
	for _, a := range attrs.List {
		out.Attributes = append(out.Attributes, a.Text)
	}
	delimiter, err := r.line.Value()
	if err != nil {
		return out, err
	}
	if !delimiter.IsNil {
		out.Delimiter = delimiter.Text
	}
	name, err := r.line.mailbox()
	out.Name = name
	return out, err
}

// mailbox reads a mailbox name. One that should have been quoted, because it
// holds spaces or parentheses, goes to the end of the line.
func (l *Line) mailbox() (string, error) {
	l.spaces()
	if b := l.peek(); b == '"' || b == 0 {
		v, err := l.Value()
		return v.Text, err
	}
	if end := len(l.buf); l.literal < 0 && !strings.Contains(string(l.buf[l.pos:]), " (") {
		name := string(l.buf[l.pos:end])
		l.pos = end
		return name, nil
	}
	v, err := l.Value()
	return v.Text, err
}

// Status is the state of a mailbox. Messages and Size are -1 where unknown.
type Status struct {
	UIDValidity   mail.UIDValidity
	UIDNext       mail.UID
	HighestModSeq uint64
	Messages      int
	Size          int64
}

// Set keeps one named value: UIDNEXT, "12".
func (s *Status) Set(name, value string) {
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
	if err != nil {
		return
	}
	switch strings.ToUpper(name) {
	case "UIDVALIDITY":
		s.UIDValidity = mail.UIDValidity(n)
	case "UIDNEXT":
		s.UIDNext = mail.UID(n)
	case "HIGHESTMODSEQ":
		s.HighestModSeq = n
	case "MESSAGES":
		s.Messages = int(n)
	case "SIZE":
		s.Size = int64(n)
	}
}

// Status reads a STATUS response.
func (r *Response) Status() (name string, s Status, err error) {
	s = Status{Messages: -1, Size: -1}
	v, err := r.line.Value()
	if err != nil {
		return "", s, err
	}
	items, err := r.line.Value()
	if err != nil {
		return "", s, err
	}
	for i := 0; i+1 < len(items.List); i += 2 {
		s.Set(items.List[i].Text, items.List[i+1].Text)
	}
	return v.Text, s, nil
}

// Search reads a SEARCH or ESEARCH response into set.
func (r *Response) Search(set *mail.UIDSet) error {
	if r.name == "SEARCH" {
		for w := range strings.FieldsSeq(string(r.line.rest())) {
			n, err := strconv.ParseUint(w, 10, 32)
			if err != nil {
				break // (MODSEQ n)
			}
			set.Add(mail.UID(n))
		}
		return nil
	}
	words := strings.Fields(string(r.line.rest()))
	for i, w := range words {
		if strings.EqualFold(w, "ALL") && i+1 < len(words) {
			return addSet(set, words[i+1])
		}
	}
	return nil
}

// Vanished adds the UIDs of a VANISHED (EARLIER) response (RFC 7162 §3.2.10) to
// set. One without EARLIER adds none: it tells of what vanishes meanwhile.
func (r *Response) Vanished(set *mail.UIDSet) error {
	words := strings.Fields(string(r.line.rest()))
	if len(words) != 2 || !strings.EqualFold(words[0], "(EARLIER)") {
		return nil
	}
	return addSet(set, words[1])
}

// addSet adds a sequence-set (RFC 9051 §9) to set.
func addSet(set *mail.UIDSet, s string) error {
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, ":")
		if !isRange {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 32)
		if err != nil {
			return ErrGarbage
		}
		b, err := strconv.ParseUint(last, 10, 32)
		if err != nil {
			return ErrGarbage
		}
		set.AddRange(mail.UID(a), mail.UID(b))
	}
	return nil
}

// maxUIDs bounds what UIDs returns.
const maxUIDs = 100_000

// UIDs returns the UIDs of a uid-set (RFC 4315 §3) in the order in which they are
// written.
func UIDs(set string) ([]mail.UID, error) {
	var out []mail.UID
	for part := range strings.SplitSeq(set, ",") {
		first, last, isRange := strings.Cut(part, ":")
		if !isRange {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 32)
		if err != nil {
			return nil, ErrGarbage
		}
		b, err := strconv.ParseUint(last, 10, 32)
		if err != nil || b < a || b-a >= maxUIDs || len(out)+int(b-a) >= maxUIDs {
			return nil, ErrGarbage
		}
		for uid := a; uid <= b; uid++ {
			out = append(out, mail.UID(uid))
		}
	}
	return out, nil
}

// Namespaces are the prefixes of RFC 2342.
type Namespaces struct {
	Personal, Other []Namespace // Other: other users' and shared
}

// Namespace is one prefix.
type Namespace struct{ Prefix, Delimiter string }

// Namespace reads a NAMESPACE response.
func (r *Response) Namespace() (Namespaces, error) {
	var out Namespaces
	for i := range 3 {
		v, err := r.line.Value()
		if err != nil {
			return out, err
		}
		for _, e := range v.List {
			if len(e.List) < 2 {
				continue
			}
			ns := Namespace{Prefix: e.List[0].Text}
			if !e.List[1].IsNil {
				ns.Delimiter = e.List[1].Text
			}
			if i == 0 {
				out.Personal = append(out.Personal, ns)
			} else {
				out.Other = append(out.Other, ns)
			}
		}
	}
	return out, nil
}
