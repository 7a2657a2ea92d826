package mail

import (
	"slices"
	"strings"
	"unique"
)

// Flags are the system flags of a message (RFC 9051 §2.3.2). \Recent is a
// matter of sessions and is not among them.
type Flags uint8

// The system flags.
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
)

// SystemFlags lists the system flags in the order they are written.
func SystemFlags() []Flags { return []Flags{Answered, Flagged, Deleted, Seen, Draft} }

// String returns the names of the flags, "\Seen \Draft".
func (f Flags) String() string {
	var names []string
	for _, s := range []struct {
		flag Flags
		name string
	}{{Answered, `\Answered`}, {Flagged, `\Flagged`}, {Deleted, `\Deleted`}, {Seen, `\Seen`}, {Draft, `\Draft`}} {
		if f&s.flag != 0 {
			names = append(names, s.name)
		}
	}
	return strings.Join(names, " ")
}

// FlagByName returns the system flag of a name, in any case: `\seen`.
func FlagByName(name string) (Flags, bool) {
	for _, f := range SystemFlags() {
		if strings.EqualFold(f.String(), name) {
			return f, true
		}
	}
	return 0, false
}

// Keywords is an immutable set of keywords (RFC 9051 §2.3.2), comparable and
// one word in size: equal sets are stored once. The zero value is the empty set.
// Keywords are compared without regard to case; the spelling is kept.
type Keywords struct{ h unique.Handle[string] }

// NewKeywords returns the set of the words, sorted, each once. The words must
// be atoms (no space).
func NewKeywords(words ...string) Keywords {
	if len(words) == 0 {
		return Keywords{}
	}
	sorted := slices.Clone(words)
	slices.SortFunc(sorted, compareFold)
	sorted = slices.CompactFunc(sorted, strings.EqualFold)
	return Keywords{unique.Make(strings.Join(sorted, " "))}
}

// compareFold orders words without regard to ASCII case.
func compareFold(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }

// String returns the words separated by single spaces.
func (k Keywords) String() string {
	if k == (Keywords{}) {
		return ""
	}
	return k.h.Value()
}

// Words returns the words of the set in order.
func (k Keywords) Words() []string { return strings.Fields(k.String()) }

// Has tells whether the set holds word, in any case.
func (k Keywords) Has(word string) bool {
	for w := range strings.SplitSeq(k.String(), " ") {
		if w != "" && strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// Add returns the union of k and words; k's spelling wins.
func (k Keywords) Add(words ...string) Keywords {
	all := k.Words()
	for _, w := range words {
		if !k.Has(w) {
			all = append(all, w)
		}
	}
	return NewKeywords(all...)
}

// Remove returns k without words.
func (k Keywords) Remove(words ...string) Keywords {
	return NewKeywords(slices.DeleteFunc(k.Words(), func(w string) bool {
		return slices.ContainsFunc(words, func(r string) bool { return strings.EqualFold(r, w) })
	})...)
}
