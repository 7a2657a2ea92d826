package sevenbit

import (
	"bytes"
	"strings"

	"golang.org/x/net/idna"

	"expost/internal/mail"
	"expost/internal/message"
)

// rewrite returns the header of a part as it is after the conversion, the empty
// line included.
func (m *Message) rewrite(part int, raw []byte) ([]byte, error) {
	pl, p := &m.plans[part], &m.parts[part]
	var out bytes.Buffer
	have := map[string]bool{}
	fields, rest := split(raw)
	for _, f := range fields {
		name, _, ok := bytes.Cut(f, []byte(":"))
		key := strings.ToLower(string(bytes.TrimRight(name, " \t")))
		if key == "content-transfer-encoding" && pl.encoding != "" {
			continue // the new one follows
		}
		have[key] = true
		switch {
		case mail.IsASCII(f) && !(key == "content-type" && pl.charset != ""):
			out.Write(f)
		case !ok:
			return nil, invalid("its header has a line that is no field and not ASCII")
		default:
			text, err := field(key, string(f), p, pl)
			if err != nil {
				return nil, err
			}
			out.WriteString(text)
		}
	}
	if pl.encoding != "" {
		if !have["mime-version"] && (part == 0 || m.parts[p.Parent].IsMessage()) {
			out.WriteString("MIME-Version: 1.0\r\n")
		}
		if !have["content-type"] && pl.charset != "" {
			out.WriteString("Content-Type: text/plain; charset=" + pl.charset + "\r\n")
		}
		out.WriteString("Content-Transfer-Encoding: " + pl.encoding + "\r\n")
	}
	out.Write(rest)
	return out.Bytes(), nil
}

// split returns the fields of a header, folded ones as one, and what ends it.
func split(raw []byte) (fields [][]byte, rest []byte) {
	for len(raw) > 0 && !bytes.HasPrefix(raw, []byte("\r\n")) && raw[0] != '\n' {
		n := message.FieldEnd(raw)
		if n < 0 {
			return append(fields, append(raw[:len(raw):len(raw)], "\r\n"...)), nil
		}
		fields, raw = append(fields, raw[:n]), raw[n:]
	}
	return fields, raw
}

// field returns a field in ASCII, with its line end.
func field(key, raw string, p *message.Part, pl *plan) (string, error) {
	name, value, _ := strings.Cut(raw, ":")
	name, value = strings.TrimRight(name, " \t"), message.Unfold(value)
	if !mail.IsASCII(name) {
		return "", invalid("its header has a field whose name is not ASCII")
	}
	switch key {
	case "from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-sender", "resent-reply-to", "resent-to", "resent-cc", "resent-bcc",
		"disposition-notification-to", "return-receipt-to", "errors-to":
		list, err := addresses(name, value)
		return name + ": " + list + "\r\n", err
	case "content-type":
		params := p.Params
		if pl.charset != "" {
			params = append([]message.Param{{Name: "charset", Value: pl.charset}}, params...)
		}
		return name + ": " + message.ASCIIToken(p.Type) + "/" + message.ASCIIToken(p.Subtype) + message.ASCIIParams(params) + "\r\n", nil
	case "content-disposition":
		return name + ": " + message.ASCIIToken(p.Disposition) + message.ASCIIParams(p.DispParams) + "\r\n", nil
	case "received", "return-path", "message-id", "in-reply-to", "references", "date", "resent-date", "resent-message-id", "mime-version", "content-id",
		"content-transfer-encoding", "content-language", "content-location", "authentication-results", "received-spf", "list-id", "list-post", "list-help",
		"list-archive", "list-owner", "list-subscribe", "list-unsubscribe", "list-unsubscribe-post", "auto-submitted", "delivered-to", "original-recipient",
		"dkim-signature", "arc-seal", "arc-message-signature", "arc-authentication-results":
		name = "Downgraded-" + name
	}
	return name + ": " + encode(value) + "\r\n", nil
}

// encode returns text as encoded words, where it needs any.
func encode(s string) string { return message.EncodeHeader(message.DecodeHeader(s)) }

// addresses returns an address list in ASCII, an address a line. An address
// whose local part is not ASCII is an error: nobody could answer it.
func addresses(name, value string) (string, error) {
	var b strings.Builder
	comma := ""
	for _, a := range message.ParseAddressList(value) {
		switch {
		case a.Host == "" && a.Mailbox != "": // a group begins
			b.WriteString(comma + message.ASCIIPhrase(a.Mailbox) + ":")
			comma = "\r\n "
			continue
		case a.Host == "": // and ends
			b.WriteString(";")
			comma = ",\r\n "
			continue
		case !mail.IsASCII(a.Mailbox):
			return "", invalid("an address in its %s field is not ASCII", name)
		}
		host := a.Host
		if !mail.IsASCII(host) {
			var err error
			if host, err = idna.Lookup.ToASCII(host); err != nil {
				return "", invalid("a domain in its %s field is not ASCII", name)
			}
		}
		spec := mail.QuotedAddress(mail.Address(a.Mailbox + "@" + host))
		if a.Name != "" {
			spec = message.ASCIIPhrase(a.Name) + " <" + spec + ">"
		}
		b.WriteString(comma + spec)
		comma = ",\r\n "
	}
	return b.String(), nil
}
