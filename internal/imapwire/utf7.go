package imapwire

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// utf7Alphabet is the base64 of mailbox names: "," in the place of "/", no padding.
const utf7Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"

// utf7Encoding returns the base64 of mailbox names (RFC 3501 §5.1.3).
func utf7Encoding() *base64.Encoding {
	return base64.NewEncoding(utf7Alphabet).WithPadding(base64.NoPadding)
}

// DecodeUTF7 turns a mailbox name in modified UTF-7 into UTF-8, and returns
// false where it is not modified UTF-7. Superfluous encodings ("&AGE-" for "a")
// are let through, 8-bit bytes too where they are UTF-8: clients send both.
func DecodeUTF7(s string) (string, bool) {
	if strings.IndexByte(s, '&') < 0 {
		return s, utf8.ValidString(s)
	}
	var b strings.Builder
	enc := utf7Encoding()
	for {
		before, after, found := strings.Cut(s, "&")
		b.WriteString(before)
		if !found {
			return b.String(), utf8.ValidString(b.String())
		}
		coded, rest, ended := strings.Cut(after, "-")
		if !ended {
			return "", false
		}
		if s = rest; coded == "" {
			b.WriteByte('&')
			continue
		}
		raw, err := enc.DecodeString(coded)
		if err != nil || len(raw)%2 != 0 || !appendUTF16(&b, raw) {
			return "", false
		}
	}
}

// appendUTF16 writes big-endian UTF-16 as UTF-8; false for a lone surrogate.
func appendUTF16(b *strings.Builder, raw []byte) bool {
	for i := 0; i < len(raw); i += 2 {
		r := rune(raw[i])<<8 | rune(raw[i+1])
		if utf16.IsSurrogate(r) {
			if i+3 >= len(raw) {
				return false
			}
			i += 2
			if r = utf16.DecodeRune(r, rune(raw[i])<<8|rune(raw[i+1])); r == utf8.RuneError {
				return false
			}
		}
		b.WriteRune(r)
	}
	return true
}

// AppendUTF7 appends name (UTF-8) in modified UTF-7.
func AppendUTF7(dst []byte, name string) []byte {
	if plainUTF7(name) {
		return append(dst, name...)
	}
	enc := utf7Encoding()
	for i := 0; i < len(name); {
		if c := name[i]; c >= ' ' && c < 0x7f {
			if dst = append(dst, c); c == '&' {
				dst = append(dst, '-')
			}
			i++
			continue
		}
		var raw []byte
		for i < len(name) && (name[i] < ' ' || name[i] >= 0x7f) {
			r, n := utf8.DecodeRuneInString(name[i:])
			for _, u := range utf16.Encode([]rune{r}) {
				raw = append(raw, byte(u>>8), byte(u))
			}
			i += n
		}
		dst = append(enc.AppendEncode(append(dst, '&'), raw), '-')
	}
	return dst
}

// plainUTF7 tells whether name stands for itself.
func plainUTF7(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c >= 0x7f || c == '&' {
			return false
		}
	}
	return true
}
