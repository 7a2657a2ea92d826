package imapserver

import (
	"bytes"
	"errors"

	"expost/internal/fulltext"
)

// fold returns a text without the differences that a search ignores.
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
	folder  fulltext.Folder
}

// add makes the finder look for a needle that is not empty.
func (f *finder) add(needle []byte) {
	f.needles = append(f.needles, needle)
	f.found = append(f.found, false)
	f.longest = max(f.longest, len(needle))
}

// reset makes the finder ready for another text.
func (f *finder) reset() {
	f.buf = f.buf[:0]
	f.folder.Reset()
	clear(f.found)
	f.missing = len(f.needles)
}

// Write looks at the next piece. It returns errFound when nothing is missing.
func (f *finder) Write(b []byte) (int, error) {
	if f.missing == 0 {
		return 0, errFound
	}
	f.buf = f.folder.Append(f.buf, b)
	if f.look(); f.missing == 0 {
		return 0, errFound
	}
	if keep := f.longest - 1; len(f.buf) > keep {
		f.buf = f.buf[:copy(f.buf, f.buf[len(f.buf)-keep:])]
	}
	return len(b), nil
}

// end looks at the end of the text.
func (f *finder) end() {
	f.buf = f.folder.Flush(f.buf)
	f.look()
}

// look looks for the needles in what there is.
func (f *finder) look() {
	for i, needle := range f.needles {
		if !f.found[i] && bytes.Contains(f.buf, needle) {
			f.found[i] = true
			f.missing--
		}
	}
}
