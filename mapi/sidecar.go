package mapi

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// inMail are properties that the mail itself holds.
var inMail = map[uint16]bool{
	idBody: true, idHTML: true, idRTFCompressed: true, idTransportHeaders: true, idAttachData: true, idSubject: true,
	idNormalizedSubject: true, idSubjectPrefix: true, idMessageID: true, idReferences: true, idInReplyTo: true,
	idDisplayTo: true, idDisplayCc: true, idDisplayBcc: true, idConversationTopic: true, idConversationIndex: true,
	idSenderName: true, idRepresentingName: true, idReportText: true, idListHelp: true, idListSubscribe: true, idListUnsubscribe: true,
}

// object is the JSON form of an object's properties.
type object struct {
	Properties  map[string]any `json:"properties"`
	Recipients  []object       `json:"recipients,omitempty"`
	Attachments []object       `json:"attachments,omitempty"`
}

// PropertiesJSON returns every property of a message, of its recipients and of
// its attachments, as JSON in the form of Mail.Sidecar. cp is the code page of
// its 8-bit text where the message does not say. What cannot be read is left out.
func PropertiesJSON(m Message, cp int) []byte {
	cp = Codepage(m, cp)
	all := func(p Properties) object {
		return object{Properties: jsonProperties(&view{Properties: p, cp: cp, problem: func(error) {}}, nil)}
	}
	o := all(m)
	for r, err := range m.Recipients() {
		if err == nil {
			o.Recipients = append(o.Recipients, all(r))
		}
	}
	for a, err := range m.Attachments() {
		if err == nil {
			o.Attachments = append(o.Attachments, all(a))
		}
	}
	b, _ := json.MarshalIndent(o, "", "  ") // of values that are all JSON
	return b
}

// sidecar returns the properties that are not in the mail. The key is the tag in
// hex, with the name behind it where it has one; binary values are in base64.
func (c *conversion) sidecar() []byte {
	o := object{Properties: c.remaining(&c.view)}
	for i := range c.people {
		o.Recipients = append(o.Recipients, object{Properties: c.remaining(&c.people[i].view)})
	}
	for i := range c.attached {
		o.Attachments = append(o.Attachments, object{Properties: c.remaining(&c.attached[i].view)})
	}
	b, err := json.Marshal(o)
	c.reportJSON(err)
	return b
}

func (c *conversion) reportJSON(err error) {
	if err != nil {
		c.report(fmt.Errorf("writing the properties: %w", err))
	}
}

func (c *conversion) remaining(v *view) map[string]any { return jsonProperties(v, inMail) }

// jsonProperties returns the properties but those left out.
func jsonProperties(v *view, leave map[uint16]bool) map[string]any {
	out := map[string]any{}
	for tag := range v.Tags() {
		if leave[tag.ID()] || tag.Type() == TypeObject {
			continue
		}
		value, ok, err := v.Value(tag)
		v.report(err)
		if !ok || value == nil {
			continue
		}
		key := fmt.Sprintf("%08x", uint32(tag))
		if n, ok := v.Name(tag); ok && tag.ID() >= 0x8000 {
			key += " " + n.key()
		}
		out[key] = jsonValue(value, v.cp)
	}
	return out
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

func jsonValue(v any, cp int) any {
	switch v := v.(type) {
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case String8:
		return v.Decode(cp)
	case []String8:
		out := make([]string, len(v))
		for i := range v {
			out[i] = v[i].Decode(cp)
		}
		return out
	case GUID:
		return v.String()
	case float32, float64, []float32, []float64:
		return fmt.Sprint(v) // NaN is not JSON
	}
	return v
}
