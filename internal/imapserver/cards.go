package imapserver

import (
	"sync"
	"sync/atomic"

	"expost/internal/mail"
)

// card is what has been made for clients out of one message and is likely to
// be asked for again. An empty string is not made yet.
type card struct {
	envelope  string // ENVELOPE
	structure string // BODYSTRUCTURE
	header    string // the outermost header as it is
	words     string // what SEARCH looks at of the envelope, folded; see cardWords
	headerEnd int64  // where the header ends in the message; 0: not known
}

// part is a part of a card.
type part uint8

const (
	cardEnvelope part = 1 << iota
	cardStructure
	cardHeader
	cardWords
)

// lacks returns which of the wanted parts the card does not have.
func (c *card) lacks(want part) part {
	if c.envelope != "" {
		want &^= cardEnvelope
	}
	if c.structure != "" {
		want &^= cardStructure
	}
	if c.header != "" {
		want &^= cardHeader
	}
	if c.words != "" {
		want &^= cardWords
	}
	return want
}

// size returns what a card costs, roughly.
func (c *card) size() int64 {
	return int64(len(c.envelope)+len(c.structure)+len(c.header)+len(c.words)) + 128
}

// The cards of a message that needs more than this are not kept.
const largestCard = 32 << 10

// boxKey names the contents of a mailbox for ever: an email id means the same
// message under it, whatever becomes of the account.
type boxKey struct {
	account  mail.AccountID
	box      mail.MailboxID
	validity mail.UIDValidity
}

// cardIndex keeps the cards of the mailboxes used last, within a budget.
type cardIndex struct {
	budget int64
	bytes  atomic.Int64
	clock  atomic.Int64

	mu    sync.Mutex
	boxes map[boxKey]*boxCards
}

// boxCards are the cards of one mailbox.
type boxCards struct {
	index *cardIndex
	key   boxKey
	used  atomic.Int64 // index.clock at the last use

	mu      sync.RWMutex
	cards   map[mail.EmailID]card
	bytes   int64
	dropped bool // it is not in the index any more
}

func newCardIndex(budget int64) *cardIndex {
	return &cardIndex{budget: budget, boxes: map[boxKey]*boxCards{}}
}

// open returns the cards of a mailbox.
func (x *cardIndex) open(k boxKey) *boxCards {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.boxes[k]
	if b == nil {
		b = &boxCards{index: x, key: k, cards: map[mail.EmailID]card{}}
		x.boxes[k] = b
	}
	b.used.Store(x.clock.Add(1))
	return b
}

// get returns the card of a message, perhaps an empty one.
func (b *boxCards) get(id mail.EmailID) card {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.cards[id]
}

// put keeps a card.
func (b *boxCards) put(id mail.EmailID, c card) {
	if c.size() > largestCard {
		return
	}
	b.mu.Lock()
	if b.dropped { // while a session still has it
		b.mu.Unlock()
		if !b.index.readmit(b) {
			return
		}
		b.mu.Lock()
	}
	old, known := b.cards[id]
	grown := c.size()
	if known {
		grown -= old.size()
	}
	b.cards[id] = c
	b.bytes += grown
	b.mu.Unlock()
	b.used.Store(b.index.clock.Add(1))
	if b.index.bytes.Add(grown) > b.index.budget {
		b.index.shrink()
	}
}

// shrink drops the cards of the mailboxes whose last use is longest ago, until
// a quarter of the budget is free.
func (x *cardIndex) shrink() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.bytes.Load() > x.budget*3/4 && len(x.boxes) > 0 {
		var oldest boxKey
		var least *boxCards
		for k, b := range x.boxes {
			if least == nil || b.used.Load() < least.used.Load() {
				oldest, least = k, b
			}
		}
		delete(x.boxes, oldest)
		least.mu.Lock()
		x.bytes.Add(-least.bytes)
		least.cards, least.bytes, least.dropped = map[mail.EmailID]card{}, 0, true
		least.mu.Unlock()
	}
}

// readmit takes the cards of a mailbox back that were dropped, unless others
// have its place.
func (x *cardIndex) readmit(b *boxCards) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if other := x.boxes[b.key]; other != nil && other != b {
		return false
	}
	x.boxes[b.key] = b
	b.mu.Lock()
	b.dropped = false
	b.mu.Unlock()
	return true
}
