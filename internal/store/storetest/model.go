package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"expost/internal/mail"
	"expost/internal/store"
)

// model is what two mailboxes should hold, kept the simple way.
type model struct {
	f     *fixture
	r     *rand.Rand
	boxes [2]modelBox
	views []*modelView
	n     int
}

type modelBox struct {
	name     string
	id       mail.MailboxID
	messages []mail.Message
	next     mail.UID
}

// modelView is a session: what it was told so far must be what its view shows.
type modelView struct {
	view *store.View
	told []mail.Message
}

// testModel does random operations and compares the store with the model, as
// it is and as sessions see it that follow at different speeds.
func testModel(f *fixture) {
	for seed := range uint64(3) {
		m := &model{f: f, r: rand.New(rand.NewPCG(seed, 0)), n: int(seed) * 1_000_000}
		for i := range m.boxes {
			name := fmt.Sprintf("model%d-%d", seed, i)
			m.boxes[i] = modelBox{name: name, id: f.create(name).ID, next: 1}
		}
		for range 5 {
			m.views = append(m.views, &modelView{view: f.view(m.boxes[0].name)})
		}
		for range 250 {
			m.step()
		}
		for i := range m.boxes {
			m.compare(&m.boxes[i])
		}
	}
	f.reopen()
}

// step does one random operation.
func (m *model) step() {
	box, other := &m.boxes[0], &m.boxes[1]
	if m.r.IntN(4) == 0 {
		box, other = other, box
	}
	switch k := m.r.IntN(20); {
	case k < 3:
		m.bulk(box, 1+m.r.IntN(200))
	case k < 6:
		m.bulk(box, 1)
	case k < 11:
		m.flags(box)
	case k < 15:
		m.expunge(box)
	case k < 17:
		m.transfer(box, other, false)
	default:
		m.transfer(box, other, true)
	}
	if m.r.IntN(8) == 0 {
		m.compare(box)
	}
	for _, v := range m.views {
		m.follow(v)
	}
}

// some returns a random set of UIDs of a mailbox: some, a range, one, or all.
func (m *model) some(box *modelBox) mail.UIDSet {
	s := mail.UIDSet{} // not nil, which is all to Expunge
	switch m.r.IntN(4) {
	case 0:
		return all
	case 1:
		first := mail.UID(m.r.IntN(int(box.next))) + 1
		s.AddRange(first, first+mail.UID(m.r.IntN(150)))
	case 2:
		s.Add(mail.UID(m.r.IntN(int(box.next))) + 1)
	default:
		for range m.r.IntN(20) {
			s.Add(mail.UID(m.r.IntN(int(box.next))) + 1)
		}
	}
	return s
}

// bulk appends messages with gaps between their UIDs.
func (m *model) bulk(box *modelBox, n int) {
	msgs := make([]store.BulkMessage, n)
	for i := range msgs {
		m.n++
		in := m.f.spool(text(m.n))
		defer in.Close()
		uid := box.next + mail.UID(m.r.IntN(3))
		box.next = uid + 1
		msgs[i] = store.BulkMessage{
			UID: uid, Incoming: in, Flags: mail.Flags(m.r.IntN(32)), Keywords: m.keywords(),
			InternalDate: mail.Date{Unix: m.r.Int64N(2_000_000_000), Offset: int16(m.r.IntN(5)-2) * 30},
		}
	}
	done, err := m.f.a.Bulk(m.f.context(), box.id, msgs)
	m.f.check(err)
	for i, d := range done {
		box.messages = append(box.messages, mail.Message{
			UID: msgs[i].UID, ModSeq: d.ModSeq, Email: d.Email, Thread: mail.ThreadID(d.Email), Size: msgs[i].Incoming.Size(),
			Flags: msgs[i].Flags, Keywords: msgs[i].Keywords, InternalDate: msgs[i].InternalDate, SaveDate: m.f.clock.unix.Load(),
		})
	}
}

func (m *model) keywords() mail.Keywords {
	words := []string{"a", "b", "$Junk", "d"}
	return mail.NewKeywords(words[:m.r.IntN(5)]...)
}

func (m *model) flags(box *modelBox) {
	ch := store.FlagChange{Op: store.FlagOp(m.r.IntN(3)), Flags: mail.Flags(m.r.IntN(32)), Keywords: m.keywords()}
	if m.r.IntN(3) == 0 && len(box.messages) > 0 {
		ch.UnchangedSince = box.messages[m.r.IntN(len(box.messages))].ModSeq
	}
	uids := m.some(box)
	modified, err := m.f.a.StoreFlags(m.f.context(), box.id, uids, ch)
	m.f.check(err)
	highest := m.f.box(box.name).HighestModSeq
	var want mail.UIDSet
	for i := range box.messages {
		msg := &box.messages[i]
		if !uids.Contains(msg.UID) {
			continue
		}
		if ch.UnchangedSince > 0 && msg.ModSeq > ch.UnchangedSince {
			want.Add(msg.UID)
			continue
		}
		was := *msg
		switch ch.Op {
		case store.FlagsSet:
			msg.Flags, msg.Keywords = ch.Flags, ch.Keywords
		case store.FlagsAdd:
			msg.Flags, msg.Keywords = msg.Flags|ch.Flags, msg.Keywords.Add(ch.Keywords.Words()...)
		case store.FlagsRemove:
			msg.Flags, msg.Keywords = msg.Flags&^ch.Flags, msg.Keywords.Remove(ch.Keywords.Words()...)
		}
		if *msg != was {
			msg.ModSeq = highest
		}
	}
	equal(m.f, "modified", modified.String(), want.String())
}

func (m *model) expunge(box *modelBox) {
	uids := m.some(box)
	got, err := m.f.a.Expunge(m.f.context(), box.id, uids)
	m.f.check(err)
	var want mail.UIDSet
	box.messages = slices.DeleteFunc(box.messages, func(msg mail.Message) bool {
		gone := uids.Contains(msg.UID) && msg.Flags&mail.Deleted != 0
		if gone {
			want.Add(msg.UID)
		}
		return gone
	})
	equal(m.f, "expunged", got.String(), want.String())
}

// transfer copies or moves.
func (m *model) transfer(from, to *modelBox, move bool) {
	uids := m.some(from)
	if len(to.messages) > 3000 {
		return
	}
	do := m.f.a.Copy
	if move {
		do = m.f.a.Move
	}
	got, err := do(m.f.context(), from.id, uids, to.id)
	m.f.check(err)
	highest := m.f.box(to.name).HighestModSeq
	n := 0
	from.messages = slices.DeleteFunc(from.messages, func(msg mail.Message) bool {
		if !uids.Contains(msg.UID) {
			return false
		}
		equal(m.f, "source", got.Source[n], msg.UID)
		msg.UID, msg.ModSeq, msg.SaveDate = to.next, highest, m.f.clock.unix.Load()
		equal(m.f, "target", got.Target[n], msg.UID)
		to.messages = append(to.messages, msg)
		to.next++
		n++
		return move
	})
	equal(m.f, "transferred", len(got.Source), n)
}

// compare compares the store with the model.
func (m *model) compare(box *modelBox) {
	equalSlices(m.f, "messages of "+box.name, m.f.messages(box.name), box.messages)
	row := m.f.box(box.name)
	var unseen, deleted int
	var size int64
	for i := range box.messages {
		if box.messages[i].Flags&mail.Seen == 0 {
			unseen++
		}
		if box.messages[i].Flags&mail.Deleted != 0 {
			deleted++
		}
		size += box.messages[i].Size
	}
	equal(m.f, "counts", fmt.Sprint(row.Messages, row.Unseen, row.Deleted, row.Size, row.UIDNext),
		fmt.Sprint(len(box.messages), unseen, deleted, size, box.next))
}

// follow moves a session on, or not, and tells it what Diff says.
func (m *model) follow(v *modelView) {
	var to *store.Snapshot
	switch m.r.IntN(4) {
	case 0:
		to = v.view.Latest()
	case 1:
		to = store.KeepExpunged(v.view.Snapshot(), v.view.Latest())
		equal(m.f, "first unseen", to.FirstUnseen(), firstUnseen(messagesOf(to)))
	default:
		return
	}
	for c := range store.Diff(v.view.Snapshot(), to) {
		if c.Expunged {
			equal(m.f, "UID expunged", v.told[c.Seq-1].UID, c.Message.UID)
			v.told = slices.Delete(v.told, c.Seq-1, c.Seq)
		} else {
			equal(m.f, "UID changed", v.told[c.Seq-1].UID, c.Message.UID)
			v.told[c.Seq-1] = c.Message
		}
	}
	for _, msg := range to.Range(len(v.told)+1, to.Len()) {
		v.told = append(v.told, *msg)
	}
	equalSlices(m.f, "what a session was told", v.told, messagesOf(to))
	v.view.MoveTo(to)
}

// firstUnseen returns the first sequence number without \Seen, or 0.
func firstUnseen(messages []mail.Message) int {
	return slices.IndexFunc(messages, func(m mail.Message) bool { return m.Flags&mail.Seen == 0 }) + 1
}
