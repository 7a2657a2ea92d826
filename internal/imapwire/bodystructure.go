package imapwire

import (
	"strconv"
	"strings"

	"expost/internal/message"
)

// StructureStyle is how a body structure is written.
type StructureStyle struct {
	Extended bool // BODYSTRUCTURE, else BODY (RFC 9051 §7.5.2)
	UTF8     bool // strings may be UTF-8 (RFC 6855)
}

// AppendBodyStructure appends the BODY or BODYSTRUCTURE of m.
func AppendBodyStructure(dst []byte, m *message.Message, style StructureStyle) []byte {
	if len(m.Parts) == 0 {
		return append(dst, `("text" "plain" NIL NIL NIL "7bit" 0 0)`...)
	}
	dst, _ = appendPart(dst, m, 0, style)
	return dst
}

// appendPart appends part i, and returns the index behind its last descendant:
// the parts stand in pre-order.
func appendPart(dst []byte, m *message.Message, i int, style StructureStyle) ([]byte, int) {
	p := &m.Parts[i]
	next := i + 1
	hasChild := next < len(m.Parts) && m.Parts[next].Parent == i
	dst = append(dst, '(')
	if p.IsMultipart() && hasChild {
		for next < len(m.Parts) && m.Parts[next].Parent == i {
			dst, next = appendPart(dst, m, next, style)
		}
		dst = appendQuoted(append(dst, ' '), p.Subtype)
		if style.Extended {
			dst = appendParams(append(dst, ' '), p.Params, style.UTF8)
			dst = appendDisposition(dst, p, style.UTF8)
		}
		return append(dst, ')'), next
	}
	dst = appendBasicFields(dst, p, style.UTF8)
	switch {
	case p.IsMessage() && hasChild && p.Envelope != nil:
		dst = AppendEnvelope(append(dst, ' '), p.Envelope, style.UTF8)
		dst, next = appendPart(append(dst, ' '), m, next, style)
		dst = strconv.AppendInt(append(dst, ' '), p.Lines, 10)
	case p.Type == "text" || p.IsMultipart():
		dst = strconv.AppendInt(append(dst, ' '), p.Lines, 10)
	}
	if style.Extended {
		dst = AppendNString(append(dst, ' '), p.MD5, style.UTF8)
		dst = appendDisposition(dst, p, style.UTF8)
	}
	return append(dst, ')'), next
}

// appendBasicFields appends type, subtype and body-fields. What is opaque
// although it says multipart is written as text, and a message/rfc822 without
// its structure as application/octet-stream: the grammar has no other place.
func appendBasicFields(dst []byte, p *message.Part, utf8Strings bool) []byte {
	typ, subtype := p.Type, p.Subtype
	if p.IsMultipart() {
		typ, subtype = "text", "plain"
	} else if p.IsMessage() && p.Envelope == nil {
		typ, subtype = "application", "octet-stream"
	}
	dst = append(AppendString(dst, typ, utf8Strings), ' ')
	dst = append(AppendString(dst, subtype, utf8Strings), ' ')
	dst = append(appendParams(dst, p.Params, utf8Strings), ' ')
	dst = append(AppendNString(dst, p.ID, utf8Strings), ' ')
	dst = append(AppendNString(dst, p.Description, utf8Strings), ' ')
	encoding := p.Encoding
	if encoding == "" {
		encoding = "7bit"
	}
	dst = append(AppendString(dst, encoding, utf8Strings), ' ')
	return strconv.AppendInt(dst, p.End-p.Body, 10)
}

// appendParams appends a parameter list, or NIL.
func appendParams(dst []byte, params []message.Param, utf8Strings bool) []byte {
	if len(params) == 0 {
		return append(dst, "NIL"...)
	}
	for i, p := range params {
		open := byte(' ')
		if i == 0 {
			open = '('
		}
		name, value := p.Name, p.Value
		if !utf8Strings {
			name, value = p.ASCII()
		}
		dst = append(AppendString(append(dst, open), name, utf8Strings), ' ')
		dst = AppendString(dst, value, utf8Strings)
	}
	return append(dst, ')')
}

// appendDisposition appends disposition, language and location, a space before each.
func appendDisposition(dst []byte, p *message.Part, utf8Strings bool) []byte {
	dst = append(dst, ' ')
	if p.Disposition == "" {
		dst = append(dst, "NIL"...)
	} else {
		dst = AppendString(append(dst, '('), p.Disposition, utf8Strings)
		dst = append(appendParams(append(dst, ' '), p.DispParams, utf8Strings), ')')
	}
	dst = append(dst, ' ')
	switch len(p.Language) {
	case 0:
		dst = append(dst, "NIL"...)
	case 1:
		dst = AppendString(dst, p.Language[0], utf8Strings)
	default:
		for i, l := range p.Language {
			open := byte(' ')
			if i == 0 {
				open = '('
			}
			dst = AppendString(append(dst, open), strings.TrimSpace(l), utf8Strings)
		}
		dst = append(dst, ')')
	}
	return AppendNString(append(dst, ' '), p.Location, utf8Strings)
}
