package codepage

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// candidates are the code pages that Detect chooses from, the likelier first.
func candidates() []Page {
	known := pages()
	var out []Page
	for _, n := range []string{"1252", "1250", "1251", "932", "936", "949", "950", "1253", "1254", "1257", "1255", "1256", "874"} {
		out = append(out, known[n])
	}
	return out
}

// Detect returns the likeliest code page of a sample, and whether it is
// beyond reasonable doubt. Plain ASCII and valid UTF-8 are UTF-8. The end of
// the sample may cut a character.
func Detect(sample []byte) (Page, bool) {
	if i := len(sample) - 1; i >= 0 && sample[i] >= utf8.RuneSelf {
		// Cut back to the last ASCII byte, so that a halved character does not count.
		if j := bytes.LastIndexFunc(sample, func(r rune) bool { return r < utf8.RuneSelf }); j > 0 && utf8.Valid(sample[:j+1]) {
			return UTF8, true
		}
	}
	if utf8.Valid(sample) {
		return UTF8, true
	}
	words := foreignWords(sample)
	best, second, winner := -1<<30, -1<<30, Windows1252
	for _, p := range candidates() {
		score := 0
		for _, w := range words {
			score += rate(p, w)
		}
		if score > best {
			best, second, winner = score, best, p
		} else if score > second {
			second = score
		}
	}
	return winner, best > 0 && best-second > 2*len(words)
}

// foreignWords returns the runs of bytes between ASCII punctuation that hold
// bytes beyond ASCII, at most a thousand.
func foreignWords(sample []byte) [][]byte {
	var words [][]byte
	for _, w := range bytes.FieldsFunc(sample, func(r rune) bool { return r < '0' || (r > 0x3A && r < 0x40) }) {
		if bytes.ContainsFunc(w, func(r rune) bool { return r >= utf8.RuneSelf }) {
			if words = append(words, w); len(words) == 1000 {
				break
			}
		}
	}
	return words
}

// rate scores a word read in the code page: letters that belong together
// speak for it; control characters, symbols amid letters, capitals behind
// small letters and mixed scripts against it.
func rate(p Page, word []byte) int {
	s, ok := p.String(word)
	if !ok {
		return -12
	}
	score := -rarity(p, word)
	var prev rune
	for _, r := range s {
		score += rateRune(prev, r)
		prev = r
	}
	return score
}

// rarity counts the bytes that stand only in the rare characters of a code
// page: those beyond KS X 1001 and GB 2312, whose bytes are all above 0xA0.
func rarity(p Page, word []byte) int {
	if p.Name != "euc-kr" && p.Name != "gbk" {
		return 0
	}
	n := 0
	for _, c := range word {
		if c >= 0x80 && c <= 0xA0 {
			n += 6
		}
	}
	return n
}

// rateRune scores one character in sight of the one before it.
func rateRune(prev, r rune) int {
	switch {
	case r < utf8.RuneSelf:
		if prev >= utf8.RuneSelf && unicode.IsLetter(r) && script(prev) != scriptLatin {
			return -2
		}
		return 0
	case r < 0xA0 || unicode.Is(unicode.Co, r):
		return -10
	case !unicode.IsLetter(r) && !unicode.Is(unicode.Mn, r):
		return -3
	case unicode.IsUpper(r) && unicode.IsLower(prev):
		return -4
	case unicode.IsLetter(prev) && script(prev) != script(r):
		return rateMixed(script(prev), script(r))
	}
	return letterScore(r)
}

// rateMixed scores two neighbouring letters of different scripts. Kana and
// Han go together; nothing else does.
func rateMixed(a, b scriptID) int {
	cjk := func(s scriptID) bool { return s == scriptHan || s == scriptKana }
	if cjk(a) && cjk(b) {
		return 3
	}
	return -4
}

// letterScore scores a letter by how usual it is in names.
func letterScore(r rune) int {
	switch script(r) {
	case scriptLatin:
		if r < 0x100 {
			return 3
		}
		return 2 // Central European and Turkish letters
	case scriptCyrillic:
		if r >= 0x410 && r <= 0x44F {
			return 4
		}
		return 1
	case scriptKana:
		if r >= 0xFF61 && r <= 0xFF9F {
			return -1 // half-width kana: any two high bytes look like them
		}
		return 8
	case scriptHangul:
		return 6
	case scriptHan:
		return 4
	}
	return 2
}

// scriptID tells the scripts apart that code pages hold.
type scriptID int

const (
	scriptOther scriptID = iota
	scriptLatin
	scriptCyrillic
	scriptHan
	scriptKana
	scriptHangul
)

// script returns the script of a letter.
func script(r rune) scriptID {
	switch {
	case unicode.Is(unicode.Latin, r):
		return scriptLatin
	case unicode.Is(unicode.Cyrillic, r):
		return scriptCyrillic
	case unicode.Is(unicode.Han, r):
		return scriptHan
	case unicode.Is(unicode.Hiragana, r), unicode.Is(unicode.Katakana, r), r == 'ー':
		return scriptKana
	case unicode.Is(unicode.Hangul, r):
		return scriptHangul
	}
	return scriptOther
}
