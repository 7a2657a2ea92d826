package mapi

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// lines are the content lines of a vCard (RFC 6350) or of iCalendar (RFC 5545),
// which fold and escape alike.
type lines struct{ b strings.Builder }

// raw adds a line whose value is ready, unless it is empty. params begin with
// ";" or are "".
func (l *lines) raw(name, params, value string) {
	if value == "" {
		return
	}
	s := name + params + ":" + value
	for limit := 75; len(s) > limit; limit = 74 {
		n := limit
		for n > 1 && !utf8.RuneStart(s[n]) {
			n--
		}
		l.b.WriteString(s[:n] + "\r\n ")
		s = s[n:]
	}
	l.b.WriteString(s + "\r\n")
}

// text adds a line of text.
func (l *lines) text(name, params, value string) {
	l.raw(name, params, escapeText(strings.TrimRight(value, "\r\n\t \x00")))
}

// list adds a line of values with sep between them, unless all are empty.
func (l *lines) list(name, params, sep string, values ...string) {
	all, any := make([]string, len(values)), false
	for i, v := range values {
		all[i] = escapeText(strings.TrimSpace(v))
		any = any || all[i] != ""
	}
	if any {
		l.raw(name, params, strings.Join(all, sep))
	}
}

// flag adds a line of a number where it is not the usual one.
func (l *lines) number(name string, n int, ok bool) {
	if ok {
		l.raw(name, "", fmt.Sprint(n))
	}
}

// stamp adds a line of an instant.
func (l *lines) stamp(name string, t time.Time, ok bool) {
	if ok {
		l.raw(name, "", t.UTC().Format(stampLayout))
	}
}

const (
	stampLayout = "20060102T150405Z"
	localLayout = "20060102T150405"
	dateLayout  = "20060102"
)

// String returns the lines.
func (l *lines) String() string { return l.b.String() }

var escaping = strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\r\n", `\n`, "\n", `\n`, "\r", `\n`)

// escapeText escapes text for a content line (RFC 5545 §3.3.11, RFC 6350 §3.4).
func escapeText(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = escaping.Replace(s)
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7F {
			return -1
		}
		return r
	}, s)
}

// param returns a parameter, quoted; "" where the value is empty.
func param(name, value string) string {
	value = strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r == 0x7F:
			return ' '
		}
		return r
	}, strings.TrimSpace(strings.ToValidUTF8(value, "\uFFFD")))
	if value == "" {
		return ""
	}
	return ";" + name + `="` + value + `"`
}

// The named properties of a view, by set and number.

func (v *view) namedText(set GUID, id uint32) string {
	t, ok := v.Lookup(Name{Set: set, ID: id}, TypeString)
	if !ok {
		return ""
	}
	return v.text(t.ID())
}

func namedValue[T any](v *view, set GUID, id uint32, typ Type) (T, bool) {
	t, ok := v.Lookup(Name{Set: set, ID: id}, typ)
	if !ok {
		var none T
		return none, false
	}
	return get[T](v, t.ID(), typ)
}

func (v *view) namedInt(set GUID, id uint32) (int, bool) {
	n, ok := namedValue[int32](v, set, id, TypeInt32)
	return int(n), ok
}

func (v *view) namedBool(set GUID, id uint32) bool {
	b, _ := namedValue[bool](v, set, id, TypeBool)
	return b
}

func (v *view) namedBytes(set GUID, id uint32) []byte {
	b, _ := namedValue[[]byte](v, set, id, TypeBinary)
	return b
}

// namedTime returns a time, and false where there is none or it stands for none.
func (v *view) namedTime(set GUID, id uint32) (time.Time, bool) {
	t, ok := namedValue[Time](v, set, id, TypeTime)
	if !ok {
		return time.Time{}, false
	}
	return t.Time()
}

// instant returns a time property.
func (v *view) instant(id uint16) (time.Time, bool) {
	t, ok := v.time(id)
	if !ok {
		return time.Time{}, false
	}
	return t.Time()
}

// namedTexts returns a property of many strings.
func (v *view) namedTexts(set GUID, id uint32) []string {
	t, ok := v.Lookup(Name{Set: set, ID: id}, TypeString|MultiValued)
	if !ok {
		return nil
	}
	return v.texts(t.ID())
}
