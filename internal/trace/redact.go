package trace

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const hidden = "<not shown>"

// newRedactor returns the redactor of a protocol.
func newRedactor(protocol string) redactor {
	switch protocol {
	case "imap":
		return &imapRedactor{}
	case "pop3":
		return &pop3Redactor{}
	}
	return &smtpRedactor{}
}

// maxPartial bounds a line that has not ended.
const maxPartial = 64 << 10

// lines cuts a stream into lines, leaving counted bytes out.
type lines struct {
	partial []byte // of a line that has not ended, up to maxPartial of it
	skip    int64
}

// take calls line with every line of b. line may set skip: so many bytes behind
// it are passed over.
func (l *lines) take(b []byte, line func(string)) {
	for len(b) > 0 {
		if l.skip > 0 {
			n := min(l.skip, int64(len(b)))
			l.skip -= n
			b = b[n:]
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			l.keep(b)
			return
		}
		l.keep(b[:end])
		text := strings.TrimSuffix(string(l.partial), "\r")
		l.partial = l.partial[:0]
		b = b[end+1:]
		line(text)
	}
}

// keep appends to the line that has not ended.
func (l *lines) keep(b []byte) {
	room := maxPartial - len(l.partial)
	l.partial = append(l.partial, b[:min(len(b), room)]...)
}

// literal returns the size of the literal that a line of IMAP announces.
var literal = regexp.MustCompile(`~?\{(\d+)\+?\}$`)

// quotedBody finds the bodies that FETCH returns as quoted strings.
var quotedBody = regexp.MustCompile(`(?i)((?:BODY|BINARY)\[[^\]]*\](?:<\d+>)?|PREVIEW|RFC822(?:\.TEXT|\.HEADER)?) "((?:[^"\\]|\\.)*)"`)

// imapRedactor leaves out literals, passwords and SASL messages.
type imapRedactor struct {
	in, out lines
	within  bool   // a client's line goes on behind a literal
	secret  bool   // the command holds a password
	auth    string // tag of the AUTHENTICATE under way
}

func (r *imapRedactor) client(b []byte, show func(string)) {
	r.in.take(b, func(line string) {
		size, announced := sizeOf(line)
		if announced {
			r.in.skip = size
		}
		tag, rest, _ := strings.Cut(line, " ")
		verb, args, _ := strings.Cut(rest, " ")
		switch {
		case r.auth != "":
			show(hidden)
		case r.within && r.secret:
			show("… " + hidden)
		case r.within:
			show("… " + line)
		case strings.EqualFold(verb, "LOGIN"):
			r.secret = true
			show(tag + " " + verb + " " + hidden)
		case strings.EqualFold(verb, "AUTHENTICATE"):
			r.auth = tag
			mechanism, _, initial := strings.Cut(args, " ")
			if initial {
				mechanism += " " + hidden
			}
			show(tag + " " + verb + " " + mechanism)
		default:
			show(line)
		}
		if r.within = announced; !announced {
			r.secret = false
		}
	})
}

func (r *imapRedactor) server(b []byte, show func(string)) {
	r.out.take(b, func(line string) {
		if size, announced := sizeOf(line); announced {
			r.out.skip = size
		}
		switch {
		case r.auth != "" && strings.HasPrefix(line, "+"):
			show("+ " + hidden)
			return
		case r.auth != "" && strings.HasPrefix(line, r.auth+" "):
			r.auth = ""
		}
		show(quotedBody.ReplaceAllStringFunc(line, func(s string) string {
			m := quotedBody.FindStringSubmatch(s)
			return fmt.Sprintf("%s <%d bytes>", m[1], len(m[2]))
		}))
	})
}

// sizeOf returns the size of the literal at a line's end.
func sizeOf(line string) (int64, bool) {
	m := literal.FindStringSubmatch(line)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	return n, err == nil
}

// pop3Redactor leaves out passwords, SASL messages and messages.
type pop3Redactor struct {
	in, out lines
	asked   []pop3Answer // the answers that are to come, in order
	auth    bool         // AUTH is under way
	many    pop3Answer   // the answer of many lines that is coming
	size    int64        // of its body so far
}

// pop3Answer is what kind of answer a command gets.
type pop3Answer int

const (
	oneLine pop3Answer = iota
	manyLines
	aMessage
	afterAuth // one line, with challenges before it
)

func (r *pop3Redactor) client(b []byte, show func(string)) {
	r.in.take(b, func(line string) {
		verb, arg, given := strings.Cut(line, " ")
		answer := oneLine
		switch verb := strings.ToUpper(verb); {
		case r.auth:
			show(hidden)
			return
		case verb == "PASS":
			line = "PASS " + hidden
		case verb == "AUTH" && given:
			mechanism, _, initial := strings.Cut(arg, " ")
			if line = "AUTH " + mechanism; initial {
				line += " " + hidden
			}
			r.auth, answer = true, afterAuth
		case verb == "RETR", verb == "TOP":
			answer = aMessage
		case verb == "CAPA", !given && (verb == "LIST" || verb == "UIDL" || verb == "LANG" || verb == "AUTH"):
			answer = manyLines
		}
		if len(r.asked) < 1000 {
			r.asked = append(r.asked, answer)
		}
		show(line)
	})
}

func (r *pop3Redactor) server(b []byte, show func(string)) {
	r.out.take(b, func(line string) {
		switch {
		case r.many == aMessage && line == ".":
			show(fmt.Sprintf("<%d bytes>", r.size))
			r.many, r.size = oneLine, 0
		case r.many == aMessage:
			r.size += int64(len(line)) + 2
		case r.many == manyLines:
			if line == "." {
				r.many = oneLine
			}
			show(line)
		case len(r.asked) == 0:
			show(line)
		case r.asked[0] == afterAuth && !strings.HasPrefix(line, "+OK") && !strings.HasPrefix(line, "-"):
			show("+ " + hidden)
		default:
			switch r.asked[0] {
			case afterAuth:
				r.auth = false
			case manyLines, aMessage:
				if strings.HasPrefix(line, "+OK") {
					r.many = r.asked[0]
				}
			}
			r.asked = r.asked[1:]
			show(line)
		}
	})
}

// smtpRedactor leaves out passwords, SASL messages and messages.
type smtpRedactor struct {
	in, out lines
	auth    bool  // AUTH is under way
	asked   bool  // DATA was sent
	data    bool  // a message is coming
	size    int64 // of it so far
}

func (r *smtpRedactor) client(b []byte, show func(string)) {
	r.in.take(b, func(line string) {
		words := strings.Fields(line)
		verb := ""
		if len(words) > 0 {
			verb = strings.ToUpper(words[0])
		}
		switch {
		case r.data && line == ".":
			show(fmt.Sprintf("<%d bytes>", r.size))
			r.data = false
			return
		case r.data:
			r.size += int64(len(line)) + 2
			return
		case r.auth:
			show(hidden)
			return
		case verb == "AUTH" && len(words) > 1:
			r.auth = true
			if line = "AUTH " + words[1]; len(words) > 2 {
				line += " " + hidden
			}
		case verb == "DATA":
			r.asked = true
		case verb == "BDAT" && len(words) > 1:
			if n, err := strconv.ParseInt(words[1], 10, 64); err == nil && n >= 0 {
				r.in.skip = n
			}
		}
		show(line)
	})
}

func (r *smtpRedactor) server(b []byte, show func(string)) {
	r.out.take(b, func(line string) {
		switch {
		case r.auth && strings.HasPrefix(line, "334"):
			line = "334 " + hidden
		case r.auth && len(line) >= 3 && (len(line) == 3 || line[3] != '-'):
			r.auth = false
		case r.asked && strings.HasPrefix(line, "354"):
			r.asked, r.data, r.size = false, true, 0
		case r.asked && len(line) >= 3 && (line[0] == '4' || line[0] == '5'):
			r.asked = false
		}
		show(line)
	})
}
