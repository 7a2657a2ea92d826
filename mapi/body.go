package mapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"expost/mapi/codepage"
	"expost/mapi/rtf"
)

func nextSeed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:12])
}

// content returns the message without its own header.
func (c *conversion) content() *part {
	if c.isClass("IPM.NOTE.SMIME") || c.isClass("IPM.NOTE.SECURE") {
		if p := c.smime(); p != nil {
			return p
		}
	}
	bodies, rich := c.bodies()
	summary, file, form := c.groupware()
	t := &tree{bodies: bodies, isHTML: len(bodies) > 0 && strings.HasPrefix(bodies[len(bodies)-1].fields[0].value, "text/html")}
	for i, a := range c.attached {
		c.attach(t, i, a)
	}
	if rich != nil {
		t.mixed = append(t.mixed, rich)
	}
	if summary != nil && c.text(idBody) == "" && !t.isHTML {
		t.bodies, summary = []*part{summary}, nil
	}
	if len(t.bodies) == 0 {
		t.bodies = []*part{textPart("plain", "us-ascii", nil)}
	}
	if len(t.related) > 0 {
		last := len(t.bodies) - 1
		t.bodies[last] = c.multipart("related", ";\r\n\ttype=\"text/html\"", append([]*part{t.bodies[last]}, t.related...))
	}
	if form != nil {
		t.bodies = append(t.bodies, form)
	}
	body := c.multipart("alternative", "", t.bodies)
	if c.isClass("REPORT") {
		return c.reportPart(body, t.mixed)
	}
	parts := []*part{body}
	if summary != nil {
		parts = []*part{summary, body}
	}
	if file != nil {
		parts = append(parts, file)
	}
	c.reportStub()
	return c.multipart("mixed", "", append(parts, t.mixed...))
}

// tree is what a mail is put together of.
type tree struct {
	bodies, related, mixed []*part
	isHTML                 bool
}

// attach puts an attachment where it belongs.
func (c *conversion) attach(t *tree, i int, a attachment) {
	p := c.attachmentPart(i, a)
	if p == nil {
		return
	}
	if t.isHTML && a.inline() {
		t.related = append(t.related, p)
		return
	}
	t.mixed = append(t.mixed, p)
	c.unpack(t, a)
}

// unpack adds what is in an attachment in Outlook's own format (winmail.dat):
// its attachments, and its text where it is richer than the message's. The
// original stays.
func (c *conversion) unpack(t *tree, a attachment) {
	if c.TNEF == nil || c.depth > 4 || a.embedded {
		return
	}
	if kind := strings.ToLower(a.mime); !strings.EqualFold(a.name, "winmail.dat") && kind != "application/ms-tnef" && kind != "application/vnd.ms-tnef" {
		return
	}
	s, err := a.open()
	if err != nil {
		return // told where it is written
	}
	m, err := c.TNEF(s)
	if err != nil {
		c.report(fmt.Errorf("reading %s: %w", a.name, err))
	}
	if m == nil {
		return
	}
	inner := c.conversion(m, c.r, c.depth+1)
	inner.seed = nextSeed(c.seed + "/tnef")
	bodies, rich := inner.bodies()
	if last := len(bodies) - 1; !t.isHTML && last >= 0 && strings.HasPrefix(bodies[last].fields[0].value, "text/html") {
		t.bodies, t.isHTML = append(t.bodies, bodies[last]), true
	}
	if rich != nil {
		t.mixed = append(t.mixed, rich)
	}
	for i, b := range inner.attached {
		inner.attach(t, i, b)
	}
}

// reportStub tells of messages whose text is elsewhere, or not readable.
func (c *conversion) reportStub() {
	if strings.Contains(c.class, "ENTERPRISEVAULT") || strings.HasSuffix(c.class, ".EAS") && strings.Contains(c.class, "SHORTCUT") {
		c.report(errors.New("the message is the shortcut of an archive (class " + c.class + "): its text and attachments are there, not in this file"))
	}
	for _, a := range c.attached {
		if strings.EqualFold(a.name, "message.rpmsg") {
			c.report(errors.New("the message is protected by rights management (message.rpmsg): only its sender's server can open it"))
		}
	}
}

// bodies returns the alternatives of the text, the best one last, and the RTF
// itself where it is true RTF (PidTagNativeBody, [MS-OXBBODY]).
func (c *conversion) bodies() (alternatives []*part, rich *part) {
	text, page, htmlText := c.text(idBody), "utf-8", []byte(nil)
	if c.isClass("REPORT") && text == "" {
		text = c.text(idReportText)
	}
	htmlText, page = c.html()
	native, _ := c.int(idNativeBody)
	if native == 2 || len(htmlText) == 0 && native != 1 || native == 1 && text == "" {
		b := c.richText()
		switch inner, form := rtf.Unwrap(b); form {
		case rtf.HTML:
			if len(htmlText) == 0 {
				htmlText, page = []byte(inner), "utf-8"
			}
		case rtf.Text:
			if text == "" {
				text = inner
			}
		case rtf.Rich:
			if text == "" {
				text = rtf.PlainText(b)
			}
			if len(htmlText) == 0 {
				htmlText, page = []byte(rtf.Render(b)), "utf-8"
			}
			rich = filePart("application/rtf", "body.rtf", "attachment", b)
		}
	}
	if text != "" || len(htmlText) == 0 {
		alternatives = append(alternatives, textPart("plain", "utf-8", []byte(newlines(text))))
	}
	if len(htmlText) > 0 {
		alternatives = append(alternatives, textPart("html", page, htmlText))
	}
	return alternatives, rich
}

// html returns PidTagHtml, which is binary or a string, and its charset.
func (c *conversion) html() ([]byte, string) {
	cp, _ := c.int(idInternetCodepage)
	if s, ok := get[string](&c.view, idHTML, TypeString); ok && s != "" {
		return []byte(s), "utf-8"
	}
	b := c.bytes(idHTML)
	if len(b) == 0 {
		s, _ := get[String8](&c.view, idHTML, TypeString8)
		b = s
	}
	if n := bytes.IndexByte(b, 0); n >= 0 && !codepage.Wide(cp) && n == len(bytes.TrimRight(b, "\x00")) {
		b = b[:n]
	}
	if bytes.HasPrefix(b, []byte{0xFF, 0xFE}) {
		return []byte(codepage.Decode(codepage.UTF16, b)), "utf-8"
	}
	if cp == 0 {
		cp = c.cp
	}
	if name := codepage.Name(cp); name != "" && codepage.Known(cp) && !codepage.Wide(cp) && cp != codepage.ASCII {
		return b, name
	}
	return []byte(codepage.Decode(0, b)), "utf-8"
}

func (c *conversion) richText() []byte {
	b := c.bytes(idRTFCompressed)
	if len(b) == 0 {
		return nil
	}
	out, err := rtf.Decompress(b)
	if err != nil {
		c.report(fmt.Errorf("reading the RTF body: %w", err))
	}
	return out
}

// newlines makes all line ends CRLF.
func newlines(s string) string {
	if crlf(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/32)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\r':
			b.WriteString("\r\n")
			if i+1 < len(s) && s[i+1] == '\n' {
				i++
			}
		case c == '\n':
			b.WriteString("\r\n")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// crlf tells whether all line ends of s are CRLF.
func crlf(s string) bool {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\r' && i+1 < len(s) && s[i+1] == '\n':
			i++
		case s[i] == '\r' || s[i] == '\n':
			return false
		}
	}
	return true
}

// smime returns the S/MIME entity that is the only attachment, as it is
// ([MS-OXOSMIME] 2.1), and nil where there is none.
func (c *conversion) smime() *part {
	if len(c.attached) != 1 || c.attached[0].embedded {
		return nil
	}
	a := c.attached[0]
	if !strings.HasSuffix(c.class, ".MULTIPARTSIGNED") && !strings.HasPrefix(strings.ToLower(a.mime), "multipart/signed") {
		kind := a.mime
		if !strings.Contains(kind, "pkcs7-mime") {
			kind = "application/pkcs7-mime"
		}
		name := a.name
		if name == "" {
			name = "smime.p7m"
		}
		return &part{open: a.open, problem: c.report, fields: []field{{"Content-Type", contentType(kind, "name", name)},
			{"Content-Disposition", contentDisposition("attachment", name)}}}
	}
	b := a.bytes(idAttachData)
	if bytes.HasPrefix(b, []byte("--")) { // the header was lost
		boundary, _, _ := bytes.Cut(b[2:], []byte("\n"))
		b = fmt.Appendf(nil, "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\";\r\n\tboundary=%q\r\n\r\n%s",
			bytes.TrimSpace(boundary), b)
	}
	if len(b) == 0 {
		c.report(errors.New("the signed message is empty"))
		return nil
	}
	return &part{raw: b}
}

// reportPart makes a multipart/report (RFC 6522) of its text and what it is about.
func (c *conversion) reportPart(body *part, mixed []*part) *part {
	suffix := c.class[strings.LastIndexByte(c.class, '.')+1:]
	kind, status := "delivery-status", c.deliveryStatus(suffix)
	if suffix == "IPNRN" || suffix == "IPNNRN" {
		kind, status = "disposition-notification", c.disposition(suffix)
	}
	p := &part{text: []byte(status), fields: []field{{"Content-Type", "message/" + kind}}}
	return c.multipart("report", "; report-type="+kind, append([]*part{body, p}, mixed...))
}

// deliveryStatus is the machine's part of RFC 3464.
func (c *conversion) deliveryStatus(suffix string) string {
	action := map[string]string{"NDR": "failed", "DR": "delivered", "DELAYED": "delayed", "RELAYED": "relayed", "EXPANDED": "expanded"}[suffix]
	if action == "" {
		action = "failed"
	}
	var b strings.Builder
	mta := c.text(idRemoteMTA)
	if !fieldName(mta) {
		mta = c.domain()
	}
	fmt.Fprintf(&b, "Reporting-MTA: dns; %s\r\n", mta)
	for _, p := range c.people {
		fmt.Fprintf(&b, "\r\nFinal-Recipient: rfc822; %s\r\nAction: %s\r\n", c.smtp(p.Address, p.smtp), action)
		status := map[string]string{"delivered": "2.0.0", "relayed": "2.0.0", "expanded": "2.0.0", "delayed": "4.0.0"}[action]
		if n, ok := p.view.int(idStatusCode); ok && n >= 200 && n < 600 {
			status = fmt.Sprintf("%d.%d.%d", n/100, n/10%10, n%10)
		}
		if status == "" {
			status = "5.0.0"
		}
		fmt.Fprintf(&b, "Status: %s\r\n", status)
		if s := p.view.firstText(idSupplementaryInfo, idReportText); s != "" {
			fmt.Fprintf(&b, "Diagnostic-Code: x-exchange; %s\r\n", encodeText(s))
		}
	}
	return b.String()
}

// disposition is the machine's part of RFC 8098.
func (c *conversion) disposition(suffix string) string {
	what := "displayed"
	if suffix == "IPNNRN" {
		what = "deleted"
	}
	s := fmt.Sprintf("Final-Recipient: rfc822; %s\r\n", c.smtp(Address{c.text(idSenderName), upper(c.text(idSenderType)),
		c.text(idSenderAddress)}, c.text(idSenderSMTP)))
	if id := c.text(idOriginalMessageID); id != "" && isASCII(id) {
		s += "Original-Message-ID: " + fold(strings.Join(strings.Fields(id), " ")) + "\r\n"
	}
	return s + "Disposition: manual-action/MDN-sent-manually; " + what + "\r\n"
}
