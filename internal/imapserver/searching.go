package imapserver

import (
	"context"
	"errors"
	"slices"
	"time"

	"expost/internal/fulltext"
	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// searching is a SEARCH under way. What the index can answer is answered first;
// the structure, the header and at last the bytes are read only of messages of
// which it is still open whether they match.
type searching struct {
	c         *conn
	snap      *store.Snapshot
	now       time.Time
	root      test
	fuzzy     bool              // relevancy is asked for
	words     bool              // a test needs the words of the card
	structure bool              // a test needs the parsed structure
	header    bool              // a test needs the header's bytes
	needles   []fulltext.Needle // what is looked for in texts and header fields
	texts     *store.TextHits   // what the store's index of texts says of them; nil: not asked
	scan      scan
	hits      []hit
	batch     []candidate
	emails    []mail.EmailID
	read      []int // what of the batch is read from the store
	buf       []byte
	progress  progress
}

// newSearching plans a search in the selected mailbox.
func (c *conn) newSearching(k *imapwire.SearchKey) (*searching, error) {
	s := &searching{c: c, snap: c.sel.view.Snapshot(), now: time.Now()}
	s.scan.body = &finder{}
	s.progress = c.newProgress(s.snap.Len())
	expanded, fuzzy := expandFuzzy(k)
	if s.fuzzy = fuzzy; fuzzy {
		k = &expanded
	}
	var err error
	s.root, err = s.compile(k)
	s.words, s.structure, s.header = s.root.has(fromWords), s.root.has(fromStructure), s.root.has(fromHeader)
	return s, err
}

// has tells whether the test or one below it has a cost.
func (t *test) has(c cost) bool {
	return len(t.tests) == 0 && t.cost == c || slices.ContainsFunc(t.tests, func(sub test) bool { return sub.has(c) })
}

// askTexts asks the index of texts about the messages of which it is open
// without them whether they match.
func (s *searching) askTexts(ctx context.Context, within []span) (err error) {
	if len(s.needles) == 0 {
		return nil
	}
	var open []mail.EmailID
	for seq, m := range messages(s.snap, within) {
		c := candidate{seq: seq, m: m}
		if s.words {
			c.words = s.c.sel.cards.get(m.Email).words
		}
		if s.eval(&s.root, &c) == unknown {
			open = append(open, m.Email)
		}
	}
	s.texts, err = s.c.sel.account.SearchTexts(ctx, open, s.needles)
	return err
}

// run returns the messages within spans that match, in order.
func (s *searching) run(ctx context.Context, within []span) ([]hit, error) {
	if err := s.askTexts(ctx, within); err != nil {
		return nil, err
	}
	for seq, m := range messages(s.snap, within) {
		c := candidate{seq: seq, m: m}
		result := s.eval(&s.root, &c)
		if result == unknown && s.words {
			k := s.c.sel.cards.get(m.Email)
			c.words = k.words
			result = s.eval(&s.root, &c)
		}
		switch result {
		case yes:
			s.hit(&c)
		case unknown:
			own := *m // m is valid until the next one
			c.m = &own
			s.batch = append(s.batch, c)
		}
		if len(s.batch) == fetchBatch {
			if err := s.decide(ctx); err != nil {
				return nil, err
			}
		}
	}
	if err := s.decide(ctx); err != nil {
		return nil, err
	}
	slices.SortFunc(s.hits, func(a, b hit) int { return a.seq - b.seq })
	return s.hits, nil
}

// hit notes a message that matches.
func (s *searching) hit(c *candidate) {
	h := hit{seq: c.seq, uid: c.m.UID, modSeq: c.m.ModSeq}
	if s.fuzzy {
		h.relevancy = s.relevancy(&s.root, c)
	}
	s.hits = append(s.hits, h)
}

// decide reads what is needed of the batch's messages. Those that are gone do
// not match.
func (s *searching) decide(ctx context.Context) error {
	if len(s.batch) == 0 {
		return nil
	}
	if s.words || s.structure {
		if err := s.readStructures(ctx); err != nil {
			return err
		}
	}
	s.emails, s.read = s.emails[:0], s.read[:0]
	for i := range s.batch {
		c := &s.batch[i]
		if c.m == nil {
			continue
		}
		switch s.eval(&s.root, c) {
		case yes:
			s.hit(c)
		case unknown:
			s.emails, s.read = append(s.emails, c.m.Email), append(s.read, i)
		}
	}
	err := s.c.sel.account.Bodies(ctx, s.emails, func(i int, body *store.Body) error {
		c := &s.batch[s.read[i]]
		if body == nil {
			return nil
		}
		if err := s.readBytes(c, body); err != nil {
			return err
		}
		return s.progress.at(c.seq)
	})
	s.batch = s.batch[:0]
	return errors.Join(err, ctx.Err())
}

// readStructures reads the structures of those messages of the batch that need
// one, and makes cards of them.
func (s *searching) readStructures(ctx context.Context) error {
	s.emails, s.read = s.emails[:0], s.read[:0]
	for i := range s.batch {
		if s.structure || s.batch[i].words == "" {
			s.emails, s.read = append(s.emails, s.batch[i].m.Email), append(s.read, i)
		}
	}
	return s.c.sel.account.Details(ctx, s.emails, func(i int, m *message.Message) error {
		c := &s.batch[s.read[i]]
		if m == nil {
			c.m = nil
			return nil
		}
		if c.parsed = m; s.words && c.words == "" {
			k := s.c.sel.cards.get(c.m.Email)
			s.buf = k.make(cardWords, m, s.buf)
			s.c.sel.cards.put(c.m.Email, k)
			c.words = k.words
		}
		return nil
	})
}

// readBytes scans a message's header, and where that does not decide all of it.
func (s *searching) readBytes(c *candidate, body *store.Body) error {
	result := unknown
	if s.header {
		if err := s.scan.header(body, s.c.srv.cfg.Limits.Header); err != nil {
			return err
		}
		c.bytes = fromHeader
		result = s.eval(&s.root, c)
	}
	if result == unknown {
		if err := s.scan.all(body); err != nil {
			return err
		}
		c.bytes = fromBody
		result = s.eval(&s.root, c)
	}
	if result == yes {
		s.hit(c)
	}
	return nil
}
