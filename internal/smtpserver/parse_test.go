package smtpserver

import (
	"fmt"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"FROM:<a@b>":                      "a@b|",
		"from:<a@b> SIZE=1 BODY=8BITMIME": "a@b|SIZE=1 BODY=8BITMIME",
		"FROM: <a@b>":                     "a@b|",
		"FROM:<>":                         "|",
		"FROM:<> ":                        "|",
		"FROM:a@b":                        "a@b|",
		"FROM:a@b SIZE=1":                 "a@b|SIZE=1",
		`FROM:<"a>b"@c>`:                  `"a>b"@c|`,
		`FROM:<"a\">b"@c> X`:              `"a\">b"@c|X`,
		"FROM:<@relay,@two:a@b>":          "a@b|",
		"FROM:<@relay>":                   "error",
		"FROM:":                           "error",
		"FROM":                            "error",
		"TO:<a@b>":                        "error",
		"FROM:<a@b":                       "error",
		"FROM:<a@b>SIZE=1":                "error",
		"FROM:a@b>":                       "error",
		`FROM:<"a@b>`:                     "error",
		"FROM:<a@b> <c@d>":                "a@b|<c@d>",
	} {
		path, params, err := parsePath(arg, "FROM:")
		got := path + "|" + params
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", arg, got, want)
		}
	}
}

func TestParseParams(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                      "[]",
		"SIZE=1  body=8bitmime": "[{SIZE 1} {BODY 8bitmime}]",
		"SMTPUTF8":              "[{SMTPUTF8 }]",
		"ENVID=a=b":             "[{ENVID a=b}]",
		"SIZE=":                 "error",
		"=1":                    "error",
		"<c@d>":                 "error",
		"SIZE=1 size=2":         "error",
		"-X":                    "error",
	} {
		p, err := parseParams(in)
		got := fmt.Sprint(p)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestParseDSN(t *testing.T) {
	t.Parallel()
	try := func(f func(string) (string, error)) func(string) string {
		return func(s string) string {
			v, err := f(s)
			if err != nil {
				return "error"
			}
			return v
		}
	}
	for _, tt := range []struct {
		f        func(string) (string, error)
		in, want string
	}{
		{decodeXtext, "a+2Bb+3D", "a+b="},
		{decodeXtext, "+C3+BC", "ü"},
		{decodeXtext, "a+2", "error"},
		{decodeXtext, "a+2b", "error"},
		{decodeXtext, "a+ZZ", "error"},
		{decodeXtext, "a=b", "error"},
		{decodeXtext, "a+0D+0Ab", "error"},
		{decodeXtext, "+FF", "error"},
		{parseNotify, "never", "NEVER"},
		{parseNotify, "success,DELAY", "SUCCESS,DELAY"},
		{parseNotify, "NEVER,DELAY", "error"},
		{parseNotify, "DELAY,DELAY", "error"},
		{parseNotify, "", "error"},
		{parseORCPT, "rfc822;a+2Bb@c", "rfc822;a+b@c"},
		{parseORCPT, "utf-8;b\\x{FC}cher@c", "utf-8;b\\x{FC}cher@c"},
		{parseORCPT, "rfc822;", "error"},
		{parseORCPT, "a@b", "error"},
		{parseORCPT, "rfc822;" + strings.Repeat("x", 500), "error"},
	} {
		if got := try(tt.f)(tt.in); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestParseBDAT(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"12": "12 false true", "0 LAST": "0 true true", "5 last": "5 true true", "": "0 false false",
		"-1": "-1 false false", "+1": "1 false false", "1 FIRST": "1 false false", "x": "0 false false",
		"99999999999999999999": "9223372036854775807 false false",
	} {
		size, last, ok := parseBDAT(in)
		if got := fmt.Sprint(size, last, ok); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"MAIL FROM:<a@b> SIZE=1", "RCPT TO:<\"a\\\">b\"@c> ORCPT=rfc822;a+2B NOTIFY=NEVER", "BDAT 5 LAST", "EHLO x", "MAIL FROM:<@a:b@c>", "RCPT TO:<a@[IPv6:::1]>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		_, arg, ok := splitCommand([]byte(line))
		if !ok {
			return
		}
		if size, _, ok := parseBDAT(arg); ok && size < 0 {
			t.Fatalf("%q: a chunk of %d bytes", arg, size)
		}
		for _, k := range []string{"FROM:", "TO:"} {
			path, rest, err := parsePath(arg, k)
			if err != nil {
				continue
			}
			if addr, err := parseAddress(path, true); err == nil && strings.ContainsAny(addr.Domain(), "<>\r\n ") {
				t.Fatalf("%q: address %q", arg, addr)
			}
			params, _ := parseParams(rest)
			for _, p := range params {
				for _, parse := range []func(string) (string, error){decodeXtext, parseNotify, parseORCPT} {
					if v, err := parse(p.value); err == nil && strings.ContainsAny(v, "\r\n\x00") {
						t.Fatalf("%q: control character in %q", p.value, v)
					}
				}
			}
		}
	})
}
