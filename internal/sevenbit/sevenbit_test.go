package sevenbit

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/message"
)

// text is a message in memory.
type text string

// WriteTo writes it in two pieces.
func (t text) WriteTo(w io.Writer) (int64, error) {
	half := len(t) / 2
	for _, s := range []text{t[:half], t[half:]} {
		if _, err := io.WriteString(w, string(s)); err != nil {
			return 0, err
		}
	}
	return int64(len(t)), nil
}

func crlf(s string) text { return text(strings.ReplaceAll(strings.TrimPrefix(s, "\n"), "\n", "\r\n")) }

func convert(s text, scope Scope) (string, error) {
	m, err := Convert(s, scope)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if n, err := m.WriteTo(&b); err != nil || n != m.Size || n != int64(b.Len()) {
		return "", mail.Errorf(mail.KindInternal, "%d bytes were written, %d announced: %v", n, m.Size, err)
	}
	if m.EightBit == mail.IsASCII(b.String()) {
		return "", mail.Errorf(mail.KindInternal, "EightBit is %v", m.EightBit)
	}
	return b.String(), nil
}

func TestConvert(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		scope    Scope
		in, want string
	}{
		"no MIME": {All, `
Subject: x

Grüße
- end ` + `
`, `
Subject: x
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe
=2D end=20
`},
		"a header alone": {Header, `
From: "Müller, Jörg" <joerg@bücher.example>
To: undisclosed: ;, Bob <bob@example.org>, <"a b"@example.org>
Subject: Grüße
Received: from x
 for <käse@x>
X-Plain: as it is
  folded

Grüße
`, `
From: =?utf-8?b?TcO8bGxlciwgSsO2cmc=?= <joerg@xn--bcher-kva.example>
To: undisclosed: ;, Bob <bob@example.org>, <"a b"@example.org>
Subject: =?utf-8?b?R3LDvMOfZQ==?=
Downgraded-Received: =?utf-8?q?from_x_for_<k=C3=A4se@x>?=
X-Plain: as it is
  folded

Grüße
`},
		"a multipart": {All, `
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b
Content-Transfer-Encoding: 8bit

vörwort
--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: 8bit

` + "gr\xfc\xdfe" + `
--b
Content-Type: image/x; name="bäh \"b\".x"

` + "\xff\xfe\x00\x01" + `
--b
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Subject: ä

aaaaaaaaaä
--b
Content-Type: text/plain

plain
--b--
`, `
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b
Content-Transfer-Encoding: 7bit

v??rwort
--b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: base64

Z3L832U=
--b
Content-Type: image/x;
 name*=utf-8''b%C3%A4h%20%22b%22.x
Content-Transfer-Encoding: base64

//4AAQ==
--b
Content-Type: message/rfc822
Content-Transfer-Encoding: 7bit

Subject: =?utf-8?b?w6Q=?=
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

aaaaaaaaa=C3=A4
--b
Content-Type: text/plain

plain
--b--
`},
		"encodings that are not kept to": {All, `
Content-Type: multipart/mixed; boundary=b

--b
Content-Transfer-Encoding: quoted-printable

a=3Db ä
--b
Content-Transfer-Encoding: base64

YWJj` + "\xa0" + `
--b--
`, `
Content-Type: multipart/mixed; boundary=b
MIME-Version: 1.0
Content-Transfer-Encoding: 7bit

--b
Content-Transfer-Encoding: quoted-printable

a=3Db =C3=A4
--b
Content-Transfer-Encoding: base64

YWJj*
--b--
`},
		"a signature beside 8-bit text": {All, `
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/signed; boundary=c
Content-Transfer-Encoding: 8bit

--c

-signed
--c--
--b

ääää
--b--
`, `
Content-Type: multipart/mixed; boundary=b
MIME-Version: 1.0
Content-Transfer-Encoding: 7bit

--b
Content-Type: multipart/signed; boundary=c
Content-Transfer-Encoding: 7bit

--c

-signed
--c--
--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

w6TDpMOkw6Q=
--b--
`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := convert(crlf(test.in), test.scope)
			if want := string(crlf(test.want)); err != nil || got != want {
				t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("Content-Type: message/rfc822\n\n", 120) + "Subject: x\n\nä\n"
	for want, in := range map[string]string{
		"digital signature":       "Content-Type: multipart/signed; boundary=b\n\n--b\n\nä\n--b--\n",
		"under a digital":         "Content-Type: multipart/signed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nä\n--c--\n--b--\n",
		"taken apart":             deep,
		"message/partial":         "Content-Type: message/partial\n\nä\n",
		`encoding "x-uuencode"`:   "Content-Transfer-Encoding: x-uuencode\n\nä\n",
		"boundary of a multipart": "Content-Type: multipart/mixed; boundary=\"ä\"\n\n--ä\n\nä\n--ä--\n",
		"address in its From":     "From: <ä@example.org>\n\nx\n",
		"no field":                "Subject: x\nnö field\n\nx\n",
		"more than":               "Subject: ä" + strings.Repeat("x", maxHeader) + "\n\nx\n",
	} {
		if got, err := convert(crlf(in), All); mail.KindOf(err) != mail.KindInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v\n%.300s", want, err, got)
		}
	}
}

// TestLong has lines and parts that are longer than any buffer.
func TestLong(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("0123456789 =", 10000)
	for _, body := range []string{line + "ä\r\n", strings.Repeat("ä", 100000), strings.Repeat("zeile ä\r\n", 30000)} {
		got, err := convert(text("Subject: x\r\n\r\n"+body), All)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(got) {
			if len(l) > lineLength+2 {
				t.Fatalf("a line has %d bytes", len(l))
			}
		}
		if back := leaves(t, text(got)); back[0] != strings.TrimSuffix(body, "\r\n") {
			t.Errorf("%d bytes came back as %d", len(body), len(back[0]))
		}
	}
}

// leaves returns the decoded bodies of a message's leaves.
func leaves(t testing.TB, s text) []string {
	p := message.NewParser(message.Limits{}, nil)
	_, _ = s.WriteTo(p)
	m := &Message{parts: p.Finish().Parts}
	var list []string
	for i, part := range m.parts {
		if !m.isLeaf(i) {
			continue
		}
		r, ok := message.NewTransferReader(strings.NewReader(string(s[part.Body:part.End])), part.Encoding)
		if !ok {
			r = strings.NewReader(string(s[part.Body:part.End]))
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if part.Encoding == "quoted-printable" || part.Encoding == "base64" {
			b = bytes.TrimSuffix(b, []byte("\r\n"))
		}
		list = append(list, string(b))
	}
	return list
}

// FuzzConvert checks that what comes out is ASCII, has the same parts, and means the same.
func FuzzConvert(f *testing.F) {
	f.Add("Subject: ä\r\n\r\nbödy \r\n-x\r\n")
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nä\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: ä <a@b>\r\n\r\n\xff\r\n--b--\r\n")
	f.Add("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\na\r\n--b--\r\nä")
	f.Add("Content-Transfer-Encoding: base64\r\n\r\nYWJj\xff\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ReplaceAll(strings.NewReplacer("\r", "", "\n", "\r\n").Replace(s), "\x00", "")
		for _, scope := range []Scope{Header, All} {
			got, err := convert(text(s), scope)
			if mail.KindOf(err) == mail.KindInvalid {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if scope == All && !mail.IsASCII(got) {
				t.Fatalf("8-bit bytes are left in %q", got)
			}
			before, after := leaves(t, text(s)), leaves(t, text(got))
			if scope == All && !slices.EqualFunc(before, after, same) {
				t.Fatalf("got the parts %q\nof %q, want %q", after, got, before)
			}
		}
	})
}

// same compares bodies as far as a conversion keeps them.
func same(a, b string) bool {
	return strings.TrimRight(a, "\r\n") == strings.TrimRight(b, "\r\n") || !mail.IsASCII(a) && strings.Contains(a, "=")
}
