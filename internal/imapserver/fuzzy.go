package imapserver

import (
	"strings"
	"unicode"

	"expost/internal/imapwire"
)

// A fuzzy search (SEARCH=FUZZY, RFC 6203) finds, beside the text itself, its
// words in any order, each with another ending or one wrong letter. How near a
// message comes is its relevancy, 1 to 100.
const (
	maxFuzzyWords = 8  // more are one text
	maxFuzzyRunes = 20 // longer words may only end differently

	allWords      = 90 // relevancy, per cent: every word is there
	anotherEnding = 60
	wrongLetter   = 40
)

// fuzzyKey returns what a search key stands for when it is searched fuzzily.
func fuzzyKey(k *imapwire.SearchKey) imapwire.SearchKey {
	if k.Op == imapwire.SearchFuzzy {
		return fuzzyKey(&k.Keys[0])
	}
	out := *k
	out.Keys = nil
	for i := range k.Keys {
		out.Keys = append(out.Keys, fuzzyKey(&k.Keys[i]))
	}
	switch k.Op {
	case imapwire.SearchHeader, imapwire.SearchBody, imapwire.SearchText:
	default:
		return out
	}
	words := strings.FieldsFunc(string(fold(k.Text)), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) })
	if len(words) == 0 || len(words) > maxFuzzyWords {
		return out
	}
	all := imapwire.SearchKey{Op: imapwire.SearchAnd, Weight: allWords}
	for _, w := range words {
		all.Keys = append(all.Keys, fuzzyWord(k, w))
	}
	return imapwire.SearchKey{Op: imapwire.SearchOr, Fuzzy: true, Keys: []imapwire.SearchKey{out, all}}
}

// fuzzyWord returns a key like k for a word and for what it may be meant for.
func fuzzyWord(k *imapwire.SearchKey, word string) imapwire.SearchKey {
	seen := map[string]bool{}
	either := imapwire.SearchKey{Op: imapwire.SearchOr}
	text := func(s string, weight uint8) imapwire.SearchKey {
		return imapwire.SearchKey{Op: k.Op, Field: k.Field, Text: s, Weight: weight}
	}
	add := func(s string, weight uint8) {
		if !seen[s] {
			seen[s] = true
			either.Keys = append(either.Keys, text(s, weight))
		}
	}
	add(word, 0)
	r := []rune(word)
	n := len(r)
	if n < 4 {
		return either
	}
	if n > 5 {
		add(string(r[:max(4, n-3)]), anotherEnding)
	}
	if n > maxFuzzyRunes {
		return either
	}
	for i := range r {
		add(string(r[:i])+string(r[i+1:]), wrongLetter) // one too many
		add(string(r[:i+1])+string(r[i:]), wrongLetter) // one is missing of two alike
		if i+1 < n {
			add(string(r[:i])+string(r[i+1])+string(r[i])+string(r[i+2:]), wrongLetter)
		}
		if before, behind := string(r[:i]), string(r[i+1:]); i >= 3 && n-i > 3 { // another letter, or one is missing
			either.Keys = append(either.Keys, imapwire.SearchKey{
				Op: imapwire.SearchAnd, Weight: wrongLetter, Keys: []imapwire.SearchKey{text(before, 0), text(behind, 0)},
			})
		}
	}
	return either
}

// expandFuzzy returns a search with its fuzzy keys expanded, and whether there
// is one.
func expandFuzzy(k *imapwire.SearchKey) (imapwire.SearchKey, bool) {
	if k.Op == imapwire.SearchFuzzy {
		return fuzzyKey(&k.Keys[0]), true
	}
	out, any := *k, false
	out.Keys = nil
	for i := range k.Keys {
		sub, is := expandFuzzy(&k.Keys[i])
		out.Keys, any = append(out.Keys, sub), any || is
	}
	return out, any
}

// fuzzily tells whether there is a fuzzy key in a search.
func fuzzily(k *imapwire.SearchKey) bool {
	return anyKey(k, func(k *imapwire.SearchKey) bool { return k.Op == imapwire.SearchFuzzy })
}

// relevancy returns how near a message comes that matches a test, 1 to 100.
func (s *searching) relevancy(t *test, c *candidate) int {
	score, n := 0, 0
	switch {
	case t.op == imapwire.SearchAnd:
		fuzzy := t.fuzzy()
		for i := range t.tests {
			if sub := &t.tests[i]; !fuzzy || sub.fuzzy() || t.weight != 0 {
				score += s.relevancy(sub, c)
				n++
			}
		}
		score /= max(n, 1)
	case t.op == imapwire.SearchOr:
		for i := range t.tests {
			if s.eval(&t.tests[i], c) == yes {
				score = max(score, s.relevancy(&t.tests[i], c))
			}
		}
	default:
		score = 100
	}
	if t.weight != 0 {
		score = score * int(t.weight) / 100
	}
	return max(score, 1)
}

// fuzzy tells whether the test or one below it is of a fuzzy key.
func (t *test) fuzzy() bool {
	for i := range t.tests {
		if t.tests[i].fuzzy() {
			return true
		}
	}
	return t.isFuzzy
}

// writeRelevancy writes how near each of the messages that are told comes.
func (c *conn) writeRelevancy(hits []hit) {
	if len(hits) == 0 {
		return
	}
	c.out.Text(" RELEVANCY (")
	for i, h := range hits {
		if i > 0 {
			c.out.Text(" ")
		}
		c.out.Number(int64(h.relevancy))
	}
	c.out.Text(")")
}

// checkFuzzy refuses RELEVANCY where nothing is fuzzy (RFC 6203 §4).
func checkFuzzy(cmd *imapwire.SearchCommand, keys []imapwire.SortKey) error {
	wants := cmd.Return.Relevancy
	for _, k := range keys {
		wants = wants || k.By == imapwire.SortRelevancy
	}
	if wants && !fuzzily(&cmd.Key) {
		return bad("RELEVANCY needs a FUZZY search key")
	}
	return nil
}
