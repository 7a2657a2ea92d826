package imapwire

import "strconv"

// quotable tells how s may be written: as an atom, in quotes, or as a literal.
func quotable(s string, utf8Strings bool) (atom, quoted bool) {
	if len(s) > 1000 {
		return false, false
	}
	atom = s != ""
	for i := range len(s) {
		switch c := s[i]; {
		case c == 0 || c == '\r' || c == '\n':
			return false, false
		case c >= 0x80:
			if atom = false; !utf8Strings {
				return false, false
			}
		case !astringChar(c):
			atom = false
		}
	}
	return atom, true
}

// AppendString appends s as a string: in quotes where that can be, else as a
// literal. 8-bit text may stand in quotes only where utf8Strings (RFC 6855 §3).
func AppendString(dst []byte, s string, utf8Strings bool) []byte {
	if _, quoted := quotable(s, utf8Strings); quoted {
		return appendQuoted(dst, s)
	}
	return append(AppendLiteral(dst, int64(len(s))), s...)
}

// AppendLiteral appends the announcement of a literal of size bytes and the
// line end before them.
func AppendLiteral(dst []byte, size int64) []byte {
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, size, 10)
	return append(dst, "}\r\n"...)
}

// appendQuoted appends s in quotes.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(append(dst, s[start:i]...), '\\')
			start = i
		}
	}
	return append(append(dst, s[start:]...), '"')
}

// AppendAString appends s as an atom where that can be, else as AppendString.
func AppendAString(dst []byte, s string) []byte {
	if atom, _ := quotable(s, false); atom && s != "NIL" {
		return append(dst, s...)
	}
	return AppendString(dst, s, false)
}

// AppendNString appends s as a string, and NIL where it is empty.
func AppendNString(dst []byte, s string, utf8Strings bool) []byte {
	if s == "" {
		return append(dst, "NIL"...)
	}
	return AppendString(dst, s, utf8Strings)
}
