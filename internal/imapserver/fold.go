package imapserver

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"expost/internal/fulltext"
)

// appendFolded appends s without the differences that a search ignores.
func appendFolded(dst, s []byte) []byte { return fulltext.AppendFolded(dst, s) }

// fold returns a text as appendFolded makes it.
func fold(s string) []byte { return fulltext.Fold(s) }

// errFound ends the reading of a text when everything looked for is found.
var errFound = errors.New("found")

// finder looks for folded needles in a text that comes in pieces.
type finder struct {
	needles [][]byte
	found   []bool
	missing int
	longest int
	buf     []byte // folded text, of which the end may be the start of a needle
	carry   []byte // the start of a character whose rest is in the next piece
}

// add makes the finder look for a needle that is not empty.
func (f *finder) add(needle []byte) {
	f.needles = append(f.needles, needle)
	f.found = append(f.found, false)
	f.longest = max(f.longest, len(needle))
}

// reset makes the finder ready for another text.
func (f *finder) reset() {
	f.buf, f.carry = f.buf[:0], f.carry[:0]
	clear(f.found)
	f.missing = len(f.needles)
}

// Write looks at the next piece. It returns errFound when nothing is missing.
func (f *finder) Write(b []byte) (int, error) {
	n := len(b)
	if f.missing == 0 {
		return 0, errFound
	}
	if len(f.carry) > 0 {
		b = append(f.carry, b...)
	}
	end := wholeRunes(b)
	f.buf = appendFolded(f.buf, b[:end])
	f.carry = append(f.carry[:0], b[end:]...)
	for i, needle := range f.needles {
		if !f.found[i] && bytes.Contains(f.buf, needle) {
			f.found[i] = true
			f.missing--
		}
	}
	if f.missing == 0 {
		return 0, errFound
	}
	if keep := f.longest - 1; len(f.buf) > keep {
		f.buf = f.buf[:copy(f.buf, f.buf[len(f.buf)-keep:])]
	}
	return n, nil
}

// wholeRunes returns how much of b is not the start of an unfinished character.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				break
			}
			return i
		}
	}
	return len(b)
}
