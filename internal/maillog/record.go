package maillog

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// layout is how a line's time is written.
const layout = "2006-01-02T15:04:05.000000Z07:00"

// maxValue is the longest value that a line has, in bytes.
const maxValue = 1000

// append appends the record as a line: its time, the event, and name=value with
// the value quoted where it is not one plain word.
func (r *Record) append(dst []byte) []byte {
	dst = r.Time.UTC().AppendFormat(dst, layout)
	dst = append(append(dst, ' '), r.Event...)
	text := func(name, value string) {
		if value == "" {
			return
		}
		dst = append(append(append(dst, ' '), name...), '=')
		if len(value) > maxValue {
			value = value[:maxValue]
		}
		if plain(value) {
			dst = append(dst, value...)
		} else {
			dst = strconv.AppendQuote(dst, strings.ToValidUTF8(value, "\uFFFD"))
		}
	}
	text("id", r.ID)
	text("queue", r.Queue)
	dst = append(dst, " from=<"...)
	if plain(r.From) {
		dst = append(dst, r.From...)
	} else {
		dst = strconv.AppendQuote(dst, r.From)
	}
	dst = append(dst, '>')
	text("to", r.To)
	if r.Size > 0 {
		dst = strconv.AppendInt(append(dst, " size="...), r.Size, 10)
	}
	text("result", r.Result)
	if r.Delay > 0 {
		dst = strconv.AppendFloat(append(dst, " delay="...), r.Delay.Seconds(), 'f', 6, 64)
	}
	text("with", r.With)
	text("tls", r.TLS)
	text("client", r.Client)
	text("helo", r.Helo)
	text("remote", r.Remote)
	text("login", r.Login)
	text("message-id", r.MessageID)
	text("reason", r.Reason)
	return append(dst, '\n')
}

// plain tells whether a value needs no quotes.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '"' || c == '\\' || c == 0x7f {
			return false
		}
		if s[i] >= utf8.RuneSelf {
			return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == ' ' || r == '"' || r == '\\' })
		}
	}
	return true
}

// parse reads a line that append wrote, without its end. It is false for a
// line that is torn.
func parse(line string) (r Record, ok bool) {
	stamp, rest, _ := strings.Cut(line, " ")
	var err error
	if r.Time, err = time.Parse(layout, stamp); err != nil {
		return r, false
	}
	event, rest, _ := strings.Cut(rest, " ")
	r.Event = Event(event)
	for rest != "" {
		name, tail, found := strings.Cut(rest, "=")
		if !found {
			return r, false
		}
		value, after, ok := cutValue(name, tail)
		if !ok || !r.set(name, value) {
			return r, false
		}
		rest = after
	}
	return r, true
}

// cutValue takes a value off the rest of a line.
func cutValue(name, s string) (value, rest string, ok bool) {
	if name == "from" {
		if s, ok = strings.CutPrefix(s, "<"); !ok {
			return "", "", false
		}
	}
	if quoted, err := strconv.QuotedPrefix(s); err == nil {
		if value, err = strconv.Unquote(quoted); err != nil {
			return "", "", false
		}
		s = s[len(quoted):]
		if name == "from" {
			s = strings.TrimPrefix(s, ">")
		}
		return value, strings.TrimPrefix(s, " "), true
	}
	value, rest, _ = strings.Cut(s, " ")
	if name == "from" {
		value = strings.TrimSuffix(value, ">")
	}
	return value, rest, true
}

// set sets the field that a line names. Names that are not known are skipped.
func (r *Record) set(name, value string) bool {
	texts := map[string]*string{
		"id": &r.ID, "queue": &r.Queue, "from": &r.From, "to": &r.To, "result": &r.Result, "reason": &r.Reason, "with": &r.With,
		"tls": &r.TLS, "client": &r.Client, "remote": &r.Remote, "helo": &r.Helo, "login": &r.Login, "message-id": &r.MessageID,
	}
	switch name {
	case "size":
		n, err := strconv.ParseInt(value, 10, 64)
		r.Size = n
		return err == nil
	case "delay":
		f, err := strconv.ParseFloat(value, 64)
		r.Delay = time.Duration(f * float64(time.Second)).Round(time.Microsecond)
		return err == nil
	}
	if field := texts[name]; field != nil {
		*field = value
	}
	return true
}
