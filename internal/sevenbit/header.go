package sevenbit

import (
	"bytes"
	"mime"
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
		case isASCII(f) && !(key == "content-type" && pl.charset != ""):
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
		n := 0
		for {
			i := bytes.IndexByte(raw[n:], '\n')
			if i < 0 {
				return append(fields, append(raw[:len(raw):len(raw)], "\r\n"...)), nil
			}
			n += i + 1
			if n == len(raw) || raw[n] != ' ' && raw[n] != '\t' {
				break
			}
		}
		fields, raw = append(fields, raw[:n]), raw[n:]
	}
	return fields, raw
}

// field returns a field in ASCII, with its line end.
func field(key, raw string, p *message.Part, pl *plan) (string, error) {
	name, value, _ := strings.Cut(raw, ":")
	name, value = strings.TrimRight(name, " \t"), unfold(value)
	if !isASCII([]byte(name)) {
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
		return name + ": " + printable(p.Type) + "/" + printable(p.Subtype) + parameters(params), nil
	case "content-disposition":
		return name + ": " + printable(p.Disposition) + parameters(p.DispParams), nil
	case "received", "return-path", "message-id", "in-reply-to", "references", "date", "resent-date", "resent-message-id", "mime-version", "content-id",
		"content-transfer-encoding", "content-language", "content-location", "authentication-results", "received-spf", "list-id", "list-post", "list-help",
		"list-archive", "list-owner", "list-subscribe", "list-unsubscribe", "list-unsubscribe-post", "auto-submitted", "delivered-to", "original-recipient",
		"dkim-signature", "arc-seal", "arc-message-signature", "arc-authentication-results":
		name = "Downgraded-" + name
	}
	return name + ": " + encode(value) + "\r\n", nil
}

// unfold returns a field's value on one line.
func unfold(s string) string {
	s = strings.NewReplacer("\r\n", "", "\n", "", "\r", "").Replace(s)
	return strings.Trim(s, " \t")
}

// encode returns text as encoded words, where it needs any.
func encode(s string) string { return message.EncodeHeader(message.DecodeHeader(s)) }

// printable keeps what stands in a token.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?=`, r) {
			return '-'
		}
		return r
	}, s)
}

// parameters returns the parameters of a Content-Type or Content-Disposition,
// a line each.
func parameters(list []message.Param) string {
	var b strings.Builder
	for _, p := range list {
		name, value := p.ASCII()
		b.WriteString(";\r\n " + printable(name) + "=")
		if strings.HasSuffix(name, "*") {
			b.WriteString(value)
		} else {
			b.WriteString(quote(value))
		}
	}
	return b.String() + "\r\n"
}

// quote returns a quoted-string.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", " ", "\n", " ").Replace(s) + `"`
}

// addresses returns an address list in ASCII, an address a line. An address
// whose local part is not ASCII is an error: nobody could answer it.
func addresses(name, value string) (string, error) {
	var b strings.Builder
	comma := ""
	for _, a := range message.ParseAddressList(value) {
		switch {
		case a.Host == "" && a.Mailbox != "": // a group begins
			b.WriteString(comma + phrase(a.Mailbox) + ":")
			comma = "\r\n "
			continue
		case a.Host == "": // and ends
			b.WriteString(";")
			comma = ",\r\n "
			continue
		case !isASCII([]byte(a.Mailbox)):
			return "", invalid("an address in its %s field is not ASCII", name)
		}
		host := a.Host
		if !isASCII([]byte(host)) {
			var err error
			if host, err = idna.Lookup.ToASCII(host); err != nil {
				return "", invalid("a domain in its %s field is not ASCII", name)
			}
		}
		spec := mail.QuotedAddress(mail.Address(a.Mailbox + "@" + host))
		if a.Name != "" {
			spec = phrase(a.Name) + " <" + spec + ">"
		}
		b.WriteString(comma + spec)
		comma = ",\r\n "
	}
	return b.String(), nil
}

// phrase returns a display name.
func phrase(s string) string {
	if !isASCII([]byte(s)) {
		// Not the other encoding: its words may hold commas, which some readers stumble over.
		return strings.ReplaceAll(mime.BEncoding.Encode("utf-8", message.DecodeHeader(s)), "?= =?", "?=\r\n =?")
	}
	if strings.Contains(s, "=?") { // encoded already
		return unfold(s)
	}
	return quote(s)
}
