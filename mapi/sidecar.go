package mapi

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// inMail are properties that the mail itself holds, or that say nothing outside
// the file.
var inMail = map[uint16]bool{
	idBody: true, idHTML: true, idRTFCompressed: true, idTransportHeaders: true, idAttachData: true, idSubject: true,
	idNormalizedSubject: true, idSubjectPrefix: true, idMessageID: true, idReferences: true, idInReplyTo: true,
	idDisplayTo: true, idDisplayCc: true, idDisplayBcc: true, idConversationTopic: true, idConversationIndex: true,
	idSenderName: true, idRepresentingName: true, idReportText: true, idListHelp: true, idListSubscribe: true, idListUnsubscribe: true,
	idMessageClass: true, idDisplayName: true, idAddressType: true, idEmailAddress: true, idSMTPAddress: true, idRecipientType: true,
	idClientSubmitTime: true, idDeliveryTime: true, idAttachLongFilename: true, idAttachFilename: true, idAttachExtension: true,
	idAttachMIME: true, idAttachContentID: true, 0x67F2: true, 0x67F3: true, 0x0E08: true, 0x0E20: true, 0x0E1B: true,
}

// PropertiesJSON returns every property of a message, of its recipients and of
// its attachments, as JSON in the form of Mail.Sidecar. cp is the code page of
// its 8-bit text where the message does not say. What cannot be read is left out.
func PropertiesJSON(m Message, cp int) []byte {
	cp = Codepage(m, cp)
	look := func(p Properties) *view { return &view{Properties: p, cp: cp, problem: func(error) {}} }
	var people, attached []*view
	for r, err := range m.Recipients() {
		if err == nil {
			people = append(people, look(r))
		}
	}
	for a, err := range m.Attachments() {
		if err == nil {
			attached = append(attached, look(a))
		}
	}
	var out bytes.Buffer
	if err := json.Indent(&out, appendObject(nil, look(m), people, attached, nil), "", "  "); err != nil {
		return nil // it is JSON
	}
	return out.Bytes()
}

// sidecar returns the properties that are not in the mail. The key is the tag in
// hex, with the name behind it where it has one; binary values are in base64.
func (c *conversion) sidecar() []byte {
	people, attached := make([]*view, len(c.people)), make([]*view, len(c.attached))
	for i := range c.people {
		people[i] = &c.people[i].view
	}
	for i := range c.attached {
		attached[i] = &c.attached[i].view
	}
	return appendObject(nil, &c.view, people, attached, inMail)
}

// appendObject appends a message as JSON: properties, recipients, attachments.
func appendObject(b []byte, v *view, people, attached []*view, leave map[uint16]bool) []byte {
	b = appendProperties(append(b, `{"properties":`...), v, leave)
	for _, list := range []struct {
		name  string
		views []*view
	}{{"recipients", people}, {"attachments", attached}} {
		for i, x := range list.views {
			if i == 0 {
				b = append(append(append(b, `,"`...), list.name...), `":[`...)
			} else {
				b = append(b, ',')
			}
			b = append(appendProperties(append(b, `{"properties":`...), x, leave), '}')
		}
		if len(list.views) > 0 {
			b = append(b, ']')
		}
	}
	return append(b, '}')
}

// appendProperties appends the properties of an object but those left out.
func appendProperties(b []byte, v *view, leave map[uint16]bool) []byte {
	b = append(b, '{')
	first := true
	for tag := range v.Tags() {
		if leave[tag.ID()] || tag.Type() == TypeObject {
			continue
		}
		value, ok, err := v.Value(tag)
		v.report(err)
		if !ok || value == nil {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		key := fmt.Sprintf("%08x", uint32(tag))
		if n, ok := v.Name(tag); ok && tag.ID() >= 0x8000 {
			key += " " + n.key()
		}
		b = appendValue(append(appendQuoted(b, key), ':'), value, v.cp)
	}
	return append(b, '}')
}

func (n Name) key() string {
	if n.String != "" {
		return n.Set.String() + "/" + n.String
	}
	return fmt.Sprintf("%s/%04x", n.Set, n.ID)
}

// String returns the GUID as people write it, without braces.
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(g[:]), binary.LittleEndian.Uint16(g[4:]),
		binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:])
}

// appendValue appends a value as JSON.
func appendValue(b []byte, v any, cp int) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case int16:
		return strconv.AppendInt(b, int64(v), 10)
	case int32:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case uint32:
		return strconv.AppendUint(b, uint64(v), 10)
	case Time:
		return strconv.AppendUint(b, uint64(v), 10)
	case string:
		return appendQuoted(b, v)
	case String8:
		return appendQuoted(b, v.Decode(cp))
	case []byte:
		b = append(b, '"')
		return append(base64.StdEncoding.AppendEncode(b, v), '"')
	case GUID:
		return appendQuoted(b, v.String())
	case []string:
		return appendList(b, v, cp)
	case []String8:
		return appendList(b, v, cp)
	case [][]byte:
		return appendList(b, v, cp)
	case []int32:
		return appendList(b, v, cp)
	case []int64:
		return appendList(b, v, cp)
	case []Time:
		return appendList(b, v, cp)
	case []GUID:
		return appendList(b, v, cp)
	}
	return appendQuoted(b, fmt.Sprint(v)) // floats: NaN is not JSON
}

func appendList[T any](b []byte, list []T, cp int) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendValue(b, v, cp)
	}
	return append(b, ']')
}

// appendQuoted appends a JSON string.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7F || r == 0x2028 || r == 0x2029:
			b = fmt.Appendf(b, `\u%04x`, r)
		case r == utf8.RuneError:
			b = append(b, "\uFFFD"...)
		default:
			b = append(b, s[i:i+utf8.RuneLen(r)]...)
		}
	}
	return append(b, '"')
}
