package imapserver

import (
	"slices"
	"strings"

	"expost/internal/fulltext"
	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/message"
)

// answer is what is known of a search key for a message.
type answer uint8

const (
	unknown answer = iota // more must be read
	nope
	yes
)

// answerOf returns yes or nope.
func answerOf(b bool) answer {
	if b {
		return yes
	}
	return nope
}

// cost is what must be read of a message to answer a search key.
type cost uint8

const (
	fromIndex     cost = iota // nothing
	fromWords                 // the words of its card
	fromStructure             // the parsed structure
	fromHeader                // the header's bytes
	fromBody                  // all bytes
)

// test is a compiled search key.
type test struct {
	op     imapwire.SearchOp
	cost   cost
	tests  []test // of And, Or, Not: the cheap ones first
	spans  []span // of SearchSeq and SearchUID
	flag   mail.Flags
	num    int64
	day    imapwire.Day
	field  string // header field name in lower case
	column int    // of the card's words
	word   string // keyword, id, or the needle in the card's words
	needle []byte // folded
	index  int    // of needle among those looked for in the bytes
	text   int    // of needle in searching.needles

	isFuzzy bool  // it stands for a fuzzy key
	weight  uint8 // per cent of relevancy; 0: all
}

// candidate is a message and what has been read of it.
type candidate struct {
	seq    int
	m      *mail.Message
	words  string           // of its card; empty: not made
	parsed *message.Message // nil: not read
	bytes  cost             // fromHeader or fromBody: what of its bytes was scanned
}

// compile turns a search key into a test.
func (s *searching) compile(k *imapwire.SearchKey) (test, error) {
	t := test{op: k.Op, flag: k.Flag, num: k.Num, day: k.Day, isFuzzy: k.Fuzzy, weight: k.Weight}
	for i := range k.Keys {
		sub, err := s.compile(&k.Keys[i])
		if err != nil {
			return test{}, err
		}
		t.tests = append(t.tests, sub)
		t.cost = max(t.cost, sub.cost)
	}
	slices.SortStableFunc(t.tests, func(a, b test) int { return int(a.cost) - int(b.cost) })
	switch k.Op {
	case imapwire.SearchSeq, imapwire.SearchUID:
		return t, s.compileSet(&t, k)
	case imapwire.SearchKeyword, imapwire.SearchEmailID, imapwire.SearchThreadID:
		t.word = k.Text
	case imapwire.SearchOlder, imapwire.SearchYounger:
		t.num = s.now.Unix() - k.Num
	case imapwire.SearchSentBefore, imapwire.SearchSentOn, imapwire.SearchSentSince:
		t.cost = fromStructure
	case imapwire.SearchHeader:
		s.compileHeader(&t, k)
	case imapwire.SearchBody, imapwire.SearchText:
		if t.needle = fold(k.Text); len(t.needle) == 0 {
			return test{op: imapwire.SearchAll}, nil
		}
		t.cost, t.index = fromBody, s.scan.addText(t.needle, k.Op == imapwire.SearchText)
		where := fulltext.InBody
		if k.Op == imapwire.SearchText {
			where = fulltext.InText
		}
		t.text = s.addNeedle(fulltext.Needle{Where: where, Text: t.needle})
	}
	return t, nil
}

// compileSet resolves a set of sequence numbers or UIDs. Sequence numbers that
// do not exist match nothing.
func (s *searching) compileSet(t *test, k *imapwire.SearchKey) error {
	set := k.Set
	if k.Op == imapwire.SearchSeq && !set.Saved {
		if s.c.has(uidOnly) {
			return uidRequired("a search key is a sequence set")
		}
		n := s.snap.Len()
		for _, r := range set.Resolve(uint32(n)) {
			if int64(r.First) <= int64(n) {
				t.spans = append(t.spans, span{int(r.First), int(min(int64(r.Last), int64(n)))})
			}
		}
		return nil
	}
	var err error
	t.spans, err = s.c.resolve(set, true)
	return err
}

// compileHeader prepares a search in a header field: out of the card where that
// has the field.
func (s *searching) compileHeader(t *test, k *imapwire.SearchKey) {
	t.field, t.needle = strings.ToLower(k.Field), fold(k.Text)
	columns := map[string]int{"subject": wordsSubject, "from": wordsFrom, "to": wordsTo, "cc": wordsCc, "bcc": wordsBcc}
	if column, ok := columns[t.field]; ok && len(t.needle) > 0 {
		t.cost, t.column, t.word = fromWords, column, string(t.needle)
		return
	}
	t.cost, t.index = fromHeader, s.scan.addField(t.field, t.needle)
	t.text = s.addNeedle(fulltext.Needle{Where: fulltext.InField, Field: t.field, Text: t.needle})
}

// addNeedle adds what the index of texts is asked for.
func (s *searching) addNeedle(n fulltext.Needle) (index int) {
	s.needles = append(s.needles, n)
	return len(s.needles) - 1
}

// inSpans tells whether seq is in one of the spans, which are in order.
func inSpans(spans []span, seq int) bool {
	_, found := slices.BinarySearchFunc(spans, seq, func(s span, seq int) int {
		switch {
		case s.to < seq:
			return -1
		case s.from > seq:
			return 1
		}
		return 0
	})
	return found
}

// eval answers a test as far as what was read of the message allows.
func (s *searching) eval(t *test, c *candidate) answer {
	switch t.op {
	case imapwire.SearchAnd:
		return s.evalAll(t.tests, c, nope)
	case imapwire.SearchOr:
		return s.evalAll(t.tests, c, yes)
	case imapwire.SearchNot:
		switch s.eval(&t.tests[0], c) {
		case yes:
			return nope
		case nope:
			return yes
		}
		return unknown
	}
	switch t.cost {
	case fromIndex:
		return answerOf(s.evalIndex(t, c))
	case fromWords:
		if c.words == "" {
			return unknown
		}
		return answerOf(inWords(c.words, t.column, t.word))
	case fromStructure:
		if c.parsed == nil {
			return unknown
		}
		return answerOf(sentOn(t, c.parsed))
	}
	return s.evalBytes(t, c)
}

// evalAll answers AND (decided by nope) and OR (decided by yes).
func (s *searching) evalAll(tests []test, c *candidate, decides answer) answer {
	result := nope
	if decides == nope {
		result = yes
	}
	for i := range tests {
		switch s.eval(&tests[i], c) {
		case decides:
			return decides
		case unknown:
			result = unknown
		}
	}
	return result
}

// evalIndex answers a test from the index.
func (s *searching) evalIndex(t *test, c *candidate) bool {
	m := c.m
	switch t.op {
	case imapwire.SearchAll, imapwire.SearchSaveDateSupported:
		return true
	case imapwire.SearchFlag:
		return m.Flags&t.flag != 0
	case imapwire.SearchKeyword:
		return m.Keywords.Has(t.word)
	case imapwire.SearchRecent:
		return s.c.isRecent(m.UID)
	case imapwire.SearchSeq, imapwire.SearchUID:
		return inSpans(t.spans, c.seq)
	case imapwire.SearchLarger:
		return m.Size > t.num
	case imapwire.SearchSmaller:
		return m.Size < t.num
	case imapwire.SearchOlder:
		return m.InternalDate.Unix <= t.num
	case imapwire.SearchYounger:
		return m.InternalDate.Unix >= t.num
	case imapwire.SearchModSeq:
		return m.ModSeq >= mail.ModSeq(t.num)
	case imapwire.SearchEmailID:
		return m.Email.String() == t.word
	case imapwire.SearchThreadID:
		return m.Thread.String() == t.word
	}
	return s.evalDay(t, m)
}

// evalDay answers a test of a date that the index has.
func (s *searching) evalDay(t *test, m *mail.Message) bool {
	day := imapwire.DayOf(m.InternalDate)
	switch t.op {
	case imapwire.SearchSavedBefore, imapwire.SearchSavedOn, imapwire.SearchSavedSince:
		day = imapwire.DayOf(mail.Date{Unix: m.SaveDate})
	}
	switch t.op {
	case imapwire.SearchBefore, imapwire.SearchSavedBefore:
		return day < t.day
	case imapwire.SearchOn, imapwire.SearchSavedOn:
		return day == t.day
	}
	return day >= t.day
}

// sentOn answers a test of the Date field.
func sentOn(t *test, m *message.Message) bool {
	sent, err := message.ParseDate(m.Envelope.Date)
	if err != nil {
		return false
	}
	day := imapwire.DayOf(mail.DateOf(sent))
	switch t.op {
	case imapwire.SearchSentBefore:
		return day < t.day
	case imapwire.SearchSentOn:
		return day == t.day
	}
	return day >= t.day
}

// evalBytes answers a test from the index of texts, or from what was read of
// the bytes.
func (s *searching) evalBytes(t *test, c *candidate) answer {
	if s.texts != nil && s.texts.Known(c.m.Email) {
		return answerOf(s.texts.Found(c.m.Email, t.text))
	}
	if c.bytes < t.cost {
		return unknown
	}
	switch t.op {
	case imapwire.SearchHeader:
		return answerOf(s.scan.fields[t.index].found)
	case imapwire.SearchText:
		return answerOf(s.scan.body.found[t.index] || s.scan.inHeader[t.index])
	}
	return answerOf(s.scan.body.found[t.index])
}
