package pop3server

import (
	"context"
	"io"
	"strings"

	"golang.org/x/net/idna"

	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// A client that has not said UTF8 gets nothing but ASCII in headers (RFC 6856
// §2.1): of a message that has more it gets a surrogate (RFC 6855 §7), whose
// headers say the same in encoded words (RFC 2047), parameters (RFC 2231) and
// names of hosts (RFC 5890). An address whose local part cannot be said so
// becomes one that nobody has (RFC 6858). Bodies are sent as they are.

// invalidAddress stands for an address that ASCII cannot say (RFC 6858 §2).
const invalidAddress = "invalid@internationalized-address.invalid"

// maxSurrogateHeaders bounds the headers of one message that are rewritten, bytes.
const maxSurrogateHeaders = 4 << 20

// content is what is sent of a message: pieces of its bytes, and texts instead of
// others.
type content struct {
	io.Closer // the message
	size      int64
	pieces    []io.Reader
}

// Read reads the pieces one after another.
func (t *content) Read(p []byte) (int, error) {
	for len(t.pieces) > 0 {
		n, err := t.pieces[0].Read(p)
		if err == io.EOF {
			t.pieces = t.pieces[1:]
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// errNeedsUTF8 refuses a message that no surrogate can stand for (RFC 6856 §5).
func errNeedsUTF8() reply {
	return refused("UTF8", "the message can be read in UTF8 mode alone")
}

// content returns what a client gets of a message, which closes body, or a refusal.
func (c *conn) content(ctx context.Context, m *mail.Message, body *store.Body) (*content, *reply, error) {
	asItIs := &content{Closer: body, size: m.Size, pieces: []io.Reader{body.Section(0, body.Size())}}
	if c.utf8 {
		return asItIs, nil, nil
	}
	var parsed *message.Message
	err := c.drop.account.Details(ctx, []mail.EmailID{m.Email}, func(_ int, p *message.Message) error {
		parsed = p
		return nil
	})
	if err != nil || parsed == nil {
		return asItIs, nil, err
	}
	out, from, read := &content{Closer: body}, int64(0), int64(0)
	for i := range parsed.Parts {
		p := &parsed.Parts[i]
		size := p.Body - p.Header
		if read += size; read > maxSurrogateHeaders {
			return nil, new(errNeedsUTF8()), nil
		}
		header := make([]byte, size)
		if n, err := body.ReadAt(header, p.Header); n < len(header) {
			return nil, nil, err
		}
		if mail.IsASCII(header) {
			continue
		}
		text := surrogateHeader(header, p)
		out.pieces = append(out.pieces, body.Section(from, p.Header), strings.NewReader(text))
		out.size += p.Header - from + int64(len(text))
		from = p.Body
	}
	if len(out.pieces) == 0 {
		return asItIs, nil, nil
	}
	out.pieces = append(out.pieces, body.Section(from, body.Size()))
	out.size += body.Size() - from
	return out, nil, nil
}

// surrogateHeader returns a header of ASCII that says what header says.
func surrogateHeader(header []byte, p *message.Part) string {
	var out strings.Builder
	for len(header) > 0 {
		n := message.FieldEnd(header)
		if n < 0 {
			n = len(header)
		}
		if field := header[:n]; mail.IsASCII(field) {
			out.Write(field)
		} else {
			out.WriteString(surrogateField(string(field), p))
		}
		header = header[n:]
	}
	return out.String()
}

// surrogateField returns a field that says in ASCII what field says.
func surrogateField(field string, p *message.Part) string {
	name, value, is := strings.Cut(field, ":")
	name = onlyASCII(name)
	if !is {
		return name
	}
	value = strings.TrimSpace(strings.NewReplacer("\r\n", "", "\n", "").Replace(value))
	switch strings.ToLower(strings.TrimRight(name, " \t")) {
	case "from", "to", "cc", "bcc", "reply-to", "sender", "resent-from", "resent-to", "resent-cc", "resent-bcc", "resent-reply-to", "resent-sender":
		value = surrogateAddresses(message.ParseAddressList(value))
	case "content-type":
		value = p.Type + "/" + p.Subtype + message.ASCIIParams(p.Params)
	case "content-disposition":
		value = p.Disposition + message.ASCIIParams(p.DispParams)
	default:
		value = message.EncodeHeader(message.DecodeHeader(value))
	}
	return name + ": " + onlyASCII(value) + "\r\n"
}

// onlyASCII makes sure of it.
func onlyASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, s)
}

// surrogateAddresses returns an address list of ASCII.
func surrogateAddresses(list []message.Address) string {
	var out strings.Builder
	first := true
	for i := range list {
		a := &list[i]
		if a.Host == "" && a.Mailbox == "" { // the end of a group
			out.WriteString(";")
			first = false
			continue
		}
		if !first {
			out.WriteString(",\r\n ")
		}
		if first = a.Host == ""; first { // a group begins
			out.WriteString(message.ASCIIPhrase(a.Mailbox) + ": ")
			continue
		}
		out.WriteString(surrogateAddress(a))
	}
	return out.String()
}

// surrogateAddress returns one address of ASCII.
func surrogateAddress(a *message.Address) string {
	host, err := idna.Lookup.ToASCII(a.Host)
	if mail.IsASCII(a.Host) {
		host, err = a.Host, nil
	}
	if name := a.Name; err != nil || !mail.IsASCII(a.Mailbox) {
		if name == "" {
			name = a.Mailbox + "@" + a.Host
		}
		return message.ASCIIPhrase(name) + " <" + invalidAddress + ">"
	}
	local := a.Mailbox
	if strings.ContainsAny(local, " \t\"(),:;<>@[\\]") {
		local = message.QuotedString(local)
	}
	if a.Name == "" {
		return "<" + local + "@" + host + ">"
	}
	return message.ASCIIPhrase(a.Name) + " <" + local + "@" + host + ">"
}
