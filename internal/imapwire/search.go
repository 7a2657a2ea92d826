package imapwire

import (
	"strings"

	"expost/internal/mail"
)

// SearchOp is the kind of a search key.
type SearchOp uint8

// The kinds of search keys (RFC 9051 §6.4.4) and what each uses of SearchKey.
const (
	SearchAll               SearchOp = iota
	SearchAnd                        // Keys
	SearchOr                         // Keys, two
	SearchNot                        // Keys, one
	SearchFlag                       // Flag
	SearchKeyword                    // Text
	SearchRecent                     // -
	SearchSeq                        // Set, of sequence numbers
	SearchUID                        // Set, of UIDs
	SearchLarger                     // Num, bytes
	SearchSmaller                    // Num, bytes
	SearchOlder                      // Num, seconds (RFC 5032)
	SearchYounger                    // Num, seconds (RFC 5032)
	SearchModSeq                     // Num (RFC 7162 §3.1.5)
	SearchBefore                     // Day
	SearchOn                         // Day
	SearchSince                      // Day
	SearchSentBefore                 // Day
	SearchSentOn                     // Day
	SearchSentSince                  // Day
	SearchSavedBefore                // Day (RFC 8514)
	SearchSavedOn                    // Day
	SearchSavedSince                 // Day
	SearchSaveDateSupported          // - (RFC 8514)
	SearchHeader                     // Field, Text
	SearchBody                       // Text
	SearchText                       // Text
	SearchEmailID                    // Text (RFC 8474)
	SearchThreadID                   // Text (RFC 8474)
	SearchFilter                     // Text: the name of a stored search (RFC 5466)
	SearchFuzzy                      // Keys, one (RFC 6203)
)

// SearchKey is one search key as a tree.
type SearchKey struct {
	Op    SearchOp
	Keys  []SearchKey
	Flag  mail.Flags
	Num   int64
	Day   Day
	Set   NumSet
	Field string // header field name as sent
	Text  string // in the command's charset

	Fuzzy  bool  // it stands for a fuzzy key
	Weight uint8 // per cent of relevancy that a match is worth; 0: all
}

// ReturnOptions are what SEARCH is to return (RFC 4731 §3.1, RFC 5182, RFC
// 5267 §4, RFC 9394).
type ReturnOptions struct {
	Extended             bool // RETURN was given: answer with ESEARCH
	Min, Max, All, Count bool
	Save                 bool
	Partial              PartialRange
	Relevancy            bool        // tell how near each message comes (RFC 6203 §4)
	Update               bool        // tell what changes of the result
	Fetch                []FetchItem // of a message that comes to the result (RFC 5465 §7)
}

// SearchCommand is a decoded SEARCH.
type SearchCommand struct {
	Return  ReturnOptions
	Charset string // upper case; empty where not given
	Key     SearchKey
}

// Search reads what follows SEARCH.
func (d *Decoder) Search() SearchCommand {
	var cmd SearchCommand
	d.SP()
	d.searchProgram(&cmd)
	return cmd
}

// searchProgram reads return options, charset and search keys.
func (d *Decoder) searchProgram(cmd *SearchCommand) {
	if d.TryKeyword("RETURN") {
		d.SP()
		cmd.Return = d.returnOptions()
		d.SP()
	}
	if d.TryKeyword("CHARSET") {
		d.SP()
		cmd.Charset = strings.ToUpper(d.AString())
		d.SP()
	}
	cmd.Key = d.SearchKeys()
	d.End()
}

// returnOptions reads the list behind RETURN; an empty one means ALL.
func (d *Decoder) returnOptions() ReturnOptions {
	o := ReturnOptions{Extended: true}
	d.List(func() {
		switch word := d.Keyword(); word {
		case "MIN":
			o.Min = true
		case "MAX":
			o.Max = true
		case "ALL":
			o.All = true
		case "COUNT":
			o.Count = true
		case "SAVE":
			o.Save = true
		case "RELEVANCY":
			o.Relevancy = true
		case "UPDATE":
			o.Update, o.Fetch = true, d.bracketedItems()
		case "CONTEXT": // a hint that more will be asked of the result
		case "PARTIAL":
			if o.Partial.Given() {
				d.Fail("PARTIAL may be given once")
			}
			d.SP()
			o.Partial = d.partialRange()
		default:
			d.Fail("unknown return option " + word)
		}
	})
	if o.All && o.Partial.Given() {
		d.Fail("ALL and PARTIAL exclude each other")
	}
	if !o.Min && !o.Max && !o.Count && !o.Save && !o.Partial.Given() {
		o.All = true
	}
	return o
}

// SearchKeys reads one or more search keys, all of which must match.
func (d *Decoder) SearchKeys() SearchKey {
	and := SearchKey{Op: SearchAnd}
	for d.err == nil {
		if len(and.Keys) >= d.lim.List {
			d.tooBig("too many search keys")
		}
		and.Keys = append(and.Keys, d.searchKey())
		if d.AtEnd() || d.peek() == ')' || !d.TrySP() || d.AtEnd() {
			break
		}
	}
	if len(and.Keys) == 1 {
		return and.Keys[0]
	}
	return and
}

// searchKey reads one search key.
func (d *Decoder) searchKey() SearchKey {
	d.enter()
	defer d.leave()
	switch c := d.peek(); {
	case c == '(':
		d.off++
		k := d.SearchKeys()
		d.Expect(')')
		return k
	case c == '*' || c == '$' || c >= '0' && c <= '9':
		return SearchKey{Op: SearchSeq, Set: d.NumSet()}
	}
	at := d.off
	word := d.Keyword()
	if k, ok := plainKey(word); ok {
		return k
	}
	k, ok := d.argumentKey(word)
	if !ok {
		d.off = at
		d.Fail("unknown search key " + word)
	}
	return k
}

// plainKey returns the key of a word that takes no argument.
func plainKey(word string) (SearchKey, bool) {
	flag := func(f mail.Flags) SearchKey { return SearchKey{Op: SearchFlag, Flag: f} }
	recent := SearchKey{Op: SearchRecent}
	switch word {
	case "ALL":
		return SearchKey{Op: SearchAll}, true
	case "ANSWERED":
		return flag(mail.Answered), true
	case "DELETED":
		return flag(mail.Deleted), true
	case "DRAFT":
		return flag(mail.Draft), true
	case "FLAGGED":
		return flag(mail.Flagged), true
	case "SEEN":
		return flag(mail.Seen), true
	case "UNANSWERED":
		return not(flag(mail.Answered)), true
	case "UNDELETED":
		return not(flag(mail.Deleted)), true
	case "UNDRAFT":
		return not(flag(mail.Draft)), true
	case "UNFLAGGED":
		return not(flag(mail.Flagged)), true
	case "UNSEEN":
		return not(flag(mail.Seen)), true
	case "RECENT":
		return recent, true
	case "OLD":
		return not(recent), true
	case "NEW":
		return SearchKey{Op: SearchAnd, Keys: []SearchKey{recent, not(flag(mail.Seen))}}, true
	case "SAVEDATESUPPORTED":
		return SearchKey{Op: SearchSaveDateSupported}, true
	}
	return SearchKey{}, false
}

// not returns the negation of k.
func not(k SearchKey) SearchKey { return SearchKey{Op: SearchNot, Keys: []SearchKey{k}} }

// argumentKey reads the arguments of a key that has some.
func (d *Decoder) argumentKey(word string) (SearchKey, bool) {
	if op, ok := dateKey(word); ok {
		d.SP()
		return SearchKey{Op: op, Day: d.Date()}, true
	}
	if op, field, ok := textKey(word); ok {
		d.SP()
		if word == "HEADER" {
			field = d.AString()
			d.SP()
		}
		return SearchKey{Op: op, Field: field, Text: d.AString()}, true
	}
	switch word {
	case "KEYWORD", "UNKEYWORD":
		d.SP()
		k := SearchKey{Op: SearchKeyword, Text: d.searchFlag()}
		if word == "UNKEYWORD" {
			k = not(k)
		}
		return k, true
	case "LARGER", "SMALLER":
		d.SP()
		op := SearchLarger
		if word == "SMALLER" {
			op = SearchSmaller
		}
		return SearchKey{Op: op, Num: d.Number()}, true
	case "OLDER", "YOUNGER":
		d.SP()
		op := SearchOlder
		if word == "YOUNGER" {
			op = SearchYounger
		}
		return SearchKey{Op: op, Num: int64(d.nz32())}, true
	case "FILTER":
		d.SP()
		name := d.Atom()
		if d.err == nil && !IsFilterName(name) {
			d.Fail("the name of a filter is an atom without a slash")
		}
		return SearchKey{Op: SearchFilter, Text: name}, true
	case "UID":
		d.SP()
		return SearchKey{Op: SearchUID, Set: d.NumSet()}, true
	case "UIDAFTER", "UIDBEFORE": // RFC 9738 §3.3
		d.SP()
		uid := d.nz32()
		first, last := uint32(1), uid-1
		if word == "UIDAFTER" {
			first, last = uid+1, 1<<32-1
		}
		if first == 0 || last == 0 {
			return SearchKey{Op: SearchUID}, true // none
		}
		return SearchKey{Op: SearchUID, Set: NumSet{Ranges: []NumRange{{first, last}}}}, true
	case "FUZZY":
		d.SP()
		return SearchKey{Op: SearchFuzzy, Keys: []SearchKey{d.searchKey()}}, true
	case "NOT":
		d.SP()
		return not(d.searchKey()), true
	case "OR":
		d.SP()
		a := d.searchKey()
		d.SP()
		return SearchKey{Op: SearchOr, Keys: []SearchKey{a, d.searchKey()}}, true
	case "MODSEQ":
		d.SP()
		return d.modSeqKey(), true
	case "EMAILID", "THREADID":
		d.SP()
		op := SearchEmailID
		if word == "THREADID" {
			op = SearchThreadID
		}
		return SearchKey{Op: op, Text: d.Atom()}, true
	}
	return SearchKey{}, false
}

// searchFlag reads the flag-keyword of KEYWORD.
func (d *Decoder) searchFlag() string {
	if d.Try('\\') {
		return `\` + d.Atom()
	}
	return d.Atom()
}

// dateKey returns the kind of a word that takes a date.
func dateKey(word string) (SearchOp, bool) {
	switch word {
	case "BEFORE":
		return SearchBefore, true
	case "ON":
		return SearchOn, true
	case "SINCE":
		return SearchSince, true
	case "SENTBEFORE":
		return SearchSentBefore, true
	case "SENTON":
		return SearchSentOn, true
	case "SENTSINCE":
		return SearchSentSince, true
	case "SAVEDBEFORE":
		return SearchSavedBefore, true
	case "SAVEDON":
		return SearchSavedOn, true
	case "SAVEDSINCE":
		return SearchSavedSince, true
	}
	return 0, false
}

// textKey returns the kind and the header field of a word that takes a string.
func textKey(word string) (SearchOp, string, bool) {
	switch word {
	case "FROM", "TO", "CC", "BCC", "SUBJECT", "HEADER":
		return SearchHeader, word, true
	case "BODY":
		return SearchBody, "", true
	case "TEXT":
		return SearchText, "", true
	}
	return 0, "", false
}

// modSeqKey reads the arguments of MODSEQ. Entry name and type may stand first
// and mean nothing here: flags have one modification sequence together.
func (d *Decoder) modSeqKey() SearchKey {
	if d.peek() == '"' {
		_ = d.String()
		d.SP()
		switch word := d.Keyword(); word {
		case "PRIV", "SHARED", "ALL":
		default:
			d.Fail("expected priv, shared or all")
		}
		d.SP()
	}
	return SearchKey{Op: SearchModSeq, Num: d.Number()}
}
