package rtf

import (
	"fmt"

	"expost/mapi/codepage"
)

// characters are control words that stand for text.
var characters = map[string]string{
	"tab": "\t", "lquote": "\u2018", "rquote": "\u2019", "ldblquote": "\u201c", "rdblquote": "\u201d", "bullet": "\u2022",
	"endash": "\u2013", "emdash": "\u2014", "~": "\u00a0", "_": "\u2011", "-": "\u00ad", "emspace": "\u2003", "enspace": "\u2002",
	"qmspace": "\u2005", "zwj": "\u200d", "zwnj": "\u200c", "zwbo": "\u200b", "zwnbo": "\u2060", "ltrmark": "\u200e", "rtlmark": "\u200f",
}

// entities are characters that HTML around \htmltag has by name ([MS-OXRTFEX] 2.1.3.1.4).
var entities = map[string]string{"~": "&nbsp;", "_": "&shy;"}

// unread are groups whose text is not the document's.
var unread = map[string]bool{
	"stylesheet": true, "info": true, "pict": true, "object": true, "header": true, "footer": true, "headerl": true,
	"headerr": true, "headerf": true, "footerl": true, "footerr": true, "footerf": true, "listtable": true,
	"listoverridetable": true, "themedata": true, "colorschememapping": true, "datastore": true, "latentstyles": true,
	"generator": true, "xmlnstbl": true, "rsidtbl": true, "mhtmltag": true, "bkmkstart": true, "bkmkend": true,
	"nonshppict": true, "filetbl": true, "revtbl": true, "pgptbl": true, "ftnsep": true, "ftnsepc": true, "tc": true, "xe": true,
	"template": true, "fldtype": true, "datafield": true, "falt": true, "panose": true, "fname": true,
}

// charsetPages are the code pages of \fcharset.
var charsetPages = map[int]int{
	0: 1252, 2: 1252, 77: 10000, 78: 932, 79: 949, 80: 936, 81: 950, 128: 932, 129: 949, 130: 1361, 134: 936, 136: 950, 161: 1253,
	162: 1254, 163: 1258, 177: 1255, 178: 1256, 186: 1257, 204: 1251, 222: 874, 238: 1250, 254: 437, 255: 850,
}

func (r *reader) word(t token) {
	starts := r.state.starts
	if r.skip > 0 && t.word != "u" && t.word != "*" {
		r.skip--
		if characters[t.word] != "" {
			return
		}
	}
	if t.word == "*" {
		r.state.star = true
		return
	}
	r.state.starts = false
	if r.state.dest == skipped {
		return
	}
	if starts && r.enter(t) {
		return
	}
	if t.word == "u" {
		r.unicode(t.param)
		return
	}
	r.flush()
	if s, ok := characters[t.word]; ok {
		if e := entities[t.word]; e != "" && r.wraps == HTML && r.state.dest == body {
			s = e
		}
		r.emit(s)
		return
	}
	if r.document(t) || r.table(t) || r.character(t) {
		return
	}
	if !r.state.hidden || r.state.dest == tag {
		r.to.word(t, &r.state)
	}
}

// enter opens the destination that a group's first word names.
func (r *reader) enter(t token) bool {
	switch {
	case t.word == "fonttbl":
		r.state.dest = fontTable
	case t.word == "colortbl":
		r.state.dest = colorTable
	case t.word == "fldinst":
		r.state.dest = instruction
		r.instrs.Reset()
	case t.word == "htmltag" && r.state.star && r.wraps != None:
		r.state.dest = tag
	case t.word == "pntext" && r.wraps != None:
		r.state.dest = skipped
	case unread[t.word]:
		r.state.dest = skipped
	case r.state.star && t.word != "shppict" && r.state.dest != fontTable:
		r.state.dest = skipped
	default:
		return false
	}
	return true
}

// document handles the words about code pages.
func (r *reader) document(t token) bool {
	switch t.word {
	case "ansicpg":
		if codepage.Known(t.param) && !codepage.Wide(t.param) {
			r.page = t.param
		}
	case "mac":
		r.page = 10000
	case "pc":
		r.page = 437
	case "pca":
		r.page = 850
	case "deff":
		r.deff = t.param
		r.state.format.font = t.param
	case "uc":
		r.state.uc = max(0, min(t.param, 8))
	case "htmlrtf":
		r.state.hidden = r.wraps != None && on(t)
	default:
		return false
	}
	return true
}

// table handles the words inside the font and color tables.
func (r *reader) table(t token) bool {
	switch r.state.dest {
	case fontTable:
		switch t.word {
		case "f":
			r.fontID = t.param
			if _, ok := r.fonts[t.param]; !ok && len(r.fonts) < 4096 {
				r.fonts[t.param] = font{}
			}
		case "fcharset":
			f := r.fonts[r.fontID]
			f.page = charsetPages[t.param]
			r.fonts[r.fontID] = f
		case "cpg":
			if f := r.fonts[r.fontID]; codepage.Known(t.param) && !codepage.Wide(t.param) {
				f.page = t.param
				r.fonts[r.fontID] = f
			}
		}
		return true
	case colorTable:
		switch t.word {
		case "red":
			r.rgb[0] = t.param
		case "green":
			r.rgb[1] = t.param
		case "blue":
			r.rgb[2] = t.param
		}
		return true
	case instruction:
		return true
	}
	return false
}

// character handles the words about the look of characters and paragraphs.
func (r *reader) character(t token) bool {
	f := &r.state.format
	switch t.word {
	case "plain":
		*f = format{font: r.deff, link: f.link}
		r.state.hidden = r.state.hidden && r.wraps != None
	case "f":
		f.font = t.param
	case "fs":
		f.size = t.param
	case "cf":
		f.color = t.param
	case "b":
		f.bold = on(t)
	case "i":
		f.italic = on(t)
	case "ul":
		f.underline = on(t)
	case "ulnone":
		f.underline = false
	case "strike":
		f.strike = on(t)
	case "super":
		f.script = 1
	case "sub":
		f.script = -1
	case "nosupersub":
		f.script = 0
	case "v":
		r.state.hidden = on(t) || r.state.hidden && r.wraps != None
	case "pard":
		r.state.para = paragraph{}
		return false
	case "ql", "qr", "qc", "qj":
		r.state.para.align = map[string]string{"qr": "right", "qc": "center", "qj": "justify"}[t.word]
	case "intbl":
		r.state.para.cell = true
	default:
		return false
	}
	return true
}

func on(t token) bool { return !t.has || t.param != 0 }

func hex(c [3]int) string {
	if c == [3]int{} {
		return ""
	}
	return fmt.Sprintf("#%02x%02x%02x", uint8(c[0]), uint8(c[1]), uint8(c[2]))
}
