package rtf

import "strings"

// Unwrap returns the HTML or the text that RTF of that form wraps, in UTF-8
// with CRLF line ends ([MS-OXRTFEX] 2.1.3), and the form. Of other forms it
// returns "".
func Unwrap(b []byte) (string, Form) {
	form := FormOf(b)
	if form != HTML && form != Text {
		return "", form
	}
	w := &unwrapper{}
	newReader(b, w, form).read()
	return w.out.String(), form
}

type unwrapper struct{ out strings.Builder }

func (w *unwrapper) text(s string, _ *state) { w.out.WriteString(s) }

func (w *unwrapper) word(t token, _ *state) {
	if t.word == "par" || t.word == "line" {
		w.out.WriteString("\r\n")
	}
}

// PlainText returns the text of RTF of any form, with CRLF line ends.
func PlainText(b []byte) string {
	w := &plain{}
	form := FormOf(b)
	if form != Text {
		form = None
	}
	newReader(b, w, form).read()
	return w.out.String()
}

type plain struct{ out strings.Builder }

func (w *plain) text(s string, st *state) {
	if st.dest == body {
		w.out.WriteString(s)
	}
}

func (w *plain) word(t token, _ *state) {
	switch t.word {
	case "par", "line", "row", "sect", "page":
		w.out.WriteString("\r\n")
	case "cell", "nestcell":
		w.out.WriteString("\t")
	}
}
