// Package sample makes an organisation that is about to leave Exchange:
// people, the address lists that Outlook Express and Netscape export, and
// mailboxes whose messages answer one another. The same Options give the same
// bytes for ever; demonstration, tests and benchmarks stand on it.
package sample

import (
	"math"
	"math/rand/v2"
	"time"
)

// Options say how large an organisation is. The zero value of a field means
// the default named beside it.
type Options struct {
	Seed     uint64
	Domain   string    // linuxforu.com
	People   int       // 12
	Messages int       // in each mailbox: 200
	Folders  int       // in each mailbox, at most: all that there are
	Size     int       // median size of a message, bytes: 4 KiB
	MinSize  int       // about: 1 KiB
	MaxSize  int       // about: 2 MiB
	First    time.Time // of the first message: 2003-04-01
	Last     time.Time // of the last message: 2023-03-31
}

// withDefaults returns opt with its zero fields set.
func (opt Options) withDefaults() Options {
	for _, f := range []struct {
		field *int
		value int
	}{{&opt.People, 12}, {&opt.Messages, 200}, {&opt.Folders, math.MaxInt}, {&opt.Size, 4 << 10}, {&opt.MinSize, 1 << 10}, {&opt.MaxSize, 2 << 20}} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	if opt.Domain == "" {
		opt.Domain = "linuxforu.com"
	}
	if opt.First.IsZero() {
		opt.First = time.Date(2003, 4, 1, 8, 0, 0, 0, time.UTC)
	}
	if opt.Last.IsZero() {
		opt.Last = time.Date(2023, 3, 31, 18, 0, 0, 0, time.UTC)
	}
	return opt
}

// Org is an organisation. Its methods may be called at the same time from any
// number of goroutines.
type Org struct {
	People []Person

	opt       Options
	talks     []talk
	mailboxes []*Mailbox
}

// New makes the organisation of opt. It plans who wrote what to whom; the
// messages themselves are made when they are asked for.
func New(opt Options) *Org {
	o := &Org{opt: opt.withDefaults()}
	o.People = people(o.opt)
	for i := range o.People {
		o.mailboxes = append(o.mailboxes, newMailbox(o, i))
	}
	o.plan()
	return o
}

// Domain returns the organisation's domain.
func (o *Org) Domain() string { return o.opt.Domain }

// Mailbox returns the mailbox of People[i].
func (o *Org) Mailbox(i int) *Mailbox { return o.mailboxes[i] }

// random returns a source of random numbers that depends on the seed and on
// what the numbers are for.
func (o *Org) random(purpose, a, b int) *rand.Rand {
	return rand.New(rand.NewPCG(o.opt.Seed^uint64(purpose)<<56, uint64(a)<<32^uint64(b)))
}

// What random numbers are for.
const (
	forPlan = iota + 1
	forMessage
	forPlacement
)

// pick returns one of list.
func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// oneIn is true once in n times.
func oneIn(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }
