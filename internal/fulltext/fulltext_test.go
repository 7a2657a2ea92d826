package fulltext

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"expost/internal/mail"
	"expost/internal/message"
)

func TestFold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b string }{
		{"Budget", "bUDGET"},
		{"ÜBER", "u\u0308ber"},
		{"\u00e9", "e\u0301"},
		{"ПРИВЕТ", "привет"},
		{"ΣΊΣΥΦΟΣ", "σίσυφος"},
		{"a\u00a0b", "a b"},
		{"\u212a", "k"}, // the Kelvin sign
		{"STRASSE", "straße"},
		{"GROẞ", "gross"},
		{"İstanbul", "istanbul"},
		{"Ｅｘｃｈａｎｇｅ　２０１６", "exchange 2016"},
		{"ｶﾀｶﾅ ﾊﾟｽ", "カタカナ パス"},
		{"oﬃce", "office"},
		{"ﻣﺮﺣﺒﺎ", "مرحبا"},        // presentation forms
		{"น้ำ", "น้\u0e4d\u0e32"}, // sara am, composed and not
		{"invi\u00adsible\u200b", "invisible"},
		{"한글", "\u1112\u1161\u11ab\u1100\u1173\u11af"},
	} {
		if a, b := Fold(c.a), Fold(c.b); !bytes.Equal(a, b) {
			t.Errorf("%q is folded to %q, %q to %q", c.a, a, c.b, b)
		}
	}
	if bytes.Equal(Fold("e"), Fold("é")) || bytes.Equal(Fold("か"), Fold("が")) || bytes.Equal(Fold("ก"), Fold("ข")) {
		t.Error("different letters are the same")
	}
	if got := Fold("a\xff\xfeb"); !utf8.Valid(got) {
		t.Errorf("bytes that are no character stay: %q", got)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	const raw = "Subject: =?utf-8?q?=C3=9Cber?= all\r\nX-Empty:\r\nSubject: second\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/html\r\n\r\n<p>Caf&eacute;</p>\r\n--b\r\nContent-Type: application/pdf; name=Invoice.pdf\r\n\r\nsecret\r\n--b--\r\n"
	text := build(raw, len(raw))
	for _, c := range []struct {
		where       Where
		field, text string
		want        bool
	}{
		{InBody, "", "CAFÉ", true},
		{InBody, "", "invoice.PDF", true},
		{InBody, "", "über", false},
		{InBody, "", "secret", false},
		{InText, "", "subject: Über", true},
		{InText, "", "all x-empty", false}, // not from one field into the next
		{InText, "", "café", true},
		{InField, "SUBJECT", "second", true},
		{InField, "subject", "", true},
		{InField, "x-empty", "", true},
		{InField, "x-empty", "a", false},
		{InField, "ubject", "über", false},
		{InField, "x-none", "", false},
	} {
		n := Needle{Where: c.where, Field: c.field, Text: Fold(c.text)}
		if got := text.Find(&n); got != c.want {
			t.Errorf("%d %q %q: %v in %q", c.where, c.field, c.text, got, text)
		}
	}
}

// build returns the text of a message that is parsed in pieces.
func build(raw string, piece int) Text {
	b := NewBuilder(1 << 20)
	p := message.NewParser(message.Limits{}, b)
	for part := range slices.Chunk([]byte(raw), piece) {
		_, _ = p.Write(part)
	}
	p.Finish()
	text, _ := b.Text()
	return text
}

// TestPieces cuts a text wherever it can be cut.
func TestPieces(t *testing.T) {
	t.Parallel()
	raw := "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
		strings.Repeat("e\u0301a\u0308 ᄒ\u1161ᆫ글 日本語"+strings.Repeat("会", 500)+"\u0301", 5) + "\r\n"
	want := build(raw, len(raw))
	for _, piece := range []int{1, 2, 3, 5, 7, 64, 1000, 2047, 2048, 2049} {
		if got := build(raw, piece); !bytes.Equal(got, want) {
			t.Errorf("in pieces of %d the text is another", piece)
		}
	}
}

func TestTooLong(t *testing.T) {
	t.Parallel()
	b := NewBuilder(100)
	b.WriteField("Subject", strings.Repeat("x", 50))
	if _, ok := b.Text(); !ok {
		t.Error("a short text is too long")
	}
	if _, err := b.Write(make([]byte, 50)); err == nil {
		t.Error("a long text is taken")
	}
	if _, ok := b.Text(); ok {
		t.Error("a long text is whole")
	}
	b.Reset()
	b.WriteField("Subject", strings.Repeat("x", 200))
	if _, ok := b.Text(); ok {
		t.Error("a long header is whole")
	}
}

// entries returns random emails.
func entries(r *rand.Rand, n int) []Entry {
	list := make([]Entry, n)
	id := mail.EmailID(0)
	for i := range list {
		id += mail.EmailID(1 + r.IntN(300))
		list[i].ID = id
		if r.IntN(10) > 0 {
			text := make([]byte, 1+r.IntN(5000))
			for j := range text {
				text[j] = byte('a' + r.IntN(20))
			}
			list[i].Text = text
		}
	}
	return list
}

// TestBlock packs blocks, reads them, and looks for what is in them.
func TestBlock(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	passed := 0
	for n := range 60 {
		list := entries(r, n)
		head, data := Pack(list)
		var h Head
		if err := h.ReadHead(head); err != nil {
			t.Fatal(err)
		}
		all, err := h.Unpack(data, nil)
		if err != nil || len(h.IDs) != n {
			t.Fatal(len(h.IDs), err)
		}
		for i, e := range list {
			if h.IDs[i] != e.ID || h.Indexed(i) != (len(e.Text) > 0) || !bytes.Equal(h.Text(all, i), e.Text) {
				t.Fatalf("entry %d of %d is not what it was", i, n)
			}
			if len(e.Text) > 30 && !h.May(&Needle{Text: e.Text[10:30]}) {
				t.Fatalf("the filter denies what is there")
			}
		}
		if h.May(&Needle{Text: []byte("0123456789")}) {
			passed++
		}
	}
	if passed > 3 {
		t.Errorf("the filter lets %d of 60 pass that are not there", passed)
	}
}

// FuzzBlock reads damaged blocks, whose checksums are right.
func FuzzBlock(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for n := range 4 {
		head, data := Pack(entries(r, n))
		f.Add(head[:len(head)-4], data[:len(data)-4])
	}
	f.Fuzz(func(t *testing.T, head, data []byte) {
		var h Head
		if err := h.ReadHead(withSum(head)); err != nil {
			return
		}
		h.May(&Needle{Text: []byte("needle")})
		all, err := h.Unpack(withSum(data), nil)
		if err != nil {
			return
		}
		for i := range h.IDs {
			_ = h.Text(all, i)
		}
	})
}

// TestFoldWhatever folds texts of any length, with capital letters and
// characters beyond ASCII anywhere, as it folds them byte by byte.
func TestFoldWhatever(t *testing.T) {
	t.Parallel()
	for n := range 40 {
		plain := make([]byte, n)
		for i := range plain {
			plain[i] = "@AMZ[`amz{09 \x7f\x00"[(i*7+n)%15]
		}
		want := bytes.Map(func(r rune) rune {
			if r >= 'A' && r <= 'Z' {
				r += 'a' - 'A'
			}
			return r
		}, plain)
		if got := AppendFolded([]byte("before"), plain); string(got) != "before"+string(want) {
			t.Errorf("%q folds to %q, want %q", plain, got, want)
		}
		if got := AppendFoldedString([]byte("before"), string(plain)); string(got) != "before"+string(want) {
			t.Errorf("%q as a string folds to %q, want %q", plain, got, want)
		}
		for at := range n {
			s := string(plain[:at]) + "É" + string(plain[at:])
			if got := string(AppendFoldedString(nil, s)); got != string(Fold(s)) {
				t.Errorf("%q as a string folds to %q", s, got)
			}
			if got := string(Fold(s)); got != string(want[:at])+"É"+string(want[at:]) {
				t.Errorf("%q folds to %q", s, got)
			}
		}
	}
}
