// Package rtf reads the Rich Text Format as mail has it: compressed
// ([MS-OXRTFCP]), as a wrapping of HTML or plain text ([MS-OXRTFEX]), and true
// RTF, which it turns into text and simple HTML.
package rtf

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"expost/mapi/codepage"
)

// Form says what a piece of RTF holds.
type Form uint8

// The forms ([MS-OXRTFEX] 2.1.2).
const (
	None Form = iota // not RTF
	Rich             // true RTF
	HTML             // \fromhtml1
	Text             // \fromtext
)

// FormOf looks at the first words of b, as [MS-OXRTFEX] 2.1.2 says.
func FormOf(b []byte) Form {
	if !bytes.HasPrefix(bytes.TrimLeft(b, " \r\n\t"), []byte(`{\rtf`)) {
		return None
	}
	s := scanner{b}
	for range 32 {
		t := s.next()
		switch {
		case t.kind == tokenWord && t.word == "fromhtml" && t.param == 1:
			return HTML
		case t.kind == tokenWord && t.word == "fromtext":
			return Text
		case t.kind == tokenWord && t.word == "fonttbl", t.kind == tokenBytes, t.kind == tokenEnd:
			return Rich
		}
	}
	return Rich
}

const maxDepth = 2000

// destination is where the text of a group goes.
type destination uint8

const (
	body destination = iota
	skipped
	fontTable
	colorTable
	instruction // of a field
	tag         // HTML that \htmltag holds
)

// format is what characters look like.
type format struct {
	bold, italic, underline, strike bool
	script                          int8 // 1 above, -1 below the line
	color, size                     int  // size in half points
	font                            int
	link                            string
}

// paragraph is what a paragraph looks like.
type paragraph struct {
	align string
	cell  bool
}

type state struct {
	dest   destination
	starts bool // nothing but \* was seen in the group
	star   bool
	hidden bool // \htmlrtf, \v
	uc     int
	format format
	para   paragraph
}

type font struct {
	name string
	page int
}

// writer receives what a reader finds.
type writer interface {
	// text is of dest body or tag.
	text(s string, st *state)
	// word is a control word outside of skipped groups that is not about text.
	word(t token, st *state)
}

type reader struct {
	scan    scanner
	to      writer
	state   state
	stack   []state
	over    int // groups beyond maxDepth
	page    int
	fonts   map[int]font
	fontID  int
	colors  []string
	rgb     [3]int
	deff    int
	run     []byte
	runPage int
	skip    int // characters that stand for the \u before
	high    rune
	instrs  strings.Builder
	wraps   Form // None unless \htmlrtf counts
}

func newReader(b []byte, to writer, wraps Form) *reader {
	return &reader{scan: scanner{b}, to: to, page: codepage.Western, fonts: map[int]font{}, state: state{uc: 1},
		wraps: wraps}
}

func (r *reader) read() {
	for {
		t := r.scan.next()
		switch t.kind {
		case tokenEnd:
			r.flush()
			return
		case tokenOpen:
			r.open()
		case tokenClose:
			r.close()
			if len(r.stack) == 0 {
				return
			}
		case tokenBytes, tokenByte:
			r.bytes(t.data)
		case tokenWord:
			r.word(t)
		case tokenBinary:
			r.skip = max(0, r.skip-1)
		}
	}
}

func (r *reader) open() {
	r.flush()
	r.skip = 0
	if len(r.stack) >= maxDepth {
		r.over++
		return
	}
	r.stack = append(r.stack, r.state)
	r.state.starts, r.state.star = true, false
}

func (r *reader) close() {
	r.flush()
	r.skip = 0
	if r.over > 0 {
		r.over--
		return
	}
	if len(r.stack) == 0 {
		return
	}
	left := r.state
	r.state = r.stack[len(r.stack)-1]
	r.stack = r.stack[:len(r.stack)-1]
	if left.dest == instruction && r.state.dest != instruction {
		if link := hyperlink(r.instrs.String()); link != "" {
			r.state.format.link = link
		}
		r.instrs.Reset()
	}
}

// hyperlink returns the target of a field instruction HYPERLINK "target".
func hyperlink(s string) string {
	_, s, ok := strings.Cut(s, "HYPERLINK")
	if !ok {
		return ""
	}
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, `"`) {
		s, _, _ = strings.Cut(s[1:], `"`)
		return s
	}
	s, _, _ = strings.Cut(s, " ")
	return s
}

func (r *reader) bytes(b []byte) {
	r.state.starts = false
	if r.skip > 0 {
		n := min(r.skip, len(b))
		r.skip -= n
		b = b[n:]
	}
	if len(b) == 0 || r.state.dest == skipped {
		return
	}
	if p := r.pageNow(); p != r.runPage {
		r.flush()
		r.runPage = p
	}
	r.run = append(r.run, b...)
}

// pageNow is the code page of the font in use, else the document's.
func (r *reader) pageNow() int {
	id := r.state.format.font
	if r.state.dest == fontTable {
		id = r.fontID
	}
	if f, ok := r.fonts[id]; ok && f.page != 0 {
		return f.page
	}
	return r.page
}

func (r *reader) flush() {
	if len(r.run) == 0 {
		return
	}
	s := codepage.Decode(r.runPage, r.run)
	r.run = r.run[:0]
	r.emit(s)
}

func (r *reader) emit(s string) {
	r.high = 0
	switch r.state.dest {
	case skipped:
	case fontTable:
		f := r.fonts[r.fontID]
		if len(f.name) < 64 {
			f.name += s
		}
		r.fonts[r.fontID] = f
	case colorTable:
		for range strings.Count(s, ";") {
			r.colors = append(r.colors, hex(r.rgb))
			r.rgb = [3]int{}
		}
	case instruction:
		if r.instrs.Len() < 4096 {
			r.instrs.WriteString(s)
		}
	default:
		if !r.state.hidden || r.state.dest == tag {
			r.to.text(s, &r.state)
		}
	}
}

// unicode is \uN: a UTF-16 unit, for which uc characters follow as a stand-in.
func (r *reader) unicode(n int) {
	r.flush()
	r.skip = r.state.uc
	c := rune(uint16(n))
	if utf16.IsSurrogate(c) {
		if r.high == 0 && c < 0xDC00 {
			r.high = c
			return
		}
		if r.high != 0 {
			c = utf16.DecodeRune(r.high, c)
		} else {
			c = utf8.RuneError
		}
	}
	r.emit(string(c))
}
