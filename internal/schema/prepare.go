package schema

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// folding says whether case is kept.
type folding bool

const (
	keepCase folding = false
	foldCase folding = true
)

// prepare appends the form of a string in which equal strings are equal bytes
// (RFC 4518 §2): mapped, case-folded where asked, in NFKC, without spaces at
// the ends and with single ones inside. A string of spaces alone, or an empty
// one, becomes one space.
func prepare(dst, v []byte, fold folding) []byte {
	start := len(dst)
	dst = prepareInner(dst, v, fold)
	text := trimSpaces(dst[start:])
	if len(text) == 0 {
		return append(dst[:start], ' ')
	}
	n := copy(dst[start:], text)
	return dst[:start+n]
}

// preparePiece is prepare for a piece of a substrings assertion, whose spaces
// at the ends stand for at least one each.
func preparePiece(dst, v []byte, fold folding) []byte { return prepareInner(dst, v, fold) }

// trimSpaces cuts the single spaces that squeezing left at the ends.
func trimSpaces(b []byte) []byte {
	if len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	if len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}

// prepareInner maps, folds and squeezes without trimming. ASCII takes the short way.
func prepareInner(dst, v []byte, fold folding) []byte {
	start, space := len(dst), false
	for _, c := range v {
		switch {
		case c >= utf8.RuneSelf:
			return prepareUnicode(dst[:start], v, fold)
		case c == ' ' || c >= '\t' && c <= '\r':
			if !space {
				dst = append(dst, ' ')
			}
			space = true
			continue
		case c < ' ' || c == 0x7f:
			continue // mapped to nothing
		case c >= 'A' && c <= 'Z' && bool(fold):
			c += 'a' - 'A'
		}
		dst = append(dst, c)
		space = false
	}
	return dst
}

// prepareUnicode is prepareInner for text beyond ASCII.
func prepareUnicode(dst, v []byte, fold folding) []byte {
	v = bytes.Map(func(r rune) rune { // before normalizing: what it parts belongs together
		if mapsToNothing(r) && !mapsToSpace(r) {
			return -1
		}
		return r
	}, v)
	if fold { // RFC 3454 B.2: what normalizing brings out is folded too
		v = cases.Fold().Bytes(norm.NFKC.Bytes(cases.Fold().Bytes(v)))
	}
	space := false
	for _, r := range string(norm.NFKC.Bytes(v)) {
		switch {
		case mapsToSpace(r):
			if !space {
				dst = append(dst, ' ')
			}
			space = true
			continue
		case mapsToNothing(r):
			continue
		}
		dst = utf8.AppendRune(dst, r)
		space = false
	}
	return dst
}

// mapsToSpace follows RFC 4518 §2.2.
func mapsToSpace(r rune) bool {
	return r == ' ' || r >= '\t' && r <= '\r' || r == 0x85 || r > 0x7f && unicode.In(r, unicode.Z)
}

// mapsToNothing follows RFC 4518 §2.2: control characters, soft hyphens,
// joiners, variation selectors, the object replacement character.
func mapsToNothing(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r <= 0x9f, r == 0x00ad, r == 0x034f, r == 0x1806, r >= 0x180b && r <= 0x180e,
		r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x2063, r >= 0x206a && r <= 0x206f,
		r >= 0xfe00 && r <= 0xfe0f, r == 0xfeff, r >= 0xfff9 && r <= 0xfffc, r >= 0xe0000 && r <= 0xe007f:
		return true
	}
	return false
}

// dropping returns a copy of v without the bytes of a set, in lower case.
func dropping(dst, v []byte, drop string) []byte {
next:
	for _, c := range v {
		for i := range len(drop) {
			if c == drop[i] {
				continue next
			}
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
