package message

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
)

// feed writes raw to p in the pieces in which a store reads.
func feed(p *Parser, raw []byte) *Message {
	const piece = 64 << 10
	for len(raw) > piece {
		p.Write(raw[:piece])
		raw = raw[piece:]
	}
	p.Write(raw)
	return p.Finish()
}

const benchHeader = "Received: from mx1.example.net (mx1.example.net [192.0.2.7])\r\n\tby mail.linuxforu.com (Postfix) with ESMTPS id 4D0C2A9\r\n\tfor <ajay@linuxforu.com>; Mon, 12 Jan 2004 10:11:12 +0530\r\n" +
	"Message-ID: <1.2.3@linuxforu.com>\r\nDate: Mon, 12 Jan 2004 10:11:12 +0530\r\nFrom: Biswajit Banerjee <biswajit@linuxforu.com>\r\nTo: \"Sharma, Ajay\" <ajay@linuxforu.com>,\r\n\tAnup <anup@linuxforu.com>\r\n" +
	"Subject: =?utf-8?Q?Re:_quarterly_report_=E2=82=B9?=\r\nIn-Reply-To: <0.2.3@linuxforu.com>\r\nReferences: <0.1.3@linuxforu.com>\r\n\t<0.2.3@linuxforu.com>\r\nX-Mailer: Microsoft Outlook 16.0\r\nMIME-Version: 1.0\r\n"

func benchMessages() map[string][]byte {
	line := strings.Repeat("the quick brown fox - ", 3) + "jumps\r\n"
	plain := strings.Repeat(line, (4<<20)/len(line))
	encoded := base64.StdEncoding.EncodeToString([]byte(plain))
	var wrapped strings.Builder
	for i := 0; i < len(encoded); i += 76 {
		wrapped.WriteString(encoded[i:min(i+76, len(encoded))] + "\r\n")
	}
	multipart := func(body string) []byte {
		return []byte(benchHeader + "Content-Type: multipart/mixed; boundary=\"----=_b\"\r\n\r\n------=_b\r\n\r\nhello\r\n------=_b\r\n" + body + "\r\n------=_b--\r\n")
	}
	return map[string][]byte{
		"plain":     []byte(benchHeader + "\r\n" + plain),
		"multipart": multipart("Content-Type: text/plain\r\n\r\n" + plain),
		"base64":    multipart("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wrapped.String()),
		"html":      multipart("Content-Type: text/html; charset=utf-8\r\n\r\n" + strings.ReplaceAll(plain, "brown", "<b>br&amp;wn</b>")),
		"small":     multipart("Content-Type: text/html\r\n\r\n<p>hello</p>"),
		"dashes":    multipart("Content-Type: text/x-diff\r\n\r\n" + strings.Repeat("--- a line of a patch that was removed\r\n", (4<<20)/40)),
	}
}

func BenchmarkParse(b *testing.B) {
	for name, raw := range benchMessages() {
		for _, text := range []io.Writer{nil, io.Discard} {
			kind := "structure"
			if text != nil {
				kind = "text"
			}
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				for b.Loop() {
					feed(NewParser(Limits{}, text), raw)
				}
			})
		}
	}
}

// BenchmarkManyBoundaries is a body of lines that each may be one of 100 open
// boundaries.
func BenchmarkManyBoundaries(b *testing.B) {
	var raw bytes.Buffer
	for i := range 95 {
		fmt.Fprintf(&raw, "Content-Type: multipart/mixed; boundary=\"b%0*d\"\n\n--b%0*d\n", i+1, i, i+1, i)
	}
	raw.WriteString("\n")
	for range 50_000 {
		raw.WriteString("--b0000000000000000000\n")
	}
	b.SetBytes(int64(raw.Len()))
	for b.Loop() {
		feed(NewParser(Limits{}, nil), raw.Bytes())
	}
}

func BenchmarkDecode(b *testing.B) {
	enc := feed(NewParser(Limits{}, nil), benchMessages()["small"]).Append(nil)
	b.ReportMetric(float64(len(enc)), "encoded-bytes")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(enc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	m := feed(NewParser(Limits{}, nil), benchMessages()["small"])
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = m.Append(buf[:0])
	}
}
