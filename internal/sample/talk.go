package sample

import (
	"slices"
	"time"
)

// talk is a conversation: messages that answer one another.
type talk struct {
	kind    talkKind
	members []int // indexes of people; outsider stands for somebody elsewhere
	turns   int   // number of messages
	topic   int
	start   time.Time
	pace    time.Duration // between two messages
}

type talkKind uint8

const (
	talkInternal talkKind = iota
	talkCustomer
	talkNews
	talkJunk
)

// outsider is a member of a talk who is none of the people.
const outsider = -1

// author returns the index in members of who writes a turn.
func (t talk) author(turn int) int { return turn % len(t.members) }

// date returns when a turn was written.
func (t talk) date(turn int) time.Time {
	return t.start.Add(time.Duration(turn) * t.pace).Truncate(time.Second)
}

// inZone returns t in a zone of so many minutes east of UTC, with the summer
// time of those that have one.
func inZone(t time.Time, zone int) time.Time {
	if month := t.Month(); (zone < 0 || zone == 60) && month > time.March && month < time.November {
		zone += 60
	}
	return t.In(time.FixedZone("", zone*60))
}

// plan makes talks until every mailbox has the messages it is to have, spreads
// them over the years, and puts each message into the mailboxes of its members.
func (o *Org) plan() {
	counts := make([]int, len(o.People))
	short := len(o.People) // mailboxes that want more
	for n := 0; short > 0; n++ {
		t := o.newTalk(n, counts)
		o.talks = append(o.talks, t)
		for range t.turns {
			for _, person := range t.members {
				if person == outsider || counts[person] == o.opt.Messages {
					continue
				}
				if counts[person]++; counts[person] == o.opt.Messages {
					short--
				}
			}
		}
	}
	span := o.opt.Last.Sub(o.opt.First)
	clear(counts)
	for n := range o.talks {
		t := &o.talks[n]
		t.start = o.opt.First.Add(span / time.Duration(len(o.talks)) * time.Duration(n))
		for turn := range t.turns {
			for _, person := range t.members {
				if person != outsider && counts[person] < o.opt.Messages {
					counts[person]++
					o.mailboxes[person].place(n, turn)
				}
			}
		}
	}
}

// newTalk makes talk n. Its first member among the people is one whose mailbox
// wants more.
func (o *Org) newTalk(n int, counts []int) talk {
	r := o.random(forPlan, 2, n)
	first := r.IntN(len(o.People))
	for counts[first] >= o.opt.Messages {
		first = (first + 1) % len(o.People)
	}
	t := talk{topic: r.IntN(1000), pace: time.Duration(10+r.IntN(3000)) * time.Minute}
	switch k := r.IntN(20); {
	case k < 11:
		t.kind, t.turns = talkInternal, 1+r.IntN(6)
		t.members = append(t.members, first)
		for range 1 + r.IntN(3) {
			if other := r.IntN(len(o.People)); !slices.Contains(t.members, other) {
				t.members = append(t.members, other)
			}
		}
	case k < 16:
		t.kind, t.turns, t.members = talkCustomer, 1+r.IntN(5), []int{outsider, first}
	case k < 19:
		t.kind, t.turns, t.members = talkNews, 1, []int{outsider, first}
	default:
		t.kind, t.turns, t.members = talkJunk, 1, []int{outsider, first}
	}
	return t
}
