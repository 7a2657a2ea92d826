package ldif

import (
	"bufio"
	"encoding/base64"
	"io"
	"strconv"
	"strings"

	"expost/internal/ldap"
)

// foldAt is the length of a line, its end not counted (RFC 2849 note 2 asks
// for no length; 76 is what slapcat writes).
const foldAt = 76

// Writer writes records. It keeps the first error, which Flush returns.
type Writer struct {
	w   *bufio.Writer
	buf []byte
}

// NewWriter returns a Writer to w. Call Flush at the end. No version line is
// written: slapadd takes one for a broken entry, and every reader does without.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, 64<<10)} }

// Comment writes text as comment lines.
func (w *Writer) Comment(text string) {
	for l := range strings.Lines(text) {
		_, _ = w.w.WriteString("# " + strings.TrimRight(l, "\r\n") + "\n") // bufio keeps the error
	}
}

// Entry writes an entry as a content record.
func (w *Writer) Entry(e *ldap.Entry) {
	w.value("dn", []byte(e.DN.String()))
	for _, a := range e.Attributes {
		for _, v := range a.Values {
			w.value(a.Desc, v)
		}
	}
	w.end()
}

// Record writes a record of any kind.
func (w *Writer) Record(r *Record) {
	w.value("dn", []byte(r.DN))
	for _, c := range r.Controls {
		w.control(c)
	}
	if r.Change != Content {
		w.value("changetype", []byte(r.Change))
	}
	switch r.Change {
	case Content, Add:
		for _, v := range r.Values {
			w.value(v.Desc, v.Data)
		}
	case Modify:
		w.mods(r.Mods)
	case ModRDN, ModDN:
		w.value("newrdn", []byte(r.NewRDN))
		del := "0"
		if r.DeleteOldRDN {
			del = "1"
		}
		w.value("deleteoldrdn", []byte(del))
		if r.HasSuperior {
			w.value("newsuperior", []byte(r.NewSuperior))
		}
	}
	w.end()
}

// Modify writes the changes of an entry as a modify record.
func (w *Writer) Modify(dn ldap.DN, changes []ldap.Change) {
	rec := &Record{DN: dn.String(), Change: Modify}
	for _, c := range changes {
		m := Mod{Op: c.Op, Desc: c.Attribute.Desc}
		for _, v := range c.Attribute.Values {
			m.Values = append(m.Values, Value{Desc: c.Attribute.Desc, Data: v})
		}
		rec.Mods = append(rec.Mods, m)
	}
	w.Record(rec)
}

// Flush writes what is buffered and returns the first error of all.
func (w *Writer) Flush() error { return w.w.Flush() }

// mods writes the parts of a modify record.
func (w *Writer) mods(mods []Mod) {
	names := [...]string{"add", "delete", "replace", "increment"}
	for _, m := range mods {
		w.value(names[m.Op], []byte(m.Desc))
		for _, v := range m.Values {
			w.value(m.Desc, v.Data)
		}
		_, _ = w.w.WriteString("-\n")
	}
}

// control writes a "control:" line.
func (w *Writer) control(c Control) {
	w.buf = append(w.buf[:0], "control: "...)
	w.buf = append(w.buf, c.OID...)
	w.buf = append(w.buf, ' ')
	w.buf = strconv.AppendBool(w.buf, c.Critical)
	if c.Value != nil {
		w.buf = append(w.buf, ":: "...)
		w.buf = base64.StdEncoding.AppendEncode(w.buf, c.Value)
	}
	w.fold()
}

// end writes the blank line behind a record.
func (w *Writer) end() { _ = w.w.WriteByte('\n') }

// value writes one line, in base64 where it must be.
func (w *Writer) value(desc string, data []byte) {
	w.buf = append(w.buf[:0], desc...)
	switch {
	case len(data) == 0:
		w.buf = append(w.buf, ':')
	case safe(data):
		w.buf = append(append(w.buf, ": "...), data...)
	default:
		w.buf = base64.StdEncoding.AppendEncode(append(w.buf, ":: "...), data)
	}
	w.fold()
}

// fold writes w.buf in lines of foldAt bytes.
func (w *Writer) fold() {
	b := w.buf
	n := min(len(b), foldAt)
	_, _ = w.w.Write(b[:n])
	for b = b[n:]; len(b) > 0; b = b[n:] {
		n = min(len(b), foldAt-1)
		_, _ = w.w.WriteString("\n ")
		_, _ = w.w.Write(b[:n])
	}
	_ = w.w.WriteByte('\n')
}

// safe tells whether a value may stand as text: RFC 2849 SAFE-STRING without
// a space at its end.
func safe(b []byte) bool {
	if b[0] == ' ' || b[0] == ':' || b[0] == '<' || b[len(b)-1] == ' ' {
		return false
	}
	for _, c := range b {
		if c == 0 || c == '\n' || c == '\r' || c >= 0x7F {
			return false
		}
	}
	return true
}
