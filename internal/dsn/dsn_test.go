package dsn

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"
	"time"

	address "expost/internal/mail"
)

// parts takes a report apart with what others wrote.
func parts(t *testing.T, r io.Reader) (types []string, fields []textproto.MIMEHeader) {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if rest := bytes.ReplaceAll(text, []byte("\r\n"), nil); bytes.ContainsAny(rest, "\r\n") {
		t.Fatalf("a bare line end in %q", text)
	}
	m, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	mr := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := mr.NextRawPart()
		if err == io.EOF {
			return types, fields
		}
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		types = append(types, p.Header.Get("Content-Type"))
		if len(types) != 2 {
			_, _ = io.Copy(io.Discard, p)
			continue
		}
		for in := textproto.NewReader(bufio.NewReader(p)); ; {
			h, err := in.ReadMIMEHeader()
			if len(h) > 0 {
				fields = append(fields, h)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%v in %q", err, text)
			}
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := &Report{ID: "R1", Hostname: "mail.example.org", From: "postmaster@example.org", To: "me@example.org", Queue: "Q1", EnvID: "e",
		Recipients: []Recipient{
			{Address: "a@x.example", Original: "rfc822;b@y.example", Action: Failed, Status: "5.1.1", Remote: "mx.x.example", Reply: "550 no", Last: time.Now()},
			{Address: "c@x.example", Action: Delayed, Status: "4.4.1", Reply: "connection refused", Until: time.Now()},
		}}
	types, fields := parts(t, r.Reader(Returned{Reader: strings.NewReader("Subject: x\r\n\r\n"), Full: true}))
	if strings.Join(types, ", ") != "text/plain; charset=utf-8, message/delivery-status, message/rfc822" {
		t.Errorf("parts %q", types)
	}
	if len(fields) != 3 {
		t.Fatalf("fields %q", fields)
	}
	for i, want := range []map[string]string{
		{"Original-Envelope-Id": "e", "Reporting-Mta": "dns; mail.example.org", "X-Queue-Id": "Q1"},
		{"Original-Recipient": "rfc822; b@y.example", "Final-Recipient": "rfc822; a@x.example", "Action": "failed", "Status": "5.1.1",
			"Remote-Mta": "dns; mx.x.example", "Diagnostic-Code": "smtp; 550 no"},
		{"Final-Recipient": "rfc822; c@x.example", "Action": "delayed", "Status": "4.4.1", "Diagnostic-Code": "x-expost; connection refused"},
	} {
		for key, value := range want {
			if got := fields[i].Get(key); got != value {
				t.Errorf("%s: got %q, want %q", key, got, value)
			}
		}
	}
}

// FuzzReport has servers and senders say anything: no field may come of it that
// is not ours.
func FuzzReport(f *testing.F) {
	f.Add("550 no such user", "rfc822;a@b", "id")
	f.Add("550 x\r\nAction: delivered\r\n\r\n--=_R1--", "x\ny", strings.Repeat("ä", 3000))
	f.Fuzz(func(t *testing.T, reply, original, envid string) {
		r := &Report{ID: "R1", Hostname: "h", From: "p@h", To: "me@h", Queue: "Q", EnvID: envid,
			Recipients: []Recipient{{Address: address.Address("a@b"), Original: original, Action: Failed, Status: "5.0.0", Remote: "mx", Reply: reply}}}
		types, fields := parts(t, r.Reader(Returned{Reader: strings.NewReader("Subject: x\r\n")}))
		if len(types) != 3 || len(fields) != 2 || len(fields[1]["Action"]) != 1 || fields[1].Get("Action") != "failed" {
			t.Errorf("parts %q, fields %q", types, fields)
		}
	})
}
