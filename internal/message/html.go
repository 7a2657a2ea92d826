package message

import (
	"bytes"
	"html"
)

// htmlText turns HTML into text as it is written to it: tags, comments,
// scripts and styles are dropped, character references decoded, and block
// elements separated by line ends.
type htmlText struct {
	emit    func([]byte)
	state   htmlState
	quote   byte
	closing bool   // the tag begins with "</"
	name    []byte // of the tag, lower case, cut at 16 bytes
	ref     []byte // a character reference, "&" included
	skip    string // the element whose content is dropped: "script"
	dashes  int    // at the end of a comment so far
	out     []byte
}

type htmlState uint8

const (
	htmlData htmlState = iota
	htmlRef
	htmlOpen    // behind "<"
	htmlName    // in the name of a tag
	htmlTag     // behind it
	htmlQuoted  // in an attribute's value
	htmlBang    // behind "<!"
	htmlDash    // behind "<!-"
	htmlComment // behind "<!--"
	htmlDecl    // in "<!…>" and "<?…>"
)

func (h *htmlText) reset(emit func([]byte)) {
	*h = htmlText{emit: emit, name: h.name[:0], ref: h.ref[:0], out: h.out[:0]}
}

// write takes UTF-8 of whole characters.
func (h *htmlText) write(b []byte) {
	for len(b) > 0 {
		switch h.state {
		case htmlData:
			n := h.plain(b)
			h.text(b[:n])
			if b = b[n:]; len(b) > 0 {
				h.special(b[0])
				b = b[1:]
			}
		case htmlRef:
			b = h.reference(b)
		case htmlQuoted:
			n := bytes.IndexByte(b, h.quote)
			if n < 0 {
				b = nil
				break
			}
			h.state = htmlTag
			b = b[n+1:]
		default:
			h.markup(b[0])
			b = b[1:]
		}
	}
	h.flush()
}

// plain returns how much of b is before the next "<" or "&" that counts.
func (h *htmlText) plain(b []byte) int {
	n := bytes.IndexByte(b, '<')
	if n < 0 {
		n = len(b)
	}
	if h.skip == "" {
		if i := bytes.IndexByte(b[:n], '&'); i >= 0 {
			return i
		}
	}
	return n
}

func (h *htmlText) close() {
	if h.state == htmlRef {
		h.text(h.ref)
	}
	h.flush()
}

func (h *htmlText) flush() {
	if len(h.out) > 0 {
		h.emit(h.out)
		h.out = h.out[:0]
	}
}

func (h *htmlText) text(b []byte) {
	if h.skip == "" {
		h.out = append(h.out, b...)
	}
}

// special is a "<" or "&" in text.
func (h *htmlText) special(c byte) {
	if c == '&' {
		h.ref = append(h.ref[:0], c)
		h.state = htmlRef
		return
	}
	h.name, h.closing = h.name[:0], false
	h.state = htmlOpen
}

// reference reads on in a character reference and returns what is behind it.
func (h *htmlText) reference(b []byte) []byte {
	const longest = 33 // "&CounterClockwiseContourIntegral;"
	for i, c := range b {
		if c == ';' || !isAlnum(c) && (c != '#' || len(h.ref) != 1) || len(h.ref) >= longest {
			if c == ';' {
				h.ref = append(h.ref, c)
				i++
			}
			h.text([]byte(html.UnescapeString(string(h.ref))))
			h.state = htmlData
			return b[i:]
		}
		h.ref = append(h.ref, c)
	}
	return nil
}

// markup takes a byte behind "<".
func (h *htmlText) markup(c byte) {
	switch h.state {
	case htmlOpen:
		h.openTag(c)
	case htmlName:
		switch {
		case c == '>':
			h.endTag()
		case isAlnum(c):
			if len(h.name) < 16 {
				h.name = append(h.name, lowerByte(c))
			}
		case h.skip != "" && string(h.name) != h.skip:
			h.skipped(c)
		default:
			h.state = htmlTag
		}
	case htmlTag:
		switch c {
		case '>':
			h.endTag()
		case '"', '\'':
			h.quote, h.state = c, htmlQuoted
		}
	case htmlBang:
		h.state = htmlDecl
		if c == '-' {
			h.state = htmlDash
		} else if c == '>' {
			h.state = htmlData
		}
	case htmlDash:
		h.dashes, h.state = 0, htmlDecl
		if c == '-' {
			h.state = htmlComment
		}
	case htmlComment:
		h.comment(c)
	case htmlDecl:
		if c == '>' {
			h.state = htmlData
		}
	}
}

// openTag takes the byte behind "<".
func (h *htmlText) openTag(c byte) {
	switch {
	case c == '/' && !h.closing:
		h.closing = true
	case h.skip != "" && !h.closing:
		h.skipped(c)
	case isAlnum(c) && (c < '0' || c > '9'):
		h.name = append(h.name, lowerByte(c))
		h.state = htmlName
	case c == '!':
		h.state = htmlBang
	case c == '?':
		h.state = htmlDecl
	default: // a "<" that stands for itself
		h.state = htmlData
		h.text([]byte{'<'})
		if c == '<' || c == '&' {
			h.special(c)
		} else {
			h.text([]byte{c})
		}
	}
}

// skipped takes a byte of an element that is dropped, where it is no markup.
func (h *htmlText) skipped(c byte) {
	if h.state = htmlData; c == '<' {
		h.special(c)
	}
}

func (h *htmlText) comment(c byte) {
	switch {
	case c == '-':
		h.dashes++
	case c == '>' && h.dashes >= 2:
		h.state = htmlData
	default:
		h.dashes = 0
	}
}

// endTag ends a tag.
func (h *htmlText) endTag() {
	h.state = htmlData
	if h.skip != "" {
		if h.closing && string(h.name) == h.skip {
			h.skip = ""
		}
		return
	}
	switch string(h.name) {
	case "script", "style", "title":
		if !h.closing {
			h.skip = string(h.name)
		}
	case "b", "i", "u", "a", "em", "strong", "span", "font", "code", "sub", "sup", "small", "big", "tt", "s", "o":
	default:
		h.text([]byte{'\n'})
	}
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
