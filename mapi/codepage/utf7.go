package codepage

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
)

// decodeUTF7 decodes UTF-7 (RFC 2152). Text that breaks its rules is kept as it is.
func decodeUTF7(b []byte) string {
	var s strings.Builder
	for i := 0; i < len(b); i++ {
		if b[i] != '+' {
			s.WriteRune(rune(b[i]))
			continue
		}
		j := i + 1
		for j < len(b) && isBase64(b[j]) {
			j++
		}
		if j == i+1 {
			s.WriteByte('+')
		} else {
			s.WriteString(utf7Run(b[i+1 : j]))
		}
		if j >= len(b) || b[j] != '-' {
			j--
		}
		i = j
	}
	return s.String()
}

func utf7Run(b []byte) string {
	if len(b)%4 == 1 {
		b = b[:len(b)-1]
	}
	raw, err := base64.RawStdEncoding.DecodeString(string(b))
	if err != nil {
		return string(b)
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
	}
	return string(utf16.Decode(units))
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}
