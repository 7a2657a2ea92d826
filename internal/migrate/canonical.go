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

	"golang.org/x/text/encoding/htmlindex"

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
	parser := message.NewParser(message.Limits{}, nil)
	if _, err := io.Copy(parser, bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10)); err != nil {
		return Canonical{}, err
	}
	m := parser.Finish()
	text := newCanonicalText()
	c := Canonical{Header: canonicalHeader(&m.Envelope)}
	for i := range m.Parts {
		p := &m.Parts[i]
		if len(m.Children(i)) > 0 {
			continue
		}
		var body io.Reader = io.NewSectionReader(r, p.Body, p.End-p.Body)
		if decoded, ok := message.NewTransferReader(body, p.Encoding); ok {
			body = decoded
		}
		if p.Type != "text" {
			sum := sha256.New()
			if _, err := io.Copy(sum, body); err != nil {
				return Canonical{}, err
			}
			c.Files = append(c.Files, fmt.Sprintf("%s/%s %s %x", p.Type, p.Subtype, p.Filename(), sum.Sum(nil)))
			continue
		}
		if enc, err := htmlindex.Get(p.Param("charset")); err == nil {
			body = enc.NewDecoder().Reader(body)
		}
		to := text
		if p.Filename() != "" {
			to = newCanonicalText()
		}
		if _, err := io.Copy(to, body); err != nil {
			return Canonical{}, err
		}
		if p.Filename() != "" {
			c.Files = append(c.Files, fmt.Sprintf("text/%s %s %x", p.Subtype, p.Filename(), to.sum.Sum(nil)))
		}
	}
	slices.Sort(c.Files)
	c.Text = hex.EncodeToString(text.sum.Sum(nil))
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

// MendedName is the file name of the original in the copy that a target has made
// of a message which its server does not take as it is.
const MendedName = "original.eml"

// mendedOf tells whether the message is such a copy of that with the hash.
func (c Canonical) mendedOf(h Hash) bool {
	return slices.Contains(c.Files, fmt.Sprintf("application/octet-stream %s %x", MendedName, h))
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

// canonicalText hashes text with its white space collapsed.
type canonicalText struct {
	sum   hash.Hash
	space bool // the last byte was white space
	any   bool // there was something before
	out   []byte
}

func newCanonicalText() *canonicalText { return &canonicalText{sum: sha256.New()} }

// Write implements io.Writer.
func (t *canonicalText) Write(p []byte) (int, error) {
	t.out = t.out[:0]
	for _, c := range p {
		if c < 0x80 && unicode.IsSpace(rune(c)) {
			t.space = true
			continue
		}
		if t.space && t.any {
			t.out = append(t.out, ' ')
		}
		t.space, t.any = false, true
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
