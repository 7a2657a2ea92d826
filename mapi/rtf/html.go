package rtf

import (
	"fmt"
	"html"
	"strings"
)

// Render returns true RTF as a simple HTML document: paragraphs, tables, links
// and the look of characters. Pictures and objects are not in it.
func Render(b []byte) string {
	w := &renderer{}
	r := newReader(b, w, None)
	w.r = r
	w.out.WriteString("<html><head><meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\"></head><body>\r\n")
	r.read()
	w.endParagraph()
	w.endTable()
	w.out.WriteString("</body></html>\r\n")
	return w.out.String()
}

type renderer struct {
	r      *reader
	out    strings.Builder
	inPara bool
	look   format   // of the text written last
	tags   []string // open in the paragraph, innermost last
	table  bool
	row    bool
	cell   bool
}

func (w *renderer) text(s string, st *state) {
	if st.dest != body {
		return
	}
	w.startParagraph(st.para)
	w.change(st.format)
	s = html.EscapeString(s)
	s = strings.ReplaceAll(s, "\t", "&nbsp;&nbsp;&nbsp; ")
	w.out.WriteString(strings.ReplaceAll(s, "  ", "&nbsp; "))
}

func (w *renderer) word(t token, st *state) {
	switch t.word {
	case "par", "sect", "page":
		w.startParagraph(st.para)
		w.endParagraph()
	case "line":
		w.startParagraph(st.para)
		w.out.WriteString("<br>\r\n")
	case "cell", "nestcell":
		w.startParagraph(paragraph{align: st.para.align, cell: true})
		w.endParagraph()
		w.out.WriteString("</td>")
		w.cell = false
	case "row", "nestrow":
		w.endRow()
	}
}

func (w *renderer) startParagraph(p paragraph) {
	if w.inPara {
		return
	}
	w.inPara = true
	if !p.cell {
		w.endTable()
	} else if !w.cell {
		w.startCell()
	}
	if p.align != "" {
		fmt.Fprintf(&w.out, "<p style=\"margin:0;text-align:%s\">", p.align)
	} else {
		w.out.WriteString("<p style=\"margin:0\">")
	}
}

func (w *renderer) startCell() {
	if !w.table {
		w.out.WriteString("<table border=\"1\" cellspacing=\"0\">\r\n")
		w.table = true
	}
	if !w.row {
		w.out.WriteString("<tr>")
		w.row = true
	}
	w.out.WriteString("<td>")
	w.cell = true
}

func (w *renderer) endRow() {
	w.endParagraph()
	if w.cell {
		w.out.WriteString("</td>")
		w.cell = false
	}
	if w.row {
		w.out.WriteString("</tr>\r\n")
		w.row = false
	}
}

func (w *renderer) endTable() {
	if !w.table {
		return
	}
	w.table = false
	if w.cell {
		w.out.WriteString("</td>")
	}
	if w.row {
		w.out.WriteString("</tr>")
	}
	w.row, w.cell = false, false
	w.out.WriteString("</table>\r\n")
}

func (w *renderer) endParagraph() {
	if !w.inPara {
		return
	}
	empty := strings.HasSuffix(w.out.String()[max(0, w.out.Len()-2):], "\">")
	w.closeTags()
	if empty {
		w.out.WriteString("&nbsp;")
	}
	w.out.WriteString("</p>\r\n")
	w.inPara = false
}

func (w *renderer) closeTags() {
	for i := len(w.tags) - 1; i >= 0; i-- {
		w.out.WriteString("</" + w.tags[i] + ">")
	}
	w.tags = w.tags[:0]
	w.look = format{}
}

// change closes the tags of the look before and opens those of the new one.
func (w *renderer) change(f format) {
	if f == w.look {
		return
	}
	w.closeTags()
	w.look = f
	if href := safeLink(f.link); href != "" {
		w.tag("a", ` href="`+html.EscapeString(href)+`"`)
	}
	if style := w.style(f); style != "" {
		w.tag("span", ` style="`+html.EscapeString(style)+`"`)
	}
	for _, x := range []struct {
		on   bool
		name string
	}{{f.bold, "b"}, {f.italic, "i"}, {f.underline, "u"}, {f.strike, "s"}, {f.script > 0, "sup"}, {f.script < 0, "sub"}} {
		if x.on {
			w.tag(x.name, "")
		}
	}
}

func (w *renderer) tag(name, attributes string) {
	w.out.WriteString("<" + name + attributes + ">")
	w.tags = append(w.tags, name)
}

func (w *renderer) style(f format) string {
	var s []string
	if name := strings.Trim(w.r.fonts[f.font].name, " ;"); name != "" {
		s = append(s, "font-family:'"+strings.Map(fontRune, name)+"'")
	}
	if f.size > 0 && f.size < 1000 {
		s = append(s, fmt.Sprintf("font-size:%gpt", float64(f.size)/2))
	}
	if f.color > 0 && f.color < len(w.r.colors) && w.r.colors[f.color] != "" {
		s = append(s, "color:"+w.r.colors[f.color])
	}
	return strings.Join(s, ";")
}

func fontRune(c rune) rune {
	if c < ' ' || strings.ContainsRune(`'"\;{}<>`, c) {
		return -1
	}
	return c
}

// safeLink returns the targets that run no script.
func safeLink(s string) string {
	scheme, _, ok := strings.Cut(strings.ToLower(s), ":")
	switch {
	case !ok || strings.ContainsAny(scheme, "/?#"):
		return s
	case scheme == "http", scheme == "https", scheme == "mailto", scheme == "ftp", scheme == "file", scheme == "tel":
		return s
	}
	return ""
}
