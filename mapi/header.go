package mapi

import (
	"encoding/base64"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"expost/mapi/codepage"
)

// fields are those of PidTagTransportMessageHeaders, folded as they were.
type fields []field

// parseFields splits a header; what is no field ends it.
func parseFields(s string) fields {
	var out fields
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\r\n\x00")
		if line == "" {
			if len(out) > 0 {
				break
			}
			continue
		}
		if (line[0] == ' ' || line[0] == '\t') && len(out) > 0 {
			if strings.TrimSpace(line) != "" {
				out[len(out)-1].value += "\r\n" + line
			}
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if ok && fieldName(name) {
			out = append(out, field{name, strings.TrimPrefix(value, " ")})
		}
	}
	return out
}

func fieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// get returns a field's value, decoded to one line.
func (f fields) get(name string) string {
	i := slices.IndexFunc(f, func(x field) bool { return strings.EqualFold(x.name, name) })
	if i < 0 {
		return ""
	}
	return strings.TrimSpace(decodeWords(strings.ReplaceAll(f[i].value, "\r\n", "")))
}

func (f fields) has(name string) bool {
	return slices.ContainsFunc(f, func(x field) bool { return strings.EqualFold(x.name, name) })
}

func decodeWords(s string) string {
	d := mime.WordDecoder{CharsetReader: charsetReader}
	if out, err := d.DecodeHeader(s); err == nil {
		return out
	}
	return s
}

// header returns the fields of the message: those it came with where they are
// true of it, else new ones, and what properties add.
func (c *conversion) header() []field {
	var h headerWriter
	flags, _ := c.int(idMessageFlags)
	if flags&8 == 0 && c.headers.has("From") && (c.headers.has("Date") || c.headers.has("Message-ID")) {
		for _, f := range c.headers {
			c.reuse(&h, f)
		}
	}
	c.addPeople(&h)
	if subject := c.subject(); subject != "" || !h.has("Subject") {
		h.text("Subject", subject)
	}
	c.addDates(&h)
	h.token("Message-ID", c.messageID())
	h.token("In-Reply-To", c.text(idInReplyTo))
	h.token("References", c.text(idReferences))
	c.addMarks(&h)
	c.addNamedHeaders(&h)
	return h.out
}

// reuse keeps a field of the transport, unless our own tree or the message's
// properties are the truth of it.
func (c *conversion) reuse(h *headerWriter, f field) {
	name := strings.ToLower(f.name)
	if strings.HasPrefix(name, "content-") && name != "content-class" && name != "content-language" || name == "mime-version" {
		return
	}
	if name == "subject" {
		old := strings.Join(strings.Fields(c.headers.get("Subject")), " ")
		if subject := c.subject(); subject != "" && strings.Join(strings.Fields(subject), " ") != old {
			return // it was edited
		}
	}
	if (name == "from" || name == "to" || name == "cc") && !strings.ContainsAny(f.value, "@:") {
		return // names alone, where the properties may have addresses
	}
	h.out = append(h.out, field{f.name, wireSafe(f.value)})
}

// wireSafe keeps a field as it is where it is ASCII in short lines.
func wireSafe(s string) string {
	long := false
	for line := range strings.SplitSeq(s, "\r\n") {
		long = long || len(line) > 990
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf || s[i] < ' ' && s[i] != '\r' && s[i] != '\n' && s[i] != '\t' {
			return encodeText(strings.ReplaceAll(s, "\r\n", ""))
		}
	}
	if long {
		return fold(strings.ReplaceAll(s, "\r\n", ""))
	}
	return s
}

func (c *conversion) addDates(h *headerWriter) {
	for _, id := range []uint16{idClientSubmitTime, idDeliveryTime, idCreationTime, idModificationTime} {
		if c.date(h, "Date", id) {
			break
		}
	}
	if !h.has("Date") {
		h.add("Date", time.Unix(0, 0).UTC().Format(time.RFC1123Z))
	}
	c.date(h, "Expires", idExpiryTime)
	c.date(h, "Reply-By", idReplyTime)
	c.date(h, "Deferred-Delivery", idDeferredSend)
}

func (c *conversion) date(h *headerWriter, name string, id uint16) bool {
	t, ok := c.time(id)
	if !ok {
		return false
	}
	at, ok := t.Time()
	if !ok || at.Year() < 1900 && name == "Date" {
		return false
	}
	h.add(name, at.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	return true
}

func (c *conversion) addMarks(h *headerWriter) {
	if n, ok := c.int(idImportance); ok && n != 1 && n >= 0 && n <= 2 {
		h.add("Importance", []string{"low", "normal", "high"}[n])
		h.add("X-Priority", []string{"5", "3", "1"}[n])
	}
	if n, ok := c.int(idPriority); ok && (n == 1 || n == -1) {
		h.add("Priority", map[int]string{1: "urgent", -1: "non-urgent"}[n])
	}
	if n, ok := c.int(idSensitivity); ok && n >= 1 && n <= 3 {
		h.add("Sensitivity", []string{"", "Personal", "Private", "Company-Confidential"}[n])
	}
	h.text("Thread-Topic", c.text(idConversationTopic))
	if b := c.bytes(idConversationIndex); len(b) >= 22 {
		h.add("Thread-Index", fold(base64.StdEncoding.EncodeToString(b)))
	}
	if k := c.categories(); len(k) > 0 {
		h.text("Keywords", strings.Join(k, ", "))
	}
	if n, ok := c.named(SetCommon, 0x8530, TypeString); ok { // PidLidFlagRequest
		h.text("X-Message-Flag", c.text(n))
	}
	h.token("List-Help", c.text(idListHelp))
	h.token("List-Subscribe", c.text(idListSubscribe))
	h.token("List-Unsubscribe", c.text(idListUnsubscribe))
	if class := c.text(idMessageClass); c.class != "IPM.NOTE" && class != "" {
		h.text("X-MS-Message-Class", class)
	}
}

// addNamedHeaders adds the fields that have properties of their own name
// ([MS-OXCMAIL] 2.1.3.1.11).
func (c *conversion) addNamedHeaders(h *headerWriter) {
	for tag := range c.Tags() {
		if tag.ID() < 0x8000 {
			continue
		}
		n, ok := c.Name(tag)
		if !ok || n.Set != SetInternetHeaders || !fieldName(n.String) || strings.Contains(n.String, ":") {
			continue
		}
		name := strings.ToLower(n.String)
		if !strings.HasPrefix(name, "content-") && name != "mime-version" && !h.hasUnhyphened(name) {
			h.text(n.String, c.text(tag.ID()))
		}
	}
}

// headerWriter gathers fields; one that is there already is not added again.
type headerWriter struct{ out fields }

func (h *headerWriter) has(name string) bool { return h.out.has(name) }

// hasUnhyphened tells whether there is a field whose name without hyphens is
// this: Exchange calls the property of Accept-Language "acceptlanguage".
func (h *headerWriter) hasUnhyphened(name string) bool {
	return slices.ContainsFunc(h.out, func(x field) bool { return strings.EqualFold(strings.ReplaceAll(x.name, "-", ""), name) })
}

func (h *headerWriter) add(name, value string) {
	if value != "" && !h.has(name) {
		h.out = append(h.out, field{name, value})
	}
}

// token adds a field of ASCII text that may be folded.
func (h *headerWriter) token(name, value string) {
	value = strings.Join(strings.Fields(value), " ")
	if isASCII(value) {
		h.add(name, fold(value))
	} else {
		h.text(name, value)
	}
}

func (h *headerWriter) text(name, value string) {
	if name == "Subject" && value == "" && !h.has(name) {
		h.out = append(h.out, field{name, ""})
		return
	}
	h.add(name, encodeText(value))
}

// encodeText returns text for a field: in encoded words where it is not ASCII.
func encodeText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
	if isASCII(s) && !strings.Contains(s, "=?") {
		return fold(s)
	}
	return strings.ReplaceAll(mime.BEncoding.Encode("utf-8", guard(s)), "?= =?", "?=\r\n =?")
}

// guard makes sure that text which looks encoded is encoded again.
func guard(s string) string {
	if isASCII(s) {
		return strings.ReplaceAll(s, "=?", "=\u200b?")
	}
	return s
}

// fold breaks a long line at spaces, and within words of more than 900 bytes.
func fold(s string) string {
	var b strings.Builder
	n := 20
	for i, word := range strings.Split(s, " ") {
		if i > 0 {
			if n+len(word) > 76 && word != "" {
				b.WriteString("\r\n")
				n = 0
			}
			b.WriteByte(' ')
			n++
		}
		for len(word) > 900 {
			b.WriteString(word[:900] + "\r\n ")
			word, n = word[900:], 1
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String()
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

func charsetPage(name string) int { return codepage.ByCharset(name) }
