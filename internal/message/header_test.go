package message

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
)

func TestDecodeHeader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"plain", "plain"},
		{"=?utf-8?Q?M=C3=BCller_&_S=C3=B6hne?=", "Müller & Söhne"},
		{"=?UTF-8?B?TcO8bGxlcg==?=", "Müller"},
		{"=?UTF-8?B?TcO8bGxlcg?=", "Müller"}, // no padding
		{"=?iso-8859-1?q?M=FCller?= und =?iso-8859-1?q?S=F6hne?=", "Müller und Söhne"},
		{"=?utf-8?q?a?= \t =?utf-8?q?b?=", "ab"},
		{"=?utf-8?q?a?==?utf-8?q?b?=", "ab"},
		{"=?utf-8?b?4oI=?= =?utf-8?b?rA==?=", "€"}, // a character split between words
		{"=?iso-2022-jp?B?GyRCOjRGIxsoQg==?=", "佐藤"},
		{"=?utf-8*de?q?M=C3=BC?=", "Mü"},
		{"=?utf-8?q?a b?= c", "a b c"}, // a space, which is not allowed
		{"=?x-none?q?a?=", "a"},
		{"=?utf-8?x?a?=", "=?utf-8?x?a?="},
		{"=?utf-8?q?a", "=?utf-8?q?a"},
		{"a =?= b", "a =?= b"},
		{"M\xfcller", "Müller"},
		{"Müller", "Müller"},
		{"=?utf-8?q?=FC?=", "ü"}, // wrong charset
		{"=?utf-7?q?M+APw-ller?=", "Müller"},
		{"=?gb2312?B?xOO6ww==?=", "你好"},
		{"=?koi8-r?B?8NLJ18XU?=", "Привет"},
		{"=?windows-1251?Q?=CF=F0=E8=E2=E5=F2?=", "Привет"},
	} {
		if got := DecodeHeader(tt.in); got != tt.want {
			t.Errorf("DecodeHeader(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestEncodeHeader(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"plain", "Müller & Söhne", "受信/顧客", strings.Repeat("Привет мир ", 40), "=?x", "a\r\nBcc: x"} {
		e := EncodeHeader(s)
		for line := range strings.SplitSeq(e, "\r\n ") {
			if !mail.IsASCII(line) || len(line) > 76 || strings.ContainsAny(line, "\r\n") {
				t.Errorf("EncodeHeader(%q) has the line %q", s, line)
			}
		}
		if got := DecodeHeader(unfold([]byte(e))); got != s {
			t.Errorf("DecodeHeader(%q) = %q, want %q", e, got, s)
		}
	}
}

func TestParseAddressList(t *testing.T) {
	t.Parallel()
	a := func(name, route, mailbox, host string) Address { return Address{name, route, mailbox, host} }
	for _, tt := range []struct {
		in   string
		want []Address
	}{
		{"", nil},
		{" , ,", nil},
		{"ajay@linuxforu.com", []Address{a("", "", "ajay", "linuxforu.com")}},
		{"Ajay <ajay@linuxforu.com>", []Address{a("Ajay", "", "ajay", "linuxforu.com")}},
		{"\"Banerjee, Biswajit\" <b@x.org>, anup@x.org", []Address{a("Banerjee, Biswajit", "", "b", "x.org"), a("", "", "anup", "x.org")}},
		{"ajay@x.org (Ajay K. (Delhi))", []Address{a("Ajay K. (Delhi)", "", "ajay", "x.org")}},
		{"Ajay K. Sharma <ajay@x.org>", []Address{a("Ajay K. Sharma", "", "ajay", "x.org")}},
		{"<@a.org,@b.org:ajay@x.org>", []Address{a("", "@a.org,@b.org", "ajay", "x.org")}},
		{"undisclosed-recipients:;", []Address{a("", "", "undisclosed-recipients", ""), a("", "", "", "")}},
		{"Team: a@x.org, B <b@x.org>;, c@x.org", []Address{a("", "", "Team", ""), a("", "", "a", "x.org"), a("B", "", "b", "x.org"), {}, a("", "", "c", "x.org")}},
		{"Team: a@x.org", []Address{a("", "", "Team", ""), a("", "", "a", "x.org"), {}}},
		{"root", []Address{a("", "", "root", "MISSING_DOMAIN")}},
		{"Ajay Sharma", []Address{a("Ajay Sharma", "", "MISSING_MAILBOX", "MISSING_DOMAIN")}},
		{"<>", []Address{a("", "", "MISSING_MAILBOX", "MISSING_DOMAIN")}},
		{"Ajay <>", []Address{a("Ajay", "", "MISSING_MAILBOX", "MISSING_DOMAIN")}},
		{"Ajay <ajay@x.org", []Address{a("Ajay", "", "ajay", "x.org")}},
		{"\"a b\"@x.org", []Address{a("", "", "a b", "x.org")}},
		{"\"a@b\"@x.org", []Address{a("", "", "a@b", "x.org")}},
		{"john . smith @ x . org", []Address{a("", "", "john.smith", "x.org")}},
		{"\"Ajay \\\"AJ\\\" S\" <a@x.org>", []Address{a("Ajay \"AJ\" S", "", "a", "x.org")}},
		{"=?utf-8?q?M=C3=BC?= <m@x.org>", []Address{a("=?utf-8?q?M=C3=BC?=", "", "m", "x.org")}},
		{"a@x.org; b@x.org", []Address{a("", "", "a", "x.org"), a("", "", "b", "x.org")}},
		{"a@x.org <b@x.org>", []Address{a("a@x.org", "", "b", "x.org")}},
		{"\"unterminated <a@x.org>", []Address{a("", "", "unterminated <a@x.org>", "MISSING_DOMAIN")}},
		{"Müller <m@müller.de>", []Address{a("Müller", "", "m", "müller.de")}},
		{"a@[192.0.2.1]", []Address{a("", "", "a", "[192.0.2.1]")}},
		{"a@[IPv6:2001:db8::1], b@x.org", []Address{a("", "", "a", "[IPv6:2001:db8::1]"), a("", "", "b", "x.org")}},
	} {
		if got := ParseAddressList(tt.in); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParseAddressList(%q) =\n%q, want\n%q", tt.in, got, tt.want)
		}
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
		{"21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06Z"},
		{"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", "1997-11-21T09:55:06-06:00"},
		{"Fri, 21 Nov 1997 09:55 (at home) EST (x)", "1997-11-21T09:55:00-05:00"},
		{"1 Jan 104 00:00:00 +0530", "2004-01-01T00:00:00+05:30"},
		{"1 Jan 04 00:00 IST", "2004-01-01T00:00:00+05:30"},
		{"Mon Jan  5 10:11:12 2004", "2004-01-05T10:11:12Z"},
		{"Mon Jan  5 10:11:12 CET 2004", "2004-01-05T10:11:12+01:00"},
		{"Mon Jan 5 10:11:12 2004 +0100", "2004-01-05T10:11:12+01:00"},
		{"2004-01-05T10:11:12Z", "2004-01-05T10:11:12Z"},
		{"2004-01-05T10:11:12.123+05:30", "2004-01-05T10:11:12+05:30"},
		{"2004-01-05 10:11:12 -0800", "2004-01-05T10:11:12-08:00"},
		{"5-Jan-2004 10:11:12 +0000", "2004-01-05T10:11:12Z"},
		{"Monday, January 05, 2004 10:11 PM", "2004-01-05T22:11:00Z"},
		{"Mon, 5 Jan 2004 12:30:00 AM", "2004-01-05T00:30:00Z"},
		{"Mon, 5 Jan 2004 10:11:12 GMT+0200", "2004-01-05T10:11:12+02:00"},
		{"Mon, 5 Jan 2004 10:11:12 +02:00", "2004-01-05T10:11:12+02:00"},
		{"Mon, 5 Jan 2004 10:11:12 X", "2004-01-05T10:11:12Z"},
		{"Mon, 5 Jan 2004 10:11:12 Nowhere Time", "2004-01-05T10:11:12Z"},
		{"Mon, 5 Jan 2004", "2004-01-05T00:00:00Z"},
		{"Mon, 5 Jan 2004 10:11:60 -0000", "2004-01-05T10:12:00Z"},
		{"", ""}, {"yesterday", ""}, {"32 Jan 2004", ""}, {"5 Foo 2004 10:00", ""},
	} {
		got := ""
		if d, err := ParseDate(tt.in); err == nil {
			got = d.Format(time.RFC3339)
		}
		if got != tt.want {
			t.Errorf("ParseDate(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestBaseSubject(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"Hello  World", "hello world"},
		{"Re: Hello", "hello"},
		{"RE[2]: Fw: Fwd : Hello (fwd) (fwd)", "hello"},
		{"[list] Re: [list] Hello", "hello"},
		{"[list] Hello", "hello"},
		{"[list]", "[list]"},
		{"[a] [b]", "[b]"},
		{"[a] re[2] [x]: y", "re[2] [x]: y"},
		{"[a] [b] fw[2]: [c] y", "y"},
		{"[a [b] c", "[a [b] c"},
		{"Re: [list]", "[list]"},
		{"[Fwd: [list] Re: Hello]", "hello"},
		{"=?utf-8?q?Re=3A_M=C3=BCller?=", "müller"},
		{"Re:", ""},
		{"", ""},
		{"Regarding: x", "regarding: x"},
	} {
		if got := BaseSubject(tt.in); got != tt.want {
			t.Errorf("BaseSubject(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// TestLongHeaders gives the header parsers what would take a quadratic one minutes.
func TestLongHeaders(t *testing.T) {
	t.Parallel()
	const n = 1 << 20
	for _, piece := range []string{"=?a?q?x", "=?a?b?", "=?", "?=", "[a]", "re:", "[fwd:", "(fwd)", "(", "<", "\"", "a@b,", "a:", "@", ". ", "a=b ", "a=(", "a*=b;", "a*0*=%41;a*1=x;", ";", "\\", "<a>", "[", "a\x00\r\n "} {
		s := strings.Repeat(piece, n/len(piece))
		start := time.Now()
		DecodeHeader(s)
		BaseSubject(s)
		ParseAddressList(s)
		parseMediaType(s)
		parseParams(s)
		messageIDs(s)
		unfold([]byte(s))
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q repeated takes %v", piece, took)
		}
	}
}

func TestContentType(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"text/plain; charset=us-ascii (Plain text)", "text/plain [{charset us-ascii}]"},
		{"TEXT/HTML; CharSet=\"UTF-8\"", "text/html [{charset UTF-8}]"},
		{"text/plain charset=utf-8", "text/plain [{charset utf-8}]"},
		{"text/plain; charset=utf-8 format=flowed", "text/plain [{charset utf-8} {format flowed}]"},
		{"text/plain; charset = \"utf-8\"; ; x", "text/plain [{charset utf-8}]"},
		{"application/pdf; name=My file.pdf; x=y", "application/pdf [{name My file.pdf} {x y}]"},
		{"multipart/mixed; boundary=a b; x=y", "multipart/mixed [{boundary a} {x y}]"},
		{"application/pdf; name=\"C:\\dir\\a.pdf\"", "application/pdf [{name C:\\dir\\a.pdf}]"},
		{"application/pdf; name=\"a\\\"b.pdf", "application/pdf [{name a\"b.pdf}]"},
		{"application/x; name*0=a; name*1=\"b c\"; name*2=d", "application/x [{name ab cd}]"},
		{"application/x; name*1*=%20b; name*0*=iso-8859-1'de'%FC", "application/x [{name ü b}]"},
		{"application/x; name=fallback; name*=UTF-8''M%C3%BCller.txt", "application/x [{name Müller.txt}]"},
		{"application/x; name*=bad%2", "application/x [{name bad%2}]"},
		{"text / plain; a=b", "text/plain [{a b}]"},
		{"(comment) text/html", "text/html []"},
		{"\"text/html\"; a=b", "text/html [{a b}]"},
		{"text", "text/plain []"},
		{"pdf", "application/octet-stream []"},
		{"multipart/mixed; boundary=\"a;b=c\"", "multipart/mixed [{boundary a;b=c}]"},
		{"multipart/mixed; boundary==_x=_", "multipart/mixed [{boundary =_x=_}]"},
	} {
		typ, subtype := parseMediaType(tt.in)
		if got := fmt.Sprintf("%s/%s %v", typ, subtype, parseParams(tt.in)); got != tt.want {
			t.Errorf("Content-Type %q gives %s, want %s", tt.in, got, tt.want)
		}
	}
}
