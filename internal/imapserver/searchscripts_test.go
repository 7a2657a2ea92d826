package imapserver_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding/htmlindex"
)

// inCharset returns a text in a charset.
func inCharset(t *testing.T, charset, text string) string {
	t.Helper()
	enc, err := htmlindex.Get(charset)
	if err != nil {
		t.Fatal(err)
	}
	out, err := enc.NewEncoder().String(text)
	if err != nil {
		t.Fatalf("%s: %v", charset, err)
	}
	return out
}

// coded returns a text part with its header, in a charset and an encoding.
func coded(t *testing.T, kind, charset, encoding, text string) string {
	t.Helper()
	raw := inCharset(t, charset, text)
	switch encoding {
	case "base64":
		raw = base64.StdEncoding.EncodeToString([]byte(raw))
		for i := 60; i < len(raw); i += 62 {
			raw = raw[:i] + "\r\n" + raw[i:]
		}
	case "quoted-printable":
		var b bytes.Buffer
		w := quotedprintable.NewWriter(&b)
		if _, err := w.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		raw = b.String()
	}
	return fmt.Sprintf("Content-Type: %s; charset=%s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s\r\n", kind, charset, encoding, raw)
}

// scriptMessages are messages in many scripts.
func scriptMessages(t *testing.T) []string {
	word := func(charset, text string) string {
		return "=?" + charset + "?b?" + base64.StdEncoding.EncodeToString([]byte(inCharset(t, charset, text))) + "?="
	}
	long := strings.Repeat("x", 31<<10) // the text beyond falls into another piece
	return []string{
		1: "Subject: " + word("ISO-2022-JP", "会議の議題") + "\r\n" + coded(t, "text/plain", "ISO-2022-JP", "7bit", "東京の天気は晴れです。ｶﾀｶﾅではなくカタカナ"),
		2: "Subject: " + word("GBK", "预算报告") + "\r\n" + coded(t, "text/plain", "GBK", "base64", "请查收附件，谢谢您的合作。"),
		3: "Subject: " + word("Big5", "預算報告") + "\r\n" + coded(t, "text/plain", "Big5", "quoted-printable", "請查收附件，謝謝。"),
		4: "Subject: " + word("EUC-KR", "회의 안건") + "\r\n" + coded(t, "text/plain", "EUC-KR", "base64", "안녕하세요 반갑습니다"),
		5: "Subject: " + mime.QEncoding.Encode("utf-8", "การประชุม") + "\r\n" + coded(t, "text/plain", "TIS-620", "quoted-printable", "สวัสดีครับ ขอบคุณมาก"),
		6: "Subject: " + word("windows-1256", "الميزانية") + "\r\n" + coded(t, "text/plain", "windows-1256", "base64", "السلام عليكم ورحمة الله"),
		7: "Subject: " + word("KOI8-R", "Отчёт о бюджете") + "\r\n" + coded(t, "text/plain", "KOI8-R", "quoted-printable", "Здравствуйте, коллеги"),
		8: "Subject: " + mime.BEncoding.Encode("utf-8", "ΠΡΟΫΠΟΛΟΓΙΣΜΟΣ") + "\r\n" + coded(t, "text/plain", "ISO-8859-7", "8bit", "Καλημέρα σας, ο λογαριασμός"),
		9: "Subject: " + mime.BEncoding.Encode("utf-8", "תקציב") + "\r\n" + coded(t, "text/plain", "windows-1255", "base64", "שלום לכולם"),
		10: "Subject: Gr=?iso-8859-1?q?=FC=DFe?= aus der Stra=?utf-8?q?=C3=9F?=e\r\nFrom: " + mime.QEncoding.Encode("utf-8", "Jürgen Weiß") + " <j@example.org>\r\n" +
			coded(t, "text/html", "ISO-8859-1", "quoted-printable", "<html><head><title>nicht zu sehen</title><style>p {color: red}</style></head><body><p>Sch&ouml;ne Gr&uuml;&szlig;e,<br>bis mor<b>gen</b>&nbsp;fr&#252;h&hellip;</p><!-- geheim --></body></html>"),
		11: "Subject: attachments\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + coded(t, "text/plain", "utf-8", "8bit", "siehe Anhang") +
			"--b\r\nContent-Type: application/pdf; name=\"=?utf-8?q?=C3=9Cbersicht=2Epdf?=\"\r\n\r\nsecret\r\n" +
			"--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename*0*=utf-8''%E8%AD%B0; filename*1*=%E4%BA%8B%E9%8C%B2.xlsx\r\n\r\nsecret\r\n--b--\r\n",
		12: "Subject: forwarded\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: " + word("utf-8", "गोपनीय") + "\r\n" + coded(t, "text/plain", "utf-8", "base64", "नमस्ते दुनिया") + "\r\n--b--\r\n",
		13: "Subject: pieces\r\n" + coded(t, "text/plain", "utf-8", "8bit", long+strings.Repeat("e\u0301", 1<<10)+"末尾の言葉"+strings.Repeat("y", 40<<10)+"das Ende"),
		14: "Subject: " + strings.Repeat("long ", 30) + "\r\n folded subject\r\nX-Note: =?utf-8?q?caf=C3=A9?= =?utf-8?q?_au_lait?=\r\n" + coded(t, "text/plain", "utf-8", "8bit", "İSTANBUL, ŁÓDŹ, ÅNGSTRÖM ﬁnal Ｗｉｄｅ"),
	}
}

// TestSearchScripts finds what is there and nothing else, in every script, in
// decoded bodies, HTML, names of attachments and headers: before the texts are
// indexed, while the index is behind, and after.
func TestSearchScripts(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	messages := scriptMessages(t)[1:]
	searches := []struct {
		key  string
		want string
	}{
		{`TEXT "議題"`, "1"}, {`SUBJECT "会議"`, "1"}, {`BODY "天気"`, "1"}, {`BODY "カタカナではなく"`, "1"}, {`BODY "の"`, "1 13"}, {`TEXT "の"`, "1 13"},
		{`BODY "查收附件"`, "2 3"}, {`SUBJECT "预算"`, "2"}, {`BODY "謝謝"`, "3"}, {`SUBJECT "報告"`, "3"}, {`TEXT "收附件"`, "2 3"},
		{`BODY "반갑"`, "4"}, {`SUBJECT "회의"`, "4"}, {`BODY "` + "\u1107\u1161\u11ab" + `갑"`, "4"},
		{`BODY "ขอบคุณ"`, "5"}, {`SUBJECT "ประชุม"`, "5"},
		{`BODY "عليكم"`, "6"}, {`SUBJECT "ميزانية"`, "6"}, {`BODY "ﻋﻠﻴﻜﻢ"`, "6"},
		{`BODY "КОЛЛЕГИ"`, "7"}, {`SUBJECT "отчёт"`, "7"}, {`TEXT "БЮДЖЕТ"`, "7"},
		{`BODY "ΛΟΓΑΡΙΑΣΜΌΣ"`, "8"}, {`SUBJECT "προϋπολογισμος"`, "8"},
		{`BODY "לכולם"`, "9"}, {`SUBJECT "תקציב"`, "9"},
		{`SUBJECT "grüsse"`, "10"}, {`SUBJECT "STRASSE"`, "10"}, {`FROM "jürgen weiss"`, "10"}, {`BODY "schöne grüße"`, "10"}, {`BODY "bis morgen früh..."`, "10"},
		{`BODY "color"`, ""}, {`BODY "geheim"`, ""}, {`TEXT "<p>"`, ""},
		{`BODY "übersicht.pdf"`, "11"}, {`TEXT "議事録.XLSX"`, "11"}, {`BODY "secret"`, ""}, {`BODY "anhang"`, "11"},
		{`BODY "नमस्ते"`, "12"}, {`BODY "गोपनीय"`, "12"}, {`SUBJECT "गोपनीय"`, ""},
		{`BODY "ééé末尾の言葉y"`, "13"}, {`BODY "das ende"`, "13"}, {`BODY "e` + "\u0301" + `末"`, "13"},
		{`SUBJECT "long folded subject"`, "14"}, {`HEADER X-Note "CAFÉ AU"`, "14"}, {`BODY "istanbul, łódź, ångström"`, "14"}, {`BODY "ÅNGSTRÖM FINAL WIDE"`, "14"},
		{`NOT TEXT "の"`, "2 3 4 5 6 7 8 9 10 11 12 14"}, {`OR BODY "天気" BODY "ขอบคุณ"`, "1 5"},
	}
	p := s.login(t)
	for _, m := range messages {
		s.deliver(t, "INBOX", m)
	}
	p.must("SELECT INBOX")
	check := func(state string) {
		for _, c := range searches {
			got := p.must(fmt.Sprintf("SEARCH CHARSET UTF-8 UID 1:%d %s", len(messages), c.key))
			if want := strings.TrimSpace("* SEARCH " + c.want); !slices.Contains(got, want) {
				t.Errorf("%s: %s finds %q, want %s", state, c.key, got, c.want)
			}
		}
	}
	a, err := s.store.Open(t.Context(), "example.org/ajay")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	check("read")
	if err := a.IndexTexts(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("indexed")
	late := s.deliver(t, "INBOX", "Subject: late\r\n"+coded(t, "text/plain", "utf-8", "base64", "天気 und КОЛЛЕГИ"))
	p.must("NOOP")
	if got := p.must(`SEARCH CHARSET UTF-8 BODY "天気"`); got[0] != fmt.Sprintf("* SEARCH 1 %d", late) {
		t.Errorf("while the index is behind: %q", got)
	}
	// In the charset of the client
	for charset, text := range map[string]string{"ISO-2022-JP": "天気", "EUC-JP": "天気", "GB18030": "天気", "KOI8-R": "коллеги", "TIS-620": "ขอบคุณ"} {
		raw := inCharset(t, charset, text)
		want := map[string]string{"天気": "* SEARCH 1 15", "коллеги": "* SEARCH 7 15", "ขอบคุณ": "* SEARCH 5"}[text]
		if got := p.must(fmt.Sprintf("SEARCH CHARSET %s BODY {%d+}\r\n%s", charset, len(raw), raw)); got[0] != want {
			t.Errorf("in %s: %q", charset, got)
		}
	}
}
