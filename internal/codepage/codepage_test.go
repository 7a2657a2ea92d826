package codepage

import (
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDetect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ page, text string }{
		{"1252", "Straße,Müller,Jürgen,München,Büro,François Lefèvre,Peña,Åström"},
		{"1250", "Łukasz Wójcik,Świętosława Dąbrowska,Kraków,Żółć,Jiří Dvořák,Plzeň"},
		{"1251", "Иванов Иван,Москва,Отдел продаж,улица Ленина"},
		{"932", "名,姓,電子メール アドレス,会社名,鈴木 一郎,東京都,メモ"},
		{"936", "名字,姓氏,显示名称,王小明,北京市,电子邮件"},
		{"949", "이름,성,김철수,서울특별시,직장 전화"},
		{"950", "名字,姓氏,顯示名稱,陳大文,臺北市,電子郵件地址"},
		{"65001", "Müller, 鈴木"},
	} {
		p, err := Lookup(c.page)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := p.Encoding.NewEncoder().String(c.text)
		if err != nil {
			t.Fatalf("%s: %v", c.page, err)
		}
		got, _ := Detect([]byte(raw))
		if got.Name != p.Name {
			t.Errorf("Detect(%s) = %s, want %s", c.text, got.Name, p.Name)
		}
		if s, ok := p.String([]byte(raw)); !ok || s != c.text {
			t.Errorf("%s.String = %q, %v", p.Name, s, ok)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"1252": "windows-1252", "cp932": "shift_jis", "Windows-1251": "windows-1251",
		"UTF-8": "utf-8", "iso-8859-2": "iso-8859-2", "utf8": "utf-8"} {
		if p, err := Lookup(name); err != nil || p.Name != want {
			t.Errorf("Lookup(%q) = %q, %v; want %q", name, p.Name, err, want)
		}
	}
	if _, err := Lookup("klingon"); err == nil {
		t.Error("Lookup(klingon) found a code page")
	}
}

func TestNewUnicodeReader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, name, want string }{
		{"\xEF\xBB\xBFName", "utf-8", "Name"},
		{"\xFF\xFEN\x00a\x00", "utf-16le", "Na"},
		{"\xFE\xFF\x00N\x00a", "utf-16be", "Na"},
		{"N\x00a\x00m\x00e\x00", "utf-16le", "Name"},
		{"\x00N\x00a\x00m\x00e", "utf-16be", "Name"},
		{"Name", "", "Name"}, {"N", "", "N"}, {"", "", ""},
	} {
		r, name := NewUnicodeReader(strings.NewReader(c.in))
		got, err := io.ReadAll(r)
		if err != nil || string(got) != c.want || name != c.name {
			t.Errorf("NewUnicodeReader(%q) = %q, %q, %v", c.in, got, name, err)
		}
	}
}

func FuzzDetect(f *testing.F) {
	f.Add([]byte("M\xfcller,\x93\x8c\x8b\x9e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _ := Detect(b)
		if s, _ := p.String(b); !utf8.ValidString(s) {
			t.Errorf("%s.String(%q) is not UTF-8", p.Name, b)
		}
	})
}
