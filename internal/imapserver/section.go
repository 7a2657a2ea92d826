package imapserver

import (
	"io"
	"slices"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/message"
)

// extent is the bytes [from, to) of a message.
type extent struct{ from, to int64 }

// whole is the extent of all of a message.
func whole(size int64) extent { return extent{0, size} }

// locate returns the bytes that a section names (RFC 9051 §6.4.5.1), before a
// header is reduced to some of its fields; false where there is no such part.
func locate(m *message.Message, s *imapwire.Section) (extent, bool) {
	if len(m.Parts) == 0 {
		return extent{}, false
	}
	i := 0
	if len(s.Part) > 0 {
		var ok bool
		if i, ok = m.Find(s.Part); !ok {
			return extent{}, false
		}
	}
	p := &m.Parts[i]
	switch s.Text {
	case imapwire.SectionAll:
		if len(s.Part) == 0 {
			return whole(m.Size), true
		}
		return extent{p.Body, p.End}, true
	case imapwire.SectionMIME:
		return extent{p.Header, p.Body}, true
	}
	if len(s.Part) > 0 { // HEADER and TEXT of a part are those of the message in it
		if !p.IsMessage() || i+1 >= len(m.Parts) || m.Parts[i+1].Parent != i {
			return extent{}, false
		}
		p = &m.Parts[i+1]
	}
	if s.Text == imapwire.SectionBodyText {
		return extent{p.Body, p.End}, true
	}
	return extent{p.Header, p.Body}, true
}

// cut reduces the extent to <from.count>.
func (e extent) cut(p imapwire.Partial) extent {
	if !p.Given {
		return e
	}
	size := e.to - e.from
	from := min(p.From, size)
	return extent{e.from + from, e.from + from + min(p.Count, size-from)}
}

// cutBytes is cut for bytes in memory.
func cutBytes(b []byte, p imapwire.Partial) []byte {
	e := whole(int64(len(b))).cut(p)
	return b[e.from:e.to]
}

// readHeader reads a header, at most limit bytes of it.
func readHeader(r io.ReaderAt, e extent, limit int64) (string, error) {
	b := make([]byte, min(e.to-e.from, limit))
	n, err := r.ReadAt(b, e.from)
	if n == len(b) {
		err = nil
	}
	return string(b[:n]), err
}

// selectFields appends the fields of a header whose names are (or, with not,
// are not) among names, as they stand there, and an empty line.
func selectFields(dst []byte, header string, names []string, not bool) []byte {
	keep := false
	for header != "" {
		line := header
		if i := strings.IndexByte(header, '\n'); i >= 0 {
			line = header[:i+1]
		}
		header = header[len(line):]
		switch line[0] {
		case '\r', '\n':
			if strings.TrimRight(line, "\r\n") == "" {
				return append(dst, "\r\n"...)
			}
		case ' ', '\t': // goes on with the field before
		default:
			name, _, isField := strings.Cut(line, ":")
			keep = isField && not != hasName(names, strings.TrimRight(name, " \t"))
		}
		if keep {
			dst = append(dst, line...)
		}
	}
	return append(dst, "\r\n"...)
}

// hasName tells whether a field name is among names, in any case.
func hasName(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}
