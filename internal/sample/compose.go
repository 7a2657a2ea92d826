package sample

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"

	"expost/internal/message"
)

// letter is a message that is being written.
type letter struct {
	bytes.Buffer
	r    *rand.Rand
	org  *Org
	talk talk
	n    int // of the talk
	turn int
	size int    // to reach, bytes
	lang string // of the text
}

// compose writes a turn of talk n. The result depends on nothing else, so that
// every mailbox that has the message has the same bytes.
func (o *Org) compose(n, turn int) []byte {
	l := &letter{r: o.random(forMessage, n, turn), org: o, talk: o.talks[n], n: n, turn: turn, lang: "en"}
	size := float64(o.opt.Size) * math.Exp(1.5*l.r.NormFloat64())
	l.size = int(min(max(size, float64(o.opt.MinSize)), float64(o.opt.MaxSize)))
	if member := l.talk.members[l.talk.author(turn)]; member != outsider && oneIn(l.r, 2) {
		l.lang = o.People[member].Locale
	}
	switch k := l.r.IntN(100); {
	case l.talk.kind == talkNews || l.talk.kind == talkJunk:
		l.alternative()
	case l.size > 16<<10 || k < 15:
		l.mixed()
	case k < 45:
		l.plain("us-ascii", nil, "7bit")
	case k < 60:
		l.plain("utf-8", nil, "quoted-printable")
	case k < 68:
		l.plain("utf-8", nil, "8bit")
	case k < 85:
		l.alternative()
	case k < 92 && l.turn > 0:
		l.forwarded()
	case k < 96:
		l.raw()
	case k < 98:
		l.lang = "ja"
		l.plain("iso-2022-jp", japanese.ISO2022JP, "7bit")
	default:
		l.bounce()
	}
	return l.Bytes()
}

// line writes a line.
func (l *letter) line(format string, args ...any) {
	fmt.Fprintf(&l.Buffer, format, args...)
	l.WriteString("\r\n")
}

// address returns a member of the talk as it stands in a header.
func (l *letter) address(member int) string {
	a := netmail.Address{}
	if member == outsider {
		a.Name, a.Address = l.outsider()
	} else {
		p := l.org.People[member]
		a.Name, a.Address = p.Name, string(p.Address)
	}
	return a.String()
}

// outsider returns name and address of the one who is none of the people.
func (l *letter) outsider() (name, address string) {
	type party struct{ name, address string }
	parties := []party{
		{"Müller & Söhne GmbH", "info@mueller-soehne.example"}, {"顧客サポート", "support@example.jp"}, {"Иван Кузнецов", "ivan@example.ru"},
		{"Acme, Inc.", "sales@acme.example"}, {"", "orders@example.com"}, {"Maria Garcia", "maria.garcia@example.org"},
	}
	switch l.talk.kind {
	case talkNews:
		parties = []party{{"Linux Weekly", "news@lists.example.net"}, {"[ilug-delhi] digest", "ilug-delhi@lists.example.org"}}
	case talkJunk:
		parties = []party{{"Mr. B. Sese", "winner@example.biz"}, {"=?", "offer@example.biz"}}
	}
	p := parties[l.talk.topic%len(parties)]
	return p.name, p.address
}

// messageID returns the id of a turn of the talk.
func (l *letter) messageID(turn int) string {
	return fmt.Sprintf("<%x.%d.%d@%s>", l.org.opt.Seed+0xE5, l.n, turn, l.org.opt.Domain)
}

// header writes the fields that every message has. Where encode is nil, the
// subject stands in encoded words.
func (l *letter) header(encode func(string) string) {
	if encode == nil {
		encode = message.EncodeHeader
	}
	author := l.talk.author(l.turn)
	sent := l.sent()
	l.line("Received: from ex%02d.%s ([192.0.2.%d]) by mail.%s with Microsoft SMTPSVC(5.0.2195.6713);\r\n\t %s",
		1+l.r.IntN(3), l.org.opt.Domain, 1+l.r.IntN(250), l.org.opt.Domain, sent)
	l.line("Message-ID: %s", l.messageID(l.turn))
	l.line("Date: %s", sent)
	l.line("From: %s", l.address(l.talk.members[author]))
	var to, cc []string
	for i, member := range l.talk.members {
		switch {
		case i == author && len(l.talk.members) > 1:
		case len(to) < 2:
			to = append(to, l.address(member))
		default:
			cc = append(cc, l.address(member))
		}
	}
	l.line("To: %s", strings.Join(to, ",\r\n\t"))
	if cc != nil {
		l.line("Cc: %s", strings.Join(cc, ",\r\n\t"))
	}
	subject := l.subject()
	if l.turn > 0 {
		subject = pick(l.r, []string{"Re: ", "RE: ", "AW: ", "Re[2]: "}) + subject
		l.line("In-Reply-To: %s", l.messageID(l.turn-1))
		refs := make([]string, 0, l.turn)
		for i := range l.turn {
			refs = append(refs, l.messageID(i))
		}
		l.line("References: %s", strings.Join(refs, "\r\n\t"))
	}
	l.line("Subject: %s", encode(subject))
	l.line("X-Mailer: %s", pick(l.r, []string{"Microsoft Outlook, Build 10.0.4510", "Microsoft Outlook Express 6.00.2800.1158", "Internet Mail Service (5.5.2653.19)"}))
	l.line("MIME-Version: 1.0")
}

// sent returns the Date of the message in its author's zone.
func (l *letter) sent() string {
	zone := pick(l.r, []int{-480, -300, 0, 60, 330, 540})
	if member := l.talk.members[l.talk.author(l.turn)]; member != outsider {
		zone = l.org.People[member].Zone
	}
	return inZone(l.talk.date(l.turn), zone).Format(time.RFC1123Z)
}

// subject returns the talk's subject, the same for all its messages.
func (l *letter) subject() string {
	r := l.org.random(forMessage, l.n, 1<<30)
	if l.talk.kind == talkJunk {
		return pick(r, []string{"URGENT BUSINESS PROPOSAL", "Re: your account", "Gewinnbenachrichtigung für Sie!"})
	}
	return pick(r, []string{"Quarterly report", "Meeting on Monday", "Angebot für Müller & Söhne", "Цены на 2004 год", "お見積りの件", "Re-print of the March issue",
		"Rechnung für September", "Qmail server", "Café crème", "Leave application", "PO 4711/2004", "[ticket #1023] printer"}) + fmt.Sprintf(" (%d)", l.talk.topic)
}

// text returns lines of words, of about size bytes.
func (l *letter) text(lang string, size int) string {
	words := vocabulary(lang)
	var b strings.Builder
	for column := 0; b.Len() < size; {
		w := pick(l.r, words)
		switch {
		case column+len(w) > 70:
			b.WriteString("\r\n")
			if column = 0; oneIn(l.r, 8) {
				b.WriteString("\r\n")
			}
		case column > 0:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(w)
		column += len(w)
	}
	b.WriteString("\r\n")
	return b.String()
}

// plain writes a message of one text part.
func (l *letter) plain(charset string, enc encoding.Encoding, transfer string) {
	if charset == "us-ascii" {
		l.lang = "en"
	}
	l.header(nil)
	l.line("Content-Type: text/plain; charset=\"%s\"", charset)
	l.line("Content-Transfer-Encoding: %s\r\n", transfer)
	body := l.text(l.lang, l.size-l.Len())
	if enc != nil {
		body, _ = encoding.ReplaceUnsupported(enc.NewEncoder()).String(body)
	}
	if transfer == "quoted-printable" {
		l.quoted(body)
		return
	}
	l.WriteString(body)
}

// raw writes a message as programs did that knew no MIME: Latin-1 everywhere.
func (l *letter) raw() {
	latin1 := func(s string) string {
		s, _ = encoding.ReplaceUnsupported(charmap.Windows1252.NewEncoder()).String(s)
		return strings.ReplaceAll(s, "\x1a", "?")
	}
	l.header(latin1)
	l.line("")
	l.WriteString(latin1(l.text("de", l.size-l.Len())))
}

// quoted writes s as quoted-printable.
func (l *letter) quoted(s string) {
	w := quotedprintable.NewWriter(&l.Buffer)
	w.Write([]byte(s)) // a Buffer takes everything
	w.Close()
}

// multipart writes the Content-Type of a multipart and returns its boundary.
func (l *letter) multipart(subtype string) string {
	boundary := fmt.Sprintf("----=_NextPart_%03d_%04X_01C%05X.%08X", l.r.IntN(1000), l.r.IntN(1<<16), l.r.IntN(1<<20), l.r.Uint32())
	l.line("Content-Type: multipart/%s;\r\n\tboundary=\"%s\"\r\n", subtype, boundary)
	return boundary
}

// alternative writes a message of text and HTML.
func (l *letter) alternative() {
	l.header(nil)
	boundary := l.multipart("alternative")
	l.line("This is a multi-part message in MIME format.\r\n")
	l.alternatives(boundary, l.size/2)
}

// alternatives writes the parts of a multipart/alternative, each of size bytes.
func (l *letter) alternatives(boundary string, size int) {
	text := l.text(l.lang, size)
	l.line("--%s\r\nContent-Type: text/plain;\r\n\tcharset=\"utf-8\"\r\nContent-Transfer-Encoding: quoted-printable\r\n", boundary)
	l.quoted(text)
	l.line("\r\n--%s\r\nContent-Type: text/html;\r\n\tcharset=\"utf-8\"\r\nContent-Transfer-Encoding: quoted-printable\r\n", boundary)
	l.quoted("<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.0 Transitional//EN\">\r\n<html><head><style>p { margin: 0 }</style></head><body>\r\n<p>" +
		strings.ReplaceAll(strings.TrimSpace(text), "\r\n\r\n", "</p>\r\n<p>") + "</p>\r\n</body></html>\r\n")
	l.line("\r\n--%s--", boundary)
}

// mixed writes a message with an attachment that fills it up.
func (l *letter) mixed() {
	l.header(nil)
	boundary := l.multipart("mixed")
	l.line("This is a multi-part message in MIME format.\r\n\r\n--%s", boundary)
	inner := l.multipart("alternative")
	l.alternatives(inner, min(l.size/6, 3000))
	l.line("")
	kinds := []struct{ typ, name, magic string }{
		{"application/pdf", "Angebot 2004 - Müller & Söhne.pdf", "%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"},
		{"image/png", "photo.png", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"},
		{"application/msword", "Report, final (2).doc", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"},
		{"application/zip", "見積書.zip", "PK\x03\x04"},
		{"text/csv", "phones.csv", "Name,Phone\r\n"},
	}
	kind := pick(l.r, kinds)
	param := message.Param{Name: "filename", Value: kind.name}
	name, value := param.ASCII()
	if name == "filename" {
		value = "\"" + value + "\""
	}
	l.line("--%s\r\nContent-Type: %s;\r\n\tname=\"%s\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n\t%s=%s\r\n",
		boundary, kind.typ, message.EncodeHeader(kind.name), name, value)
	l.attach(kind.magic, max(l.size-l.Len(), 600)*3/4)
	l.line("--%s--", boundary)
}

// attach writes n bytes that begin with magic as base64.
func (l *letter) attach(magic string, n int) {
	data := append(make([]byte, 0, n+8), magic...)
	for len(data) < n {
		v := l.r.Uint64()
		data = append(data, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	}
	encoded := base64.StdEncoding.EncodeToString(data)
	for len(encoded) > 76 {
		l.WriteString(encoded[:76])
		l.WriteString("\r\n")
		encoded = encoded[76:]
	}
	l.line("%s", encoded)
}

// forwarded writes a message that holds the one before as message/rfc822.
func (l *letter) forwarded() {
	l.header(nil)
	boundary := l.multipart("mixed")
	l.line("--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n", boundary)
	l.WriteString(l.text("en", l.size/4))
	l.line("\r\n--%s\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment\r\n", boundary)
	inner := &letter{r: l.r, org: l.org, talk: l.talk, n: l.n, turn: l.turn - 1, lang: "en", size: l.size / 2}
	inner.alternative()
	l.Write(inner.Bytes())
	l.line("\r\n--%s--", boundary)
}

// bounce writes a message that carries the report of a failed delivery.
func (l *letter) bounce() {
	l.header(nil)
	boundary := l.multipart("report; report-type=delivery-status")
	l.line("--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n", boundary)
	l.line("Your message did not reach some or all of the intended recipients.\r\n")
	l.WriteString(l.text("en", max(l.size-l.Len()-600, 80)))
	l.line("\r\n--%s\r\nContent-Type: message/delivery-status\r\n", boundary)
	l.line("Reporting-MTA: dns; mail.%s\r\n\r\nFinal-Recipient: rfc822; nobody@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n", l.org.opt.Domain)
	l.line("--%s\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: %s\r\n\r\n--%s--", boundary, message.EncodeHeader(l.subject()), boundary)
}

// vocabulary returns words of a language.
func vocabulary(lang string) []string {
	switch lang {
	case "de":
		return strings.Fields("der die das und ist nicht für über Größe Straße schöne Grüße Angebot Rechnung bitte können wir Ihnen morgen Übergabe Lieferung Vertrag prüfen fällig Müller Büro während Besprechung am Montag heute später")
	case "fr":
		return strings.Fields("le la les et est pas pour à être déjà facture réunion société bonjour merci délai équipe où ça après français lundi prochain nous vous été contrat détails")
	case "ru":
		return strings.Fields("и в не на что это как договор счёт встреча понедельник отчёт сервер почта пожалуйста спасибо цена заказ сегодня завтра клиент москва")
	case "ja":
		return strings.Fields("お世話になっております 見積書 を 添付 いたします 会議 は 月曜日 です よろしく お願い 致します 顧客 東京 納期 確認 請求書 ありがとう ございます")
	}
	return strings.Fields("the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you were all she there would their we him been has when who will more no if out so said what up its about into than them can only other new some could time these two may then do first any my now such like our over man me even most made after also did many before must through back years where much your way well down should because each just those people how too little state good very make world still own see men work long get here between both life being under never day same another know while last might us great old year off come since against go came right used take three server mailbox migration report address quarterly printer meeting invoice")
}
