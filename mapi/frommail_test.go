package mapi_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"expost/mapi"
)

const sampleMail = "From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nTo: a@example.org, \"B, C\" <b@example.org>\r\nBcc: d@example.org\r\n" +
	"Subject: RE: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Thu, 01 May 2003 12:30:15 +0530\r\nMessage-ID: <1@example.org>\r\nImportance: high\r\n" +
	"X-Odd: kept as it is\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\npreamble\r\n" +
	"--m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n--r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n" +
	"--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe =\r\nan =ZZ alle\r\n" +
	"--a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Gr\u00fc\u00dfe <img src=\"cid:1\"></p>\r\n--a--\r\n" +
	"--r\r\nContent-Type: image/png; name=x.png\r\nContent-ID: <1>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBO\r\nRw0K!Ggo\r\n--r--\r\n" +
	"--m\r\nContent-Type: message/rfc822\r\n\r\nFrom: x@example.org\r\nSubject: inner\r\nDate: Thu, 01 May 2003 12:30:15 +0530\r\n\r\ninside\r\n" +
	"--m\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''%E2%82%AC.pdf\r\n\r\n%PDF\r\n--m--\r\nepilogue\r\n"

func TestFromMail(t *testing.T) {
	t.Parallel()
	received := time.Date(2003, 5, 1, 8, 0, 0, 0, time.UTC)
	m, err := mapi.FromMail(strings.NewReader(sampleMail), int64(len(sampleMail)),
		mapi.MailMarks{Flags: []string{`\Seen`, `\Answered`, `\Flagged`}, Keywords: []string{"Red", "Blue"}, Received: received})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	mail, err := (&mapi.Converter{}).Convert(&out, m)
	if err != nil || len(mail.Problems) > 0 {
		t.Fatal(err, mail.Problems)
	}
	got := out.String()
	for _, want := range []string{
		"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\n", "To: a@example.org, \"B, C\" <b@example.org>\r\n", "X-Odd: kept as it is\r\n", "Message-ID: <1@example.org>\r\n",
		"Date: Thu, 01 May 2003 12:30:15 +0530\r\n", "Gr=C3=BC=C3=9Fe an =3DZZ alle", "<p>Gr=C3=BC=C3=9Fe <img src=3D\"cid:1\"></p>", "Content-ID: <1>\r\n", "iVBORw0KGgo=\r\n",
		"Content-Type: multipart/related", "Content-Type: message/rfc822\r\n", "Subject: inner\r\n", "inside", "utf-8''%E2%82%AC.pdf", "JVBERg==\r\n", "Bcc: d@example.org\r\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if want := []string{`\Seen`, `\Answered`, `\Flagged`}; !slices.Equal(mail.Flags, want) {
		t.Errorf("flags %q, want %q", mail.Flags, want)
	}
	if !slices.Equal(mail.Keywords, []string{"Red", "Blue"}) || !mail.Received.Equal(received) {
		t.Errorf("keywords %q, received %v", mail.Keywords, mail.Received)
	}
}

// TestSignedMailStays checks that S/MIME goes there and back byte for byte.
func TestSignedMailStays(t *testing.T) {
	t.Parallel()
	const entity = "Content-Type: multipart/signed; micalg=sha1; protocol=\"application/pkcs7-signature\"; boundary=s\r\n\r\n" +
		"--s\r\nContent-Type: text/plain\r\n\r\n  exactly  this \r\n--s\r\nContent-Type: application/pkcs7-signature\r\n\r\nMII\r\n--s--\r\n"
	const mail = "From: x@example.org\r\nSubject: signed\r\nMessage-ID: <2@example.org>\r\nDate: Thu, 01 May 2003 12:30:15 +0530\r\n" + entity
	m, err := mapi.FromMail(strings.NewReader(mail), int64(len(mail)), mapi.MailMarks{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := (&mapi.Converter{}).Convert(&out, m); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), entity) {
		t.Errorf("the signed entity changed:\n%s", out.String())
	}
}

func FuzzFromMail(f *testing.F) {
	for class, file := range map[string]string{
		"IPM.Appointment": "text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\nBEGIN:STANDARD\r\nDTSTART:16011104T020000\r\nTZOFFSETTO:-0500\r\nRRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=11\r\n" +
			"END:STANDARD\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;TZID=X:20221204T080000\r\nRRULE:FREQ=MONTHLY;BYDAY=1SU;COUNT=3\r\nEXDATE:20230101T080000\r\nATTENDEE:mailto:a@example.org\r\nEND:VEVENT\r\n" +
			"BEGIN:VEVENT\r\nRECURRENCE-ID:20230205T080000\r\nDTSTART:20230206T080000\r\nDESCRIPTION:x\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
		"IPM.Task":     "text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VTODO\r\nDUE:20221204\r\nRRULE:FREQ=DAILY\r\nEND:VTODO\r\nEND:VCALENDAR\r\n",
		"IPM.DistList": "text/vcard\r\n\r\nBEGIN:VCARD\r\nFN:L\r\nMEMBER;X-CN=\"a:b\":mailto:a@example.org\r\nEND:VCARD\r\n",
	} {
		f.Add([]byte("X-MS-Message-Class: " + class + "\r\nContent-Type: " + file))
	}
	f.Add([]byte(sampleMail))
	f.Add([]byte("X-MS-Message-Class: IPM.Contact\r\nContent-Type: text/vcard\r\n\r\nBEGIN:VCARD\r\nN;SORT-AS=\"a:b\":a;b\\;c;;d\r\nTEL;TYPE=\"work,voice\":1\r\nADR;TYPE=work:;;x\r\nBDAY:19700203\r\n"))
	files, _ := filepath.Glob("../../shared/fixtures/eml/*")
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && len(b) < 20000 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := mapi.FromMail(bytes.NewReader(b), int64(len(b)), mapi.MailMarks{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (&mapi.Converter{}).Convert(io.Discard, m); err != nil {
			t.Fatal(err)
		}
	})
}

// TestContactThereAndBack makes mail of a contact and a contact of that mail.
func TestContactThereAndBack(t *testing.T) {
	t.Parallel()
	m := &mapi.Item{}
	text := func(id uint16, s string) { m.Set(mapi.NewTag(id, mapi.TypeString), s) }
	text(0x001A, "IPM.Contact")
	text(0x3001, "Dr. Jörg A; Müller")
	text(0x3A06, "Jörg")
	text(0x3A11, "A; Müller")
	text(0x3A45, "Dr.")
	text(0x3A16, "Acme, Inc.")
	text(0x3A18, "Sales")
	text(0x3A08, "+49 30 1")
	text(0x3A1B, "+49 30 2")
	text(0x3A1C, "+49 170 3")
	text(0x1000, "likes\r\ntea")
	text(0x3A59, "Berlin")
	m.Set(mapi.NewTag(0x3A42, mapi.TypeTime), mapi.TimeOf(time.Date(1970, 2, 3, 0, 0, 0, 0, time.UTC)))
	for i, id := range []uint32{0x8082, 0x8083, 0x8084, 0x8045} {
		m.SetName(uint16(0x8100+i), mapi.Name{Set: mapi.SetAddress, ID: id})
		text(uint16(0x8100+i), []string{"SMTP", "joerg@example.org", "Jörg: \"J\"", "Weg 1"}[i])
	}
	want, ok := (&mapi.Converter{}).Contact(m)
	if !ok {
		t.Fatal("no contact")
	}
	var out bytes.Buffer
	if _, err := (&mapi.Converter{}).Convert(&out, m); err != nil {
		t.Fatal(err)
	}
	back, err := mapi.FromMail(bytes.NewReader(out.Bytes()), int64(out.Len()), mapi.MailMarks{})
	if err != nil {
		t.Fatal(err)
	}
	got, ok := (&mapi.Converter{}).Contact(back)
	if !ok {
		t.Fatal("the mail is no contact")
	}
	want.FileAs, got.FileAs = "", ""
	want.Emails[0].Name = strings.ReplaceAll(want.Emails[0].Name, `"`, "'") // no parameter can hold it
	if w, g := fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got); w != g {
		t.Errorf("contact is\n%s\nwant\n%s", g, w)
	}
	if len(back.Attached) != 0 {
		t.Errorf("%d attachments are left", len(back.Attached))
	}
}
