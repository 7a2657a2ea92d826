package smtpserver

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"expost/internal/mail"
)

// splitCommand splits a command line into the verb in upper case and the rest.
// It returns false for a line with control characters or invalid UTF-8.
func splitCommand(line []byte) (verb, arg string, ok bool) {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", "", false
		}
	}
	verb, arg, _ = strings.Cut(string(line), " ")
	return strings.ToUpper(verb), strings.Trim(arg, " \t"), utf8.Valid(line) || strings.EqualFold(verb, "HELO") || strings.EqualFold(verb, "EHLO")
}

// What may be wrong with the argument of MAIL and RCPT.
var (
	errPath   = errors.New("an address between < and > is missing")
	errParam  = errors.New("a parameter is malformed")
	errTwice  = errors.New("a parameter is given twice")
	errXtext  = errors.New("a value is not xtext")
	errNotify = errors.New("NOTIFY is NEVER or a list of SUCCESS, FAILURE, DELAY")
	errORCPT  = errors.New("ORCPT is an address type, a semicolon and an address")
)

// parsePath reads "FROM:<path> params" or "TO:<path> params" (RFC 5321
// §4.1.1.2, §4.1.1.3). It forgives what old programs write: a space before
// the path, no angle brackets. The path is returned without brackets and
// without a source route.
func parsePath(arg, keyword string) (path, params string, err error) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", "", errPath
	}
	arg = strings.TrimLeft(arg[len(keyword):], " \t")
	if !strings.HasPrefix(arg, "<") {
		path, params, _ = strings.Cut(arg, " ")
		if path == "" || strings.ContainsAny(path, "<>") {
			return "", "", errPath
		}
		return path, strings.TrimSpace(params), nil
	}
	end := closingBracket(arg)
	if end < 0 || end+1 < len(arg) && arg[end+1] != ' ' {
		return "", "", errPath
	}
	path = arg[1:end]
	if strings.HasPrefix(path, "@") { // RFC 5321 appendix C
		_, route, ok := strings.Cut(path, ":")
		if !ok {
			return "", "", errPath
		}
		path = route
	}
	return path, strings.TrimSpace(arg[end+1:]), nil
}

// closingBracket returns the index of the ">" that ends the path, or -1. One
// within a quoted string does not.
func closingBracket(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

// param is a parameter of MAIL or RCPT, its keyword in upper case.
type param struct{ key, value string }

// text returns the parameter as it was written.
func (p param) text() string {
	if p.value == "" {
		return p.key
	}
	return p.key + "=" + p.value
}

// parseParams reads esmtp-params (RFC 5321 §4.1.2).
func parseParams(s string) ([]param, error) {
	var out []param
	for _, f := range strings.Fields(s) {
		key, value, hasValue := strings.Cut(f, "=")
		if !isKeyword(key) || hasValue && value == "" {
			return nil, errParam
		}
		key = strings.ToUpper(key)
		for _, p := range out {
			if p.key == key {
				return nil, errTwice
			}
		}
		out = append(out, param{key, value})
	}
	return out, nil
}

// isKeyword tells whether s is an esmtp-keyword.
func isKeyword(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !('a' <= c && c <= 'z' || '0' <= s[i] && s[i] <= '9' || s[i] == '-' && i > 0) {
			return false
		}
	}
	return s != ""
}

// decodeXtext reads xtext (RFC 3461 §4) of printable ASCII characters.
func decodeXtext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) || strings.ContainsAny(s[i+1:i+3], "abcdef") {
				return "", errXtext
			}
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", errXtext
			}
			c = byte(v)
			i += 2
		} else if c == '=' {
			return "", errXtext
		}
		if c < ' ' || c == 0x7f {
			return "", errXtext
		}
		b.WriteByte(c)
	}
	if !utf8.ValidString(b.String()) {
		return "", errXtext
	}
	return b.String(), nil
}

// parseNotify reads NOTIFY (RFC 3461 §4.1) and returns it in upper case.
func parseNotify(s string) (string, error) {
	s = strings.ToUpper(s)
	if s == "NEVER" {
		return s, nil
	}
	seen := map[string]bool{}
	for w := range strings.SplitSeq(s, ",") {
		if w != "SUCCESS" && w != "FAILURE" && w != "DELAY" || seen[w] {
			return "", errNotify
		}
		seen[w] = true
	}
	return s, nil
}

// parseORCPT reads ORCPT (RFC 3461 §4.2, RFC 6533 §3) and returns its address decoded.
func parseORCPT(s string) (string, error) {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || !isKeyword(kind) || addr == "" || len(s) > 500 {
		return "", errORCPT
	}
	if strings.EqualFold(kind, "utf-8") {
		return kind + ";" + addr, nil // utf-8-addr-unitext and -xtext differ; kept as it is
	}
	addr, err := decodeXtext(addr)
	return kind + ";" + addr, err
}

// parseAddress checks a path that is not empty. Without SMTPUTF8 it must be ASCII.
func parseAddress(s string, utf8 bool) (mail.Address, error) {
	if !utf8 && !mail.IsASCII(s) {
		return "", errNeedsUTF8
	}
	return mail.ParseAddress(s)
}

var errNeedsUTF8 = errors.New("the address needs SMTPUTF8")
