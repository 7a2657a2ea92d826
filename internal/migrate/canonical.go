package migrate

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"unicode"

	"expost/internal/message"
)

// Canonical is what of a message has to be the same at both sides though a
// server makes its MIME anew at each reading, as Exchange does: it changes
// boundaries, encodings, charsets, folding, the order of header lines, and adds
// lines of its own (X-Message-Flag, Importance, [MS-OXCMAIL] §2.1.3).
type Canonical struct {
	Header string   // Message-ID, Date, From, To, Cc, Subject, decoded
	Text   string   // SHA-256 of all text as UTF-8, white space collapsed
	Files  []string // of each other part in order of name: type, name, SHA-256 of the decoded bytes
}

// CanonicalOf reads a message of size bytes.
func CanonicalOf(r io.ReaderAt, size int64) (Canonical, error) {
	text := &canonicalText{sum: sha256.New()}
	parser := message.NewParser(message.Limits{}, text)
	if _, err := io.Copy(parser, bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10)); err != nil {
		return Canonical{}, err
	}
	m := parser.Finish()
	c := Canonical{Header: canonicalHeader(&m.Envelope), Text: hex.EncodeToString(text.sum.Sum(nil))}
	for i := range m.Parts {
		p := &m.Parts[i]
		if p.Type == "text" && p.Filename() == "" || len(m.Children(i)) > 0 {
			continue
		}
		sum := sha256.New()
		body, ok := message.NewTransferReader(io.NewSectionReader(r, p.Body, p.End-p.Body), p.Encoding)
		if !ok {
			body = io.NewSectionReader(r, p.Body, p.End-p.Body)
		}
		if _, err := io.Copy(sum, body); err != nil {
			return Canonical{}, err
		}
		c.Files = append(c.Files, fmt.Sprintf("%s/%s %s %x", p.Type, p.Subtype, p.Filename(), sum.Sum(nil)))
	}
	slices.Sort(c.Files)
	return c, nil
}

// Differs says what is not the same in o, or "".
func (c Canonical) Differs(o Canonical) string {
	switch {
	case c.Header != o.Header:
		return "the header"
	case c.Text != o.Text:
		return "the text"
	case !slices.Equal(c.Files, o.Files):
		return "an attachment"
	}
	return ""
}

// canonicalHeader writes the fields that people see.
func canonicalHeader(e *message.Envelope) string {
	var b strings.Builder
	fmt.Fprintln(&b, strings.TrimSpace(e.MessageID))
	if t, err := message.ParseDate(e.Date); err == nil {
		fmt.Fprintln(&b, t.Unix())
	}
	fmt.Fprintln(&b, strings.Join(strings.Fields(message.DecodeHeader(e.Subject)), " "))
	for _, list := range [][]message.Address{e.From, e.To, e.Cc} {
		list = slices.Clone(list)
		slices.SortFunc(list, func(x, y message.Address) int {
			return cmp.Or(cmp.Compare(x.Host, y.Host), cmp.Compare(x.Mailbox, y.Mailbox))
		})
		for _, a := range list {
			fmt.Fprintf(&b, "%s@%s ", strings.ToLower(a.Mailbox), strings.ToLower(a.Host))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// canonicalText hashes text with its white space collapsed. The outermost
// header is not part of it.
type canonicalText struct {
	sum   hash.Hash
	space bool // the last byte was white space
	out   []byte
}

var _ message.FieldWriter = (*canonicalText)(nil)

// WriteField implements message.FieldWriter.
func (t *canonicalText) WriteField(string, string) {}

// Write implements io.Writer.
func (t *canonicalText) Write(p []byte) (int, error) {
	t.out = t.out[:0]
	for _, c := range p {
		if c < 0x80 && unicode.IsSpace(rune(c)) {
			t.space = true
			continue
		}
		if t.space {
			t.out = append(t.out, ' ')
		}
		t.space = false
		t.out = append(t.out, c)
	}
	t.sum.Write(t.out)
	return len(p), nil
}

// readerAt returns r's bytes so that they can be read twice.
func readerAt(ctx context.Context, r io.Reader, dir string) (b *Bytes, at io.ReaderAt, err error) {
	b, err = SpoolBytes(ctx, r, dir, 0)
	if err != nil {
		return nil, nil, err
	}
	if b.file != nil {
		return b, b.file, nil
	}
	return b, bytes.NewReader(b.memory), nil
}
