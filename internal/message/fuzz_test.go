package message

import (
	"bytes"
	"reflect"
	"testing"
	"unicode/utf8"

	"expost/internal/mail"
)

func FuzzParser(f *testing.F) {
	for _, raw := range corpus(f) {
		if len(raw) < 8<<10 {
			f.Add([]byte(raw), uint16(3))
		}
	}
	f.Add([]byte("Content-Type: text/html; charset=utf-7\nContent-Transfer-Encoding: base64\n\nPHA+K0FQdy0mYW1wOw=="), uint16(1))
	f.Fuzz(func(t *testing.T, raw []byte, chunk uint16) {
		lim := Limits{Parts: 20, Depth: 4, HeaderSize: 256, Headers: 1024, Kept: 4096}
		var text, textOfChunks bytes.Buffer
		m := parseChunks(lim, string(raw), &text, len(raw))
		checkMessage(t, m, string(raw))
		if n := utf8.RuneCountInString(m.Preview); n > previewLength || !utf8.ValidString(m.Preview) {
			t.Errorf("preview %q of %d characters", m.Preview, n)
		}
		if !utf8.Valid(text.Bytes()) {
			t.Errorf("text is not UTF-8: %q", text.Bytes())
		}
		if len(m.Parts) > lim.Parts {
			t.Errorf("%d parts", len(m.Parts))
		}
		again := parseChunks(lim, string(raw), &textOfChunks, int(chunk%64)+1)
		if !reflect.DeepEqual(m, again) {
			t.Errorf("in pieces:\n%+v\nwant\n%+v", again, m)
		}
		if !bytes.Equal(text.Bytes(), textOfChunks.Bytes()) {
			t.Errorf("in pieces the text is %q, want %q", textOfChunks.Bytes(), text.Bytes())
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, raw := range corpus(f) {
		if len(raw) < 8<<10 {
			f.Add(parse(raw).Append(nil))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(m.Append(nil))
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("again: %+v, %v, want %+v", again, err, m)
		}
		for i := range m.Parts {
			m.Children(i)
		}
		m.Find([]int{1, 2, 1, 1})
	})
}

func FuzzDecodeHeader(f *testing.F) {
	for _, s := range []string{"=?utf-8?q?a=20b?= =?iso-2022-jp?B?GyRCOjRGIxsoQg==?=", "\xff=?", "=?utf-7?b?K0FQdy0=?="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := DecodeHeader(s); !utf8.ValidString(got) {
			t.Errorf("DecodeHeader(%q) = %q is not UTF-8", s, got)
		}
		if len(s) < 4096 {
			for _, a := range ParseAddressList(s) {
				if a.Host == "" && a.Name != "" {
					t.Errorf("ParseAddressList(%q) has %q", s, a)
				}
			}
			BaseSubject(s)
			parseParams(s)
			if utf8.ValidString(s) {
				if got := DecodeHeader(unfold([]byte(EncodeHeader(s)))); got != s && !mail.IsASCII(s) {
					t.Errorf("DecodeHeader(EncodeHeader(%q)) = %q", s, got)
				}
			}
		}
	})
}

func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"Fri, 21 Nov 1997 09:55:06 -0600", "2004-01-05T10:11:12.123+05:30", "5-Jan-04 (x) 1:2 pm IST"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDate(s); err == nil && (d.Year() < 0 || d.Year() > 10000) {
			t.Errorf("ParseDate(%q) = %v", s, d)
		}
	})
}
