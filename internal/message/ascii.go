package message

import (
	"bytes"
	"mime"
	"strings"

	"expost/internal/mail"
)

// What makes a header with UTF-8 one of ASCII: encoded words (RFC 2047),
// parameters in the extended form (RFC 2231).

// ASCIIPhrase returns a display name of ASCII that says the same.
func ASCIIPhrase(s string) string {
	switch {
	case !mail.IsASCII(s):
		// Not the other encoding: its words may hold commas, which some readers stumble over.
		return strings.ReplaceAll(mime.BEncoding.Encode("utf-8", DecodeHeader(s)), "?= =?", "?=\r\n =?")
	case strings.Contains(s, "=?"): // encoded already
		return Unfold(s)
	}
	return QuotedString(s)
}

// Unfold returns the value of a field without line ends, and without blanks around it.
func Unfold(s string) string {
	return strings.Trim(strings.NewReplacer("\r", "", "\n", "").Replace(s), " \t")
}

// QuotedString returns a quoted-string (RFC 5322 §3.2.4).
func QuotedString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", " ", "\n", " ").Replace(s) + `"`
}

// ASCIIToken keeps what stands in a token (RFC 2045 §5.1).
func ASCIIToken(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?=`, r) {
			return '-'
		}
		return r
	}, s)
}

// ASCIIParams returns the parameters of a Content-Type or Content-Disposition as
// they stand behind its value, each on a line of its own.
func ASCIIParams(list []Param) string {
	var b strings.Builder
	for _, p := range list {
		name, value := p.ASCII()
		b.WriteString(";\r\n " + ASCIIToken(name) + "=")
		if strings.HasSuffix(name, "*") {
			b.WriteString(value)
		} else {
			b.WriteString(QuotedString(value))
		}
	}
	return b.String()
}

// FieldEnd returns where the first field of a header ends, with the lines that
// go on with it; -1 where a line has no end.
func FieldEnd(header []byte) int {
	for n := 0; ; {
		i := bytes.IndexByte(header[n:], '\n')
		if i < 0 {
			return -1
		}
		if n += i + 1; n == len(header) || header[n] != ' ' && header[n] != '\t' {
			return n
		}
	}
}
