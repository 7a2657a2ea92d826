package message

import (
	"encoding/base64"
	"mime"
	"strings"
	"unicode/utf8"

	"expost/internal/mail"
)

// DecodeHeader returns a header value as UTF-8: encoded words decoded (RFC
// 2047), raw 8-bit bytes taken as UTF-8 where valid, else as Windows-1252.
func DecodeHeader(s string) string {
	end := strings.LastIndex(s, "?=") + len("?=")
	if end < len("?=") || !strings.Contains(s, "=?") {
		return lenientUTF8(s)
	}
	var b strings.Builder
	var run encodedRun
	plain := s[end:] // no encoded word ends there
	s = s[:end]
	for i := strings.Index(s, "=?"); i >= 0; i = strings.Index(s, "=?") {
		w, n, ok := parseWord(s[i:])
		if !ok {
			run.flush(&b)
			b.WriteString(lenientUTF8(s[:i+2]))
			s = s[i+2:]
			continue
		}
		if gap := s[:i]; !run.open || strings.Trim(gap, " \t\r\n") != "" {
			run.flush(&b)
			b.WriteString(lenientUTF8(gap))
		}
		run.add(&b, w)
		s = s[i+n:]
	}
	run.flush(&b)
	b.WriteString(lenientUTF8(s + plain))
	return b.String()
}

// encodedRun collects the bytes of encoded words of one charset that follow
// one another: programs split characters between words.
type encodedRun struct {
	charset string
	raw     []byte
	open    bool
}

func (r *encodedRun) add(b *strings.Builder, w encodedWord) {
	if r.open && !strings.EqualFold(r.charset, w.charset) {
		r.flush(b)
	}
	r.charset, r.open = w.charset, true
	r.raw = append(r.raw, w.raw...)
}

func (r *encodedRun) flush(b *strings.Builder) {
	if r.open {
		b.WriteString(decodeCharset(r.charset, r.raw))
	}
	r.raw, r.open = r.raw[:0], false
}

// encodedWord is one with its transfer encoding undone.
type encodedWord struct {
	charset string
	raw     []byte
}

// parseWord reads the encoded word that s begins with, and returns its length.
func parseWord(s string) (encodedWord, int, bool) {
	charset, rest, ok := strings.Cut(s[2:], "?")
	if !ok || charset == "" || strings.ContainsAny(charset, " \t\"()<>") || len(rest) < 2 || rest[1] != '?' {
		return encodedWord{}, 0, false
	}
	text, _, ok := strings.Cut(rest[2:], "?=")
	if !ok {
		return encodedWord{}, 0, false
	}
	charset, _, _ = strings.Cut(charset, "*") // RFC 2231 §5: a language
	w := encodedWord{charset: charset}
	switch rest[0] {
	case 'q', 'Q':
		w.raw = decodeQ(text)
	case 'b', 'B':
		w.raw = decodeB(text)
	default:
		return encodedWord{}, 0, false
	}
	return w, len(s) - len(rest) + 2 + len(text) + 2, true
}

func decodeQ(s string) []byte {
	raw := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			raw = append(raw, ' ')
		case c == '=' && i+2 < len(s) && unhex(s[i+1]) < 16 && unhex(s[i+2]) < 16:
			raw = append(raw, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			raw = append(raw, c)
		}
	}
	return raw
}

func decodeB(s string) []byte {
	var d base64Decoder
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(s))+3)
	n, _ := d.decode(raw, []byte(s))
	n += d.flush(raw[n:])
	return raw[:n]
}

// lenientUTF8 returns s where it is UTF-8, else s read as Windows-1252.
func lenientUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(windows1252(s[i]))
	}
	return b.String()
}

// EncodeHeader returns s as a header value of ASCII: as it is where it needs
// nothing else, or as encoded words of UTF-8 (RFC 2047), folded between them.
func EncodeHeader(s string) string {
	if mail.IsASCII(s) && !strings.Contains(s, "=?") && !strings.ContainsAny(s, "\r\n\x00") {
		return s
	}
	q := mime.QEncoding.Encode("utf-8", s)
	b := mime.BEncoding.Encode("utf-8", s)
	if len(b) < len(q) {
		q = b
	}
	return strings.ReplaceAll(q, "?= =?", "?=\r\n =?")
}
