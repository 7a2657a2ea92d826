package imapserver

import (
	"strings"

	"expost/internal/fulltext"
	"expost/internal/imapwire"
	"expost/internal/message"
	"expost/internal/store"
)

// make fills in the wanted parts of a card, but for the header, out of the
// parsed structure.
func (k *card) make(want part, m *message.Message, buf []byte) []byte {
	want = k.lacks(want)
	if e, found := locate(m, &imapwire.Section{Text: imapwire.SectionHeader}); found && e.from == 0 {
		k.headerEnd = e.to
	}
	if want&cardEnvelope != 0 {
		buf = imapwire.AppendEnvelope(buf[:0], &m.Envelope, false)
		k.envelope = string(buf)
	}
	if want&cardStructure != 0 {
		buf = imapwire.AppendBodyStructure(buf[:0], m, imapwire.StructureStyle{Extended: true})
		k.structure = string(buf)
	}
	if want&cardWords != 0 {
		buf = appendWords(buf[:0], &m.Envelope)
		k.words = string(buf)
	}
	return buf
}

// The fields of card.words, each behind a NUL.
const (
	wordsSubject = iota
	wordsFrom
	wordsTo
	wordsCc
	wordsBcc
)

// appendWords appends the fields of an envelope that people search, folded.
func appendWords(dst []byte, e *message.Envelope) []byte {
	dst = append(dst, 0)
	dst = fulltext.AppendFoldedString(dst, message.DecodeHeader(e.Subject))
	for _, list := range [...][]message.Address{e.From, e.To, e.Cc, e.Bcc} {
		dst = append(dst, 0)
		for i := range list {
			dst = appendAddress(dst, &list[i])
		}
	}
	return dst
}

// appendAddress appends an address as a header has it, folded, and a line end,
// over which no needle reaches.
func appendAddress(dst []byte, a *message.Address) []byte {
	dst = fulltext.AppendFoldedString(dst, message.DecodeHeader(a.Name))
	dst = fulltext.AppendFoldedString(append(dst, " <"...), a.Mailbox)
	dst = fulltext.AppendFoldedString(append(dst, '@'), a.Host)
	return append(dst, ">\n"...)
}

// inWords tells whether a field of words holds the needle.
func inWords(words string, field int, needle string) bool {
	for range field + 1 {
		words = words[strings.IndexByte(words, 0)+1:]
	}
	if end := strings.IndexByte(words, 0); end >= 0 {
		words = words[:end]
	}
	return strings.Contains(words, needle)
}

// readHeader fills in the header of a card, whose end is known.
func (k *card) readHeader(body *store.Body, limit int64) (err error) {
	if k.header, err = readHeader(body, whole(k.headerEnd), limit); k.header == "" {
		k.header = "\r\n" // of a message without a header
	}
	return err
}
