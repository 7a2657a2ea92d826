package mailauth

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"expost/internal/message"
)

// head is what matters of a message's header.
type head struct {
	cut        bool     // the header is longer than maxHeader
	from       int      // From fields
	domains    []string // of their addresses, as they stand there; empty: an address without one
	signatures []map[string]string
}

// readHead reads the header from the beginning of r.
func readHead(r io.ReadSeeker) (*head, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the message again: %w", err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(newHeadReader(r), maxHeader+1)); err != nil {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	return parseHead(b.Bytes()), nil
}

// headReader reads until the empty line that ends a header has come by.
type headReader struct {
	r    io.Reader
	tail [3]byte
	done bool
}

func newHeadReader(r io.Reader) *headReader { return &headReader{r: r, tail: [3]byte{0, '\r', '\n'}} }

// Read implements io.Reader.
func (h *headReader) Read(p []byte) (int, error) {
	if h.done {
		return 0, io.EOF
	}
	n, err := h.r.Read(p[:min(len(p), 4096)])
	seen := append(h.tail[:len(h.tail):len(h.tail)], p[:n]...)
	h.done = bytes.Contains(seen, []byte("\n\r\n")) || bytes.Contains(seen, []byte("\n\n"))
	copy(h.tail[:], seen[len(seen)-len(h.tail):])
	return n, err
}

// parseHead reads a header, and ends it where delivery does: at an empty line
// or one that is no field.
func parseHead(b []byte) *head {
	h := &head{cut: len(b) > maxHeader}
	var field []byte
	for first := true; len(b) > 0; first = false {
		end := bytes.IndexByte(b, '\n') + 1
		if end == 0 {
			end = len(b)
		}
		line := b[:end]
		b = b[end:]
		if (line[0] == ' ' || line[0] == '\t') && !first {
			field = append(field, line...)
			continue
		}
		h.take(field)
		field = nil
		switch {
		case isField(line):
			field = append(field, line...)
		case first && (bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From "))):
		default:
			h.cut = false
			return h
		}
	}
	h.take(field)
	return h
}

// isField tells whether a line starts a field (RFC 5322 §2.2, §4.5).
func isField(line []byte) bool {
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !ok || len(name) == 0 {
		return false
	}
	for _, c := range name {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// take keeps what matters of a whole field.
func (h *head) take(field []byte) {
	if len(field) == 0 {
		return
	}
	name, value, _ := strings.Cut(string(field), ":")
	switch strings.ToLower(strings.TrimRight(name, " \t")) {
	case "from":
		h.from++
		for _, a := range message.ParseAddressList(unfold(value)) {
			if (a.Host != "" || a.Mailbox != "") && len(h.domains) <= maxFrom {
				h.domains = append(h.domains, a.Host)
			}
		}
	case "dkim-signature":
		if len(h.signatures) <= maxSignatures {
			h.signatures = append(h.signatures, tags(value))
		}
	}
}

// unfold takes the line ends out of a field's value.
func unfold(value string) string {
	return strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "").Replace(value))
}

// tags reads a tag list (RFC 6376 §3.2). The white space within values is
// taken out; of a tag that comes twice the first counts.
func tags(s string) map[string]string {
	t := map[string]string{}
	for pair := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		if _, twice := t[name]; !ok || twice {
			continue
		}
		t[name] = strings.Join(strings.Fields(value), "")
	}
	return t
}
