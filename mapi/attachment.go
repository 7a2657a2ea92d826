package mapi

import (
	"bytes"
	"fmt"
	"mime"
	"strings"
)

// attachment is what its properties say of one.
type attachment struct {
	view
	a        Attachment
	method   int
	embedded bool
	message  Message
	name     string
	mime     string
	id       string // Content-ID without brackets
	open     func() (Stream, error)
}

func (c *conversion) readAttachments() {
	for a, err := range c.m.Attachments() {
		if err != nil {
			c.report(fmt.Errorf("reading an attachment: %w", err))
			continue
		}
		c.attached = append(c.attached, c.readAttachment(a))
	}
}

func (c *conversion) readAttachment(a Attachment) attachment {
	x := attachment{a: a, view: view{Properties: a, cp: c.cp, problem: c.report}}
	x.method, _ = x.int(idAttachMethod)
	x.name = x.firstText(idAttachLongFilename, idAttachFilename, idDisplayName)
	x.mime = x.text(idAttachMIME)
	x.id = strings.Trim(x.text(idAttachContentID), "<> ")
	m, ok, err := a.Message()
	c.reportEmbedded(err)
	x.message, x.embedded = m, ok
	x.open = func() (Stream, error) {
		if x.method == attachOLE || !x.has(NewTag(idAttachData, TypeBinary)) {
			if s, err := a.Open(NewTag(idAttachData, TypeObject)); err == nil {
				return s, nil
			}
		}
		return a.Open(NewTag(idAttachData, TypeBinary))
	}
	return x
}

func (c *conversion) reportEmbedded(err error) {
	if err != nil {
		c.report(fmt.Errorf("reading an embedded message: %w", err))
	}
}

func (v *view) has(tag Tag) bool {
	for t := range v.Tags() {
		if t == tag {
			return true
		}
	}
	return false
}

// inline says whether the HTML shows the attachment.
func (a *attachment) inline() bool {
	flags, _ := a.int(idAttachFlags)
	return (a.id != "" || a.text(idAttachLocation) != "") && !a.embedded && (flags&4 != 0 || a.bool(idAttachHidden) ||
		strings.HasPrefix(a.mime, "image/"))
}

// attachmentPart returns nil for what holds nothing for people: the exceptions of
// a recurring appointment are in the calendar's part.
func (c *conversion) attachmentPart(i int, a attachment) *part {
	if flags, _ := a.int(idAttachExceptionFlags); flags&2 != 0 && (!a.embedded || c.isClass("IPM.APPOINTMENT") && bare(a.message)) {
		return nil
	}
	switch {
	case a.embedded:
		return c.embeddedPart(i, a)
	case a.method == attachByReference, a.method == 3, a.method == attachOnlyRef, a.method == attachWeb:
		if !a.has(NewTag(idAttachData, TypeBinary)) {
			return c.linkPart(a)
		}
	}
	kind, name := a.mime, a.name
	if name == "" {
		name = fmt.Sprintf("attachment-%d%s", i+1, a.text(idAttachExtension))
	}
	if kind == "" && a.method == attachOLE {
		kind = "application/x-oleobject"
	}
	if kind == "" {
		kind = mime.TypeByExtension(strings.ToLower(name[max(0, strings.LastIndexByte(name, '.')):]))
	}
	p := &part{open: a.open, problem: c.report}
	disposition := "attachment"
	if a.inline() {
		disposition = "inline"
	}
	p.fields = []field{{"Content-Type", contentType(kind, "name", name)}, {"Content-Disposition", contentDisposition(disposition, name)}}
	p.fields = append(p.fields, a.identity()...)
	return p
}

// bare tells whether a message has no attachments.
func bare(m Message) bool {
	for range m.Attachments() {
		return false
	}
	return true
}

func (a *attachment) identity() []field {
	var f []field
	if a.id != "" && isASCII(a.id) && !strings.ContainsAny(a.id, " \r\n") {
		f = append(f, field{"Content-ID", "<" + a.id + ">"})
	}
	if s := a.text(idAttachLocation); s != "" {
		f = append(f, field{"Content-Location", encodeText(s)})
	}
	if s := a.text(idDisplayName); s != "" && s != a.name {
		f = append(f, field{"Content-Description", encodeText(s)})
	}
	return f
}

// embeddedPart is a message/rfc822, or too deep down the message's properties.
func (c *conversion) embeddedPart(i int, a attachment) *part {
	limit := c.MaxDepth
	if limit == 0 {
		limit = 50
	}
	inner := c.conversion(a.message, c.r, c.depth+1)
	inner.seed = nextSeed(fmt.Sprintf("%s/%d", c.seed, i))
	if c.depth+1 >= limit {
		c.report(fmt.Errorf("messages are nested more than %d deep", limit))
		return filePart("application/json", "message.json", "attachment", PropertiesJSON(a.message, c.cp))
	}
	name := a.name
	if name == "" {
		name = inner.subject()
	}
	return &part{nested: inner.message(), fields: []field{{"Content-Type", "message/rfc822"},
		{"Content-Disposition", contentDisposition("attachment", name)}}}
}

// linkPart stands for a file that is elsewhere.
func (c *conversion) linkPart(a attachment) *part {
	target := a.firstText(idAttachLongPathname, idAttachPathname)
	if target == "" {
		target = a.name
	}
	c.report(fmt.Errorf("attachment %q is only a link to %q", a.name, target))
	return filePart("text/uri-list", a.name+".url.txt", "attachment", []byte(target+"\r\n"))
}

func filePart(kind, name, disposition string, b []byte) *part {
	return &part{open: func() (Stream, error) { return bytes.NewReader(b), nil },
		fields: []field{{"Content-Type", contentType(kind, "name", name)}, {"Content-Disposition", contentDisposition(disposition, name)}}}
}

func contentDisposition(kind, name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return -1
		}
		return r
	}, name)
	s := mime.FormatMediaType(kind, map[string]string{"filename": name})
	if s == "" || name == "" {
		return kind
	}
	return strings.ReplaceAll(s, "; ", ";\r\n\t")
}
