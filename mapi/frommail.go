package mapi

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	netmail "net/mail"
	"slices"
	"strings"
	"time"
)

// MailMarks are what a mailbox knows of a message beside its bytes.
type MailMarks struct {
	Flags    []string // \Seen, \Answered, \Flagged, \Draft, \Deleted, and keywords that begin with "$"
	Keywords []string // others: the categories
	Received time.Time
}

// FromMail makes a message object of a mail of size bytes, the inverse of
// Converter: the header stays as it is beside the properties made of it, S/MIME
// stays one piece, messages within become embedded ones, and attachments are read
// and decoded when they are opened, as long as r can be read. Mail that is not
// well-formed is taken as far as it goes; an error is r's.
func FromMail(r io.ReaderAt, size int64, marks MailMarks) (*Item, error) {
	f := &fromMail{item: &Item{}, r: r}
	if err := f.read(0, size, 0); err != nil {
		return nil, fmt.Errorf("reading a mail: %w", err)
	}
	f.marks(marks)
	return f.item, nil
}

// Limits of what is made of one mail.
const (
	maxHeader = 1 << 20
	maxParts  = 10000
	maxNested = 20
	maxText   = 64 << 20
)

// The tags that FromMail sets.
const (
	tagClass    = Tag(idMessageClass)<<16 | Tag(TypeString)
	tagBody     = Tag(idBody)<<16 | Tag(TypeString)
	tagHTML     = Tag(idHTML)<<16 | Tag(TypeBinary)
	tagFlags    = Tag(idMessageFlags)<<16 | Tag(TypeInt32)
	tagKeywords = Tag(0x80000000) | Tag(TypeString|MultiValued)
	tagOthers   = Tag(0x80010000) | Tag(TypeString|MultiValued)
)

// fromMail is the reading of one mail.
type fromMail struct {
	item   *Item
	r      io.ReaderAt
	header fields
	parts  int
	depth  int  // messages around it
	card   bool // it is no mail, made of its vCard or iCalendar object
	named  uint16
	texts  []*Item // attachments that are texts without a name
}

// section is a part of the mail: where it lies and what its header says.
type section struct {
	from, to int64 // of its body
	start    int64 // of its header
	header   fields
	kind     string
	params   map[string]string
	related  bool // within multipart/related
}

// read reads a message.
func (f *fromMail) read(from, to int64, depth int) error {
	f.depth = depth
	s, raw, err := f.section(from, to)
	if err != nil {
		return err
	}
	f.header = s.header
	f.item.Set(tagClass, "IPM.Note")
	f.item.Set(NewTag(idTransportHeaders, TypeString), raw)
	f.item.Set(NewTag(idInternetCodepage, TypeInt32), int32(65001))
	f.item.SetName(0x8000, Name{Set: SetPublicStrings, String: "Keywords"})
	f.item.SetName(0x8001, keywordsName)
	f.envelope()
	switch {
	case s.kind == "multipart/signed":
		return f.smime(s, "IPM.Note.SMIME.MultipartSigned", "multipart/signed", "smime.p7s")
	case s.kind == "application/pkcs7-mime" || s.kind == "application/x-pkcs7-mime":
		f.item.Set(tagClass, "IPM.Note.SMIME")
		f.attach(s)
		return nil
	}
	return f.part(s, 0)
}

// section reads the header of an entity.
func (f *fromMail) section(from, to int64) (*section, string, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(f.r, from, to-from), 4096)
	var raw strings.Builder
	n := int64(0)
	for {
		line, err := in.ReadSlice('\n')
		n += int64(len(line))
		if raw.Len() < maxHeader {
			raw.Write(line)
		}
		if err == io.EOF || err == nil && len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		if err != nil && err != bufio.ErrBufferFull {
			return nil, "", err
		}
	}
	text := strings.ToValidUTF8(raw.String(), "\uFFFD")
	s := &section{from: from + n, to: to, start: from, header: parseFields(text), kind: "text/plain"}
	if kind, params, err := mime.ParseMediaType(s.header.get("Content-Type")); err == nil || err == mime.ErrInvalidMediaParameter {
		s.kind, s.params = kind, params
	}
	return s, text, nil
}

// part puts an entity where it belongs in the message.
func (f *fromMail) part(s *section, depth int) error {
	if f.parts++; f.parts > maxParts {
		return nil
	}
	disposition, _, _ := strings.Cut(s.header.get("Content-Disposition"), ";")
	attached := strings.EqualFold(strings.TrimSpace(disposition), "attachment")
	switch {
	case strings.HasPrefix(s.kind, "multipart/") && s.params["boundary"] != "" && depth < maxNested:
		return f.multipart(s, depth)
	case s.kind == "message/rfc822" && f.depth < maxNested && identity(s.header.get("Content-Transfer-Encoding")):
		return f.embedded(s)
	case (s.kind == "text/plain" || s.kind == "text/html") && !attached && s.to-s.from < maxText && f.body(s):
		return nil
	}
	f.attach(s)
	return nil
}

// multipart reads the parts between the lines of a boundary.
func (f *fromMail) multipart(s *section, depth int) error {
	mark := []byte("--" + s.params["boundary"])
	in := bufio.NewReaderSize(io.NewSectionReader(f.r, s.from, s.to-s.from), 64<<10)
	at, start, fresh := s.from, int64(-1), true
	var bounds [][2]int64
	for {
		line, err := in.ReadSlice('\n')
		if fresh && bytes.HasPrefix(line, mark) {
			rest := bytes.TrimRight(line[len(mark):], " \t\r\n")
			if len(rest) == 0 || bytes.Equal(rest, []byte("--")) {
				if start >= 0 {
					bounds = append(bounds, [2]int64{start, f.endOf(start, at)})
				}
				start = at + int64(len(line))
				if len(rest) > 0 {
					start = -1
					break
				}
			}
		}
		at += int64(len(line))
		fresh = err == nil
		if err == io.EOF {
			break
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
	if start >= 0 { // the last line is missing
		bounds = append(bounds, [2]int64{start, s.to})
	}
	for _, b := range bounds {
		p, _, err := f.section(b[0], b[1])
		if err != nil {
			return err
		}
		p.related = s.kind == "multipart/related" || s.related
		if err := f.part(p, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// endOf returns where a part ends whose boundary's line is at to: before the line
// end in front of it.
func (f *fromMail) endOf(from, to int64) int64 {
	b := make([]byte, 2)
	for n := int64(2); n > 0; n-- {
		if to-n < from {
			continue
		}
		if _, err := f.r.ReadAt(b[:n], to-n); err == nil && (n == 2 && string(b) == "\r\n" || n == 1 && b[0] == '\n') {
			return to - n
		}
	}
	return to
}

// embedded adds a message within the message.
func (f *fromMail) embedded(s *section) error {
	inner := &fromMail{item: &Item{}, r: f.r}
	if err := inner.read(s.from, s.to, f.depth+1); err != nil {
		return err
	}
	inner.marks(MailMarks{Flags: []string{`\Seen`}})
	a := &Item{Embedded: inner.item}
	a.Set(NewTag(idAttachMethod, TypeInt32), int32(attachEmbedded))
	name, _ := inner.item.values[NewTag(idSubject, TypeString)].(string)
	a.Set(NewTag(idDisplayName, TypeString), firstOf(name, "message"))
	f.item.Attached = append(f.item.Attached, a)
	return nil
}

// body takes a part as the text of the message, if it has none of its kind yet.
func (f *fromMail) body(s *section) bool {
	tag := tagBody
	if s.kind == "text/html" {
		tag = tagHTML
	}
	if _, ok := f.item.values[tag]; ok || len(f.item.Attached) > 0 && tag == tagBody {
		return false
	}
	b, err := io.ReadAll(s.decoded(f.r))
	if err != nil && len(b) == 0 && s.to > s.from {
		return false
	}
	text := decodeCharset(s.params["charset"], b)
	if tag == tagHTML {
		f.item.Set(tag, []byte(text))
	} else {
		f.item.Set(tag, text)
	}
	return true
}

// decodeCharset decodes text; of a charset that is not known it is taken to be
// UTF-8 or Windows-1252.
func decodeCharset(charset string, b []byte) string {
	return String8(b).Decode(charsetPage(charset))
}

// smime adds the whole entity as the one attachment that stands for it
// ([MS-OXOSMIME] 2.1.1).
func (f *fromMail) smime(s *section, class, kind, name string) error {
	f.item.Set(tagClass, class)
	start, to := s.from, s.to
	var head strings.Builder
	for _, h := range s.header {
		if strings.HasPrefix(strings.ToLower(h.name), "content-") {
			head.WriteString(h.name + ": " + h.value + "\r\n")
		}
	}
	head.WriteString("\r\n")
	a := &Item{}
	a.Set(NewTag(idAttachMethod, TypeInt32), int32(1))
	a.Set(NewTag(idAttachMIME, TypeString), kind)
	a.Set(NewTag(idAttachLongFilename, TypeString), name)
	open := func() io.Reader {
		return io.MultiReader(strings.NewReader(head.String()), io.NewSectionReader(f.r, start, to-start))
	}
	a.Set(NewTag(idAttachData, TypeBinary), Opener(func() (Stream, error) { return newLazyStream(open) }))
	f.item.Attached = append(f.item.Attached, a)
	return nil
}

// nameID returns the id of a named property.
func (f *fromMail) nameID(set GUID, id uint32) uint16 {
	name := Name{Set: set, ID: id}
	if t, ok := f.item.Lookup(name, TypeString); ok {
		return t.ID()
	}
	f.named++
	f.item.SetName(0x8010+f.named, name)
	return 0x8010 + f.named
}

// attach adds a part as a file.
func (f *fromMail) attach(s *section) {
	if f.contactItem(s) || f.calendarItem(s) {
		return
	}
	name := s.params["name"]
	if _, params, err := mime.ParseMediaType(s.header.get("Content-Disposition")); err == nil && params["filename"] != "" {
		name = params["filename"]
	}
	a := &Item{}
	if name == "" && s.kind == "text/plain" {
		f.texts = append(f.texts, a)
	}
	name = firstOf(decodeWords(name), f.madeName(s.kind))
	a.Set(NewTag(idAttachMethod, TypeInt32), int32(1))
	a.Set(NewTag(idAttachLongFilename, TypeString), name)
	a.Set(NewTag(idAttachFilename, TypeString), shortName(name))
	a.Set(NewTag(idDisplayName, TypeString), name)
	a.Set(NewTag(idAttachMIME, TypeString), s.kind)
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		a.Set(NewTag(idAttachExtension, TypeString), name[i:])
	}
	if id := strings.Trim(s.header.get("Content-ID"), "<> "); id != "" {
		a.Set(NewTag(idAttachContentID, TypeString), id)
	}
	if at := s.header.get("Content-Location"); at != "" {
		a.Set(NewTag(idAttachLocation, TypeString), at)
	}
	if f.card && name == "ContactPicture.jpg" && strings.HasPrefix(upper(f.header.get("X-MS-Message-Class")), "IPM.CONTACT") {
		a.Set(NewTag(idContactPhoto, TypeBool), true)
		f.set(SetAddress, 0x8015, TypeBool, true)
	}
	if s.related {
		a.Set(NewTag(idAttachFlags, TypeInt32), int32(4))
		a.Set(NewTag(idAttachHidden, TypeBool), true)
	}
	a.Set(NewTag(idAttachData, TypeBinary), Opener(func() (Stream, error) { return newLazyStream(func() io.Reader { return s.decoded(f.r) }) }))
	f.item.Attached = append(f.item.Attached, a)
}

// madeName makes a name for a part without one.
func (f *fromMail) madeName(kind string) string {
	ext := ".bin"
	if all, _ := mime.ExtensionsByType(kind); len(all) > 0 {
		ext = all[0]
	}
	switch kind {
	case "text/plain":
		ext = ".txt"
	case "text/html":
		ext = ".html"
	case "text/calendar":
		ext = ".ics"
	case "message/rfc822":
		ext = ".eml"
	}
	return fmt.Sprintf("part-%d%s", f.parts, ext)
}

// shortName is a name of DOS, which old programs read.
func shortName(s string) string {
	base, ext := s, ""
	if i := strings.LastIndexByte(s, '.'); i > 0 {
		base, ext = s[:i], s[i:]
	}
	clean := func(s string, n int) string {
		s = strings.Map(func(r rune) rune {
			if r > ' ' && r < 0x7F && !strings.ContainsRune(`.,;=+[]"/\:|<>*?`, r) {
				return r
			}
			return -1
		}, s)
		return s[:min(n, len(s))]
	}
	if ext = clean(ext, 3); ext != "" {
		ext = "." + ext
	}
	return firstOf(clean(base, 8), "FILE") + ext
}

func identity(encoding string) bool {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64", "quoted-printable":
		return false
	}
	return true
}

// envelope sets the properties of the header's fields.
func (f *fromMail) envelope() {
	set := func(id uint16, v string) {
		if v != "" {
			f.item.Set(NewTag(id, TypeString), v)
		}
	}
	subject := f.header.get("Subject")
	f.item.Set(NewTag(idSubject, TypeString), subject)
	prefix := subjectPrefix(subject)
	set(idSubjectPrefix, prefix)
	f.item.Set(NewTag(idNormalizedSubject, TypeString), subject[len(prefix):])
	set(idConversationTopic, firstOf(f.header.get("Thread-Topic"), subject[len(prefix):]))
	set(idMessageID, f.header.get("Message-ID"))
	set(idInReplyTo, f.header.get("In-Reply-To"))
	set(idReferences, f.header.get("References"))
	if b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(f.header.get("Thread-Index")), "")); err == nil && len(b) >= 22 {
		f.item.Set(NewTag(idConversationIndex, TypeBinary), b)
	}
	if at, err := netmail.ParseDate(f.header.get("Date")); err == nil {
		f.item.Set(NewTag(idClientSubmitTime, TypeTime), TimeOf(at))
	}
	switch strings.ToLower(f.header.get("Importance")) {
	case "high":
		f.item.Set(NewTag(idImportance, TypeInt32), int32(2))
	case "low":
		f.item.Set(NewTag(idImportance, TypeInt32), int32(0))
	}
	if n := slices.Index([]string{"personal", "private", "company-confidential"}, strings.ToLower(f.header.get("Sensitivity"))); n >= 0 {
		f.item.Set(NewTag(idSensitivity, TypeInt32), int32(n+1))
	}
	if f.header.has("Disposition-Notification-To") {
		f.item.Set(NewTag(idReadReceipt, TypeBool), true)
	}
	f.people()
}

// subjectPrefix returns what replies and forwards put before a subject.
func subjectPrefix(s string) string {
	i := strings.Index(s, ": ")
	if i < 1 || i > 3 || strings.ContainsAny(s[:i], " 0123456789") {
		return ""
	}
	return s[:i+2]
}

// people sets sender and recipients.
func (f *fromMail) people() {
	from := addresses(f.header.get("From"))
	sender := addresses(f.header.get("Sender"))
	if len(sender) == 0 {
		sender = from
	}
	set := func(a *netmail.Address, name, typ, email, smtp uint16) {
		f.item.Set(NewTag(name, TypeString), firstOf(a.Name, a.Address))
		f.item.Set(NewTag(typ, TypeString), "SMTP")
		f.item.Set(NewTag(email, TypeString), a.Address)
		f.item.Set(NewTag(smtp, TypeString), a.Address)
	}
	if len(from) > 0 {
		set(from[0], idRepresentingName, idRepresentingType, idRepresentingAddress, idRepresentingSMTP)
	}
	if len(sender) > 0 {
		set(sender[0], idSenderName, idSenderType, idSenderAddress, idSenderSMTP)
	}
	for i, name := range []string{"To", "Cc", "Bcc"} {
		var shown []string
		for _, a := range addresses(f.header.get(name)) {
			r := &Item{}
			r.Set(NewTag(idRecipientType, TypeInt32), int32(i+1))
			r.Set(NewTag(idDisplayName, TypeString), firstOf(a.Name, a.Address))
			r.Set(NewTag(idAddressType, TypeString), "SMTP")
			r.Set(NewTag(idEmailAddress, TypeString), a.Address)
			r.Set(NewTag(idSMTPAddress, TypeString), a.Address)
			r.Set(NewTag(idObjectType, TypeInt32), int32(objectMailUser))
			f.item.To = append(f.item.To, r)
			shown = append(shown, firstOf(a.Name, a.Address))
		}
		if len(shown) > 0 {
			f.item.Set(NewTag([]uint16{idDisplayTo, idDisplayCc, idDisplayBcc}[i], TypeString), strings.Join(shown, "; "))
		}
	}
}

// addresses parses a list of addresses, as far as it is one.
func addresses(s string) []*netmail.Address {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	if list, err := netmail.ParseAddressList(s); err == nil {
		return list
	}
	var out []*netmail.Address
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == ';' }) {
		name, addr, ok := strings.Cut(word, "<")
		if !ok {
			name, addr = "", word
		}
		if addr = strings.Trim(addr, "<> \t\r\n\""); isSMTP(addr) {
			out = append(out, &netmail.Address{Name: strings.Trim(name, " \t\r\n\""), Address: addr})
		}
	}
	return out
}

// marks sets what the mailbox knew of the message.
func (f *fromMail) marks(m MailMarks) {
	flags := int32(0)
	var verb int32
	var others []string
	for _, flag := range m.Flags {
		switch flag {
		case `\Seen`:
			flags |= 1
		case `\Draft`:
			flags |= 8
		case `\Flagged`:
			f.item.Set(NewTag(idFlagStatus, TypeInt32), int32(2))
		case `\Deleted`:
			f.item.Set(NewTag(idMessageStatus, TypeInt32), int32(8))
		case `\Answered`:
			verb = 102
		default:
			others = append(others, flag)
			if flag == "$Forwarded" && verb == 0 {
				verb = 104
			}
		}
	}
	if len(others) > 0 {
		f.item.Set(tagOthers, others)
	}
	f.item.Set(tagFlags, flags)
	if verb != 0 {
		f.item.Set(NewTag(idLastVerb, TypeInt32), verb)
		if !f.card {
			f.item.Set(NewTag(idIconIndex, TypeInt32), map[int32]int32{102: 261, 104: 262}[verb])
		}
	}
	received := m.Received
	if received.IsZero() {
		if t, ok := f.item.values[NewTag(idClientSubmitTime, TypeTime)].(Time); ok {
			received, _ = t.Time()
		}
	}
	if !received.IsZero() {
		t := TimeOf(received)
		for _, id := range []uint16{idDeliveryTime, idCreationTime, idModificationTime} {
			if _, known := f.item.values[NewTag(id, TypeTime)]; !known {
				f.item.Set(NewTag(id, TypeTime), t)
			}
		}
	}
	keywords := m.Keywords
	if len(keywords) == 0 {
		for k := range strings.SplitSeq(f.header.get("Keywords"), ",") {
			if k = strings.TrimSpace(k); k != "" {
				keywords = append(keywords, k)
			}
		}
	}
	if len(keywords) > 0 {
		f.item.Set(tagKeywords, keywords)
	}
}
