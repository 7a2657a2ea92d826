package rtf

import "strconv"

type kind uint8

const (
	tokenEnd kind = iota
	tokenOpen
	tokenClose
	tokenWord   // \word or \symbol
	tokenBytes  // plain text
	tokenByte   // \'hh
	tokenBinary // \binN with its data
)

type token struct {
	kind  kind
	word  string
	param int
	has   bool // the word has a parameter
	data  []byte
}

type scanner struct {
	b []byte
}

// next returns the next token; line ends outside of control symbols are none.
func (s *scanner) next() token {
	for len(s.b) > 0 && (s.b[0] == '\r' || s.b[0] == '\n' || s.b[0] == 0) {
		s.b = s.b[1:]
	}
	if len(s.b) == 0 {
		return token{}
	}
	switch s.b[0] {
	case '{':
		s.b = s.b[1:]
		return token{kind: tokenOpen}
	case '}':
		s.b = s.b[1:]
		return token{kind: tokenClose}
	case '\\':
		s.b = s.b[1:]
		return s.control()
	}
	n := 0
	for n < len(s.b) && !special(s.b[n]) {
		n++
	}
	t := token{kind: tokenBytes, data: s.b[:n]}
	s.b = s.b[n:]
	return t
}

func special(c byte) bool {
	return c == '{' || c == '}' || c == '\\' || c == '\r' || c == '\n' || c == 0
}

func (s *scanner) control() token {
	if len(s.b) == 0 {
		return token{}
	}
	if !letter(s.b[0]) {
		return s.symbol()
	}
	n := 0
	for n < len(s.b) && n < 32 && letter(s.b[n]) {
		n++
	}
	t := token{kind: tokenWord, word: string(s.b[:n])}
	s.b = s.b[n:]
	n = 0
	if n < len(s.b) && s.b[n] == '-' {
		n++
	}
	for n < len(s.b) && n < 11 && s.b[n] >= '0' && s.b[n] <= '9' {
		n++
	}
	if v, err := strconv.ParseInt(string(s.b[:n]), 10, 32); err == nil {
		t.param, t.has = int(v), true
		s.b = s.b[n:]
	}
	if len(s.b) > 0 && s.b[0] == ' ' {
		s.b = s.b[1:]
	}
	if t.word == "bin" {
		n := max(0, min(t.param, len(s.b)))
		t.kind, t.data = tokenBinary, s.b[:n]
		s.b = s.b[n:]
	}
	return t
}

func (s *scanner) symbol() token {
	c := s.b[0]
	if c == '\'' && len(s.b) >= 3 {
		if v, err := strconv.ParseUint(string(s.b[1:3]), 16, 8); err == nil {
			s.b = s.b[3:]
			return token{kind: tokenByte, data: []byte{byte(v)}}
		}
	}
	s.b = s.b[1:]
	switch c {
	case '{', '}', '\\':
		return token{kind: tokenByte, data: []byte{c}}
	case '\r', '\n':
		return token{kind: tokenWord, word: "par"}
	}
	return token{kind: tokenWord, word: string(rune(c))}
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
