package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"expost/internal/mail"
)

// someMessages returns n messages with everything that a chunk can hold.
func someMessages(n int) []mail.Message {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	uid := mail.UID(0)
	var messages []mail.Message
	for range n {
		uid += mail.UID(r.IntN(5)) + 1
		email := mail.EmailID(r.Uint64N(1 << 40))
		m := mail.Message{
			UID: uid, ModSeq: mail.ModSeq(r.Uint64N(1 << 50)), Email: email, Thread: mail.ThreadID(email),
			Size: r.Int64N(1 << 40), Flags: mail.Flags(r.IntN(32)), SaveDate: r.Int64N(1<<33) - 1<<32,
			InternalDate: mail.Date{Unix: r.Int64N(1<<33) - 1<<32, Offset: int16(r.IntN(5)-2) * 90},
		}
		if r.IntN(2) == 0 {
			m.Keywords = mail.NewKeywords("a", fmt.Sprint("k", r.IntN(9)))
		}
		if r.IntN(2) == 0 {
			m.Thread = mail.ThreadID(r.Uint64N(1 << 40))
		}
		messages = append(messages, m)
	}
	return messages
}

func TestChunk(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, chunkCap, 5 * chunkCap} {
		want := someMessages(n)
		c, got, err := readChunk(want[0].UID, newChunk(1, want).data, nil)
		if err != nil || !slices.Equal(got, want) || !slices.Equal(c.messages(), want) {
			t.Fatalf("%d messages came back different, error %v", n, err)
		}
		for i := range c.data {
			damaged := slices.Clone(c.data)
			damaged[i] ^= 0x10
			if _, _, err := readChunk(c.key, damaged, nil); mail.KindOf(err) != mail.KindCorrupt {
				t.Fatalf("byte %d of %d flipped: error %v", i, len(c.data), err)
			}
		}
	}
}

// FuzzChunk reads bytes under a checksum that is right.
func FuzzChunk(f *testing.F) {
	for _, n := range []int{1, 3, 30} {
		f.Add(newChunk(1, someMessages(n)).data[5:])
	}
	f.Fuzz(func(t *testing.T, rest []byte) {
		data := seal(append([]byte{chunkVersion, 0, 0, 0, 0}, rest...))
		messages, _, err := unpackChunk(data, nil)
		if err != nil {
			return
		}
		again, _, err := unpackChunk(newChunk(1, messages).data, nil)
		if err != nil || !slices.Equal(again, messages) {
			t.Errorf("%d messages came back as %d, error %v", len(messages), len(again), err)
		}
	})
}

func FuzzUIDSet(f *testing.F) {
	for _, set := range []mail.UIDSet{nil, {{First: 1, Last: 1}}, {{First: 1, Last: 5}, {First: 7, Last: maxUID}}} {
		f.Add(appendUIDSet(nil, set))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := readUIDSet(b)
		if err != nil {
			return
		}
		again, err := readUIDSet(appendUIDSet(nil, set))
		if err != nil || !slices.Equal(again, set) {
			t.Errorf("%v came back as %v, error %v", set, again, err)
		}
	})
}

func BenchmarkChunk(b *testing.B) {
	messages := someMessages(chunkCap)
	for i := range messages { // as mail is
		messages[i].ModSeq, messages[i].Email, messages[i].Size = mail.ModSeq(1000+i), mail.EmailID(500+i), int64(3000+i*7)
		messages[i].Thread, messages[i].InternalDate = mail.ThreadID(messages[i].Email), mail.Date{Unix: 1_700_000_000 + int64(i)*4000}
		messages[i].SaveDate = messages[i].InternalDate.Unix + 2
	}
	c := newChunk(1, messages)
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			packChunk(messages)
		}
		b.ReportMetric(float64(len(c.data))/chunkCap, "bytes/message")
	})
	b.Run("unpack", func(b *testing.B) {
		buf := make([]mail.Message, 0, chunkCap)
		for b.Loop() {
			buf = c.unpack(buf)
		}
	})
}

// BenchmarkReaderView is what the first SELECT of a shared mailbox of 500,000
// messages costs a reader who has seen the older half of it.
func BenchmarkReaderView(b *testing.B) {
	var base, own []*chunk
	for uid := mail.UID(1); uid < 500_000; uid += chunkCap {
		all, seen := make([]mail.Message, chunkCap), make([]mail.Message, chunkCap)
		for i := range all {
			all[i] = mail.Message{UID: uid + mail.UID(i), ModSeq: 5, Email: mail.EmailID(uid), Thread: mail.ThreadID(uid), Flags: mail.Seen, Size: 4000}
			seen[i] = mail.Message{UID: all[i].UID, ModSeq: 7, Flags: mail.Seen}
		}
		if base = append(base, newChunk(uid, all)); uid < 250_000 {
			own = append(own, newChunk(uid, seen))
		}
	}
	ix := newIndex(base)
	r := &reader{row: ReaderRow{Personal: PersonalSeen}, index: newIndex(own)}
	for b.Loop() {
		if r.view(ix, nil).nodes[0].unseen != 0 {
			b.Fatal("what was seen is not")
		}
	}
}
