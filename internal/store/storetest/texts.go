package storetest

import (
	"fmt"
	"math/rand/v2"
	"mime"
	"strings"
	"testing"
	"time"

	"expost/internal/fulltext"
	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// scripts are words of many scripts, with what folding has to see through.
var scripts = []string{
	"budget", "Meeting", "STRASSE", "straße", "Überweisung", "u\u0308ber", "naïve", "ПРИВЕТ", "отчёт", "ΣΊΣΥΦΟΣ", "σίσυφος",
	"会议", "日本語のテキスト", "한국어", "ᄒ\u1161ᆫ글", "שלום", "مرحبا", "नमस्ते", "ไทย", "😀🎉", "İstanbul", "\u00a0", "K", "a", "%_\"'",
}

// document returns a random message and the name of its attachment.
func document(r *rand.Rand, n int) string {
	words := func(count int) string {
		var list []string
		for range count {
			list = append(list, scripts[r.IntN(len(scripts))])
		}
		return strings.Join(list, " ")
	}
	subject := mime.QEncoding.Encode("utf-8", words(3))
	if n%7 == 0 {
		return fmt.Sprintf("Subject: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"+
			"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>%s<b>&amp;</b>\r\n--b\r\nContent-Type: application/pdf\r\n"+
			"Content-Disposition: attachment; filename=\"%s\"\r\n\r\nxx\r\n--b--\r\n", subject, words(20), mime.QEncoding.Encode("utf-8", words(1)))
	}
	size := 5
	switch {
	case n%11 == 0:
		size = 3000
	case n%97 == 0:
		size = 150_000 // longer than what is indexed
	}
	return fmt.Sprintf("Subject: %s\r\nX-Empty:\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n", subject, words(size))
}

// needles returns what to look for.
func needles(r *rand.Rand) []fulltext.Needle {
	list := []fulltext.Needle{{Where: fulltext.InField, Field: "x-EMPTY"}}
	for range 20 {
		word := []rune(scripts[r.IntN(len(scripts))] + " " + scripts[r.IntN(len(scripts))])
		from := r.IntN(len(word))
		part := fulltext.Fold(string(word[from : from+1+r.IntN(len(word)-from)]))
		list = append(list, fulltext.Needle{Where: fulltext.Where(r.IntN(3)), Field: "subject", Text: part})
	}
	return list
}

// textOf returns the text of a message by parsing it in one piece.
func textOf(raw string) fulltext.Text {
	b := fulltext.NewBuilder(1 << 30)
	p := message.NewParser(message.Limits{}, b)
	_, _ = p.Write([]byte(raw))
	p.Finish()
	text, _ := b.Text()
	return append(fulltext.Text(nil), text...)
}

// searched compares a search with the texts themselves, and returns how many of
// them the index knew.
func (f *fixture) searched(texts map[mail.EmailID]fulltext.Text, list []fulltext.Needle) (known int) {
	f.Helper()
	var ids []mail.EmailID
	for id := range texts {
		ids = append(ids, id)
	}
	hits, err := f.a.SearchTexts(f.context(), ids, list)
	f.check(err)
	for id, text := range texts {
		if !hits.Known(id) {
			continue
		}
		known++
		for i := range list {
			if got, want := hits.Found(id, i), text.Find(&list[i]); got != want {
				f.Fatalf("email %v: needle %d %q: %v, want %v", id, list[i].Where, list[i].Text, got, want)
			}
		}
	}
	return known
}

// testTexts appends, expunges, indexes and searches at random: what the index
// knows is right at any time, and it knows all that is short when it was asked to.
func testTexts(f *fixture) {
	r := rand.New(rand.NewPCG(1, 2))
	inbox := f.box("INBOX").ID
	texts := make(map[mail.EmailID]fulltext.Text)
	uids := make(map[mail.EmailID]mail.UID)
	short := func() (n int) {
		for _, text := range texts {
			if len(text) <= 1<<20 {
				n++
			}
		}
		return n
	}
	for n := range 400 {
		raw := document(r, n)
		in := f.spool(raw)
		got, err := f.a.Append(f.context(), inbox, in, store.AppendOptions{})
		f.check(err)
		in.Close()
		texts[got.Email], uids[got.Email] = textOf(raw), got.UID
		switch r.IntN(40) {
		case 0:
			f.check(f.a.IndexTexts(f.context()))
			if r.IntN(2) == 0 {
				equal(f, "texts in the index", f.searched(texts, needles(r)), short())
			}
		case 1:
			f.reopen()
		case 2:
			var gone mail.UIDSet
			for id, uid := range uids {
				if r.IntN(5) == 0 {
					gone.Add(uid)
					delete(uids, id)
					delete(texts, id)
				}
			}
			_, err := f.a.StoreFlags(f.context(), inbox, gone, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted})
			f.check(err)
			_, err = f.a.Expunge(f.context(), inbox, gone)
			f.check(err)
		case 3, 4, 5:
			f.searched(texts, needles(r))
		}
	}
	f.check(f.a.IndexTexts(f.context()))
	for range 20 {
		equal(f, "texts in the index", f.searched(texts, needles(r)), short())
	}
}

// testTextsInBackground waits for the index to catch up by itself.
func testTextsInBackground(f *fixture) {
	f.a.Release()
	f.check(f.store.Close())
	f.opt.IndexDelay = 1
	f.start()
	f.a = f.openAccount(account)
	got := f.append(f.box("INBOX").ID, 1)
	needle := []fulltext.Needle{{Where: fulltext.InBody, Text: fulltext.Fold("IS MESSAGE 1")}}
	for {
		hits, err := f.a.SearchTexts(f.context(), []mail.EmailID{got.Email}, needle)
		f.check(err)
		if hits.Known(got.Email) {
			equal(f, "found", hits.Found(got.Email, 0), true)
			return
		}
	}
}

// benchTexts searches 10,000 messages of 4 KiB, and builds their index.
func (s *bench) texts(b *testing.B) {
	s.store.Close()
	s.open(store.Options{IndexDelay: -1})
	a := s.account(b, account)
	inbox, err := a.Mailbox(b.Context(), "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	ids := make([]mail.EmailID, 0, 10_000)
	for len(ids) < cap(ids) {
		msgs := make([]store.BulkMessage, 500)
		for i := range msgs {
			if msgs[i].Incoming, err = s.store.Spool(b.Context(), nil, strings.NewReader(letter(len(ids)+i, 4<<10)), 0); err != nil {
				b.Fatal(err)
			}
		}
		got, err := a.Bulk(b.Context(), inbox.ID, msgs)
		if err != nil {
			b.Fatal(err)
		}
		for i := range got {
			ids = append(ids, got[i].Email)
			msgs[i].Incoming.Close()
		}
	}
	start := time.Now()
	if err := a.IndexTexts(b.Context()); err != nil {
		b.Fatal(err)
	}
	rate := float64(len(ids)) / time.Since(start).Seconds()
	for _, search := range []struct {
		name, text string
		where      fulltext.Where
	}{
		{"none", "not in any message", fulltext.InText},
		{"one", "message 77@", fulltext.InText},
		{"all", "what was meant", fulltext.InBody},
		{"short", "qq", fulltext.InBody},
	} {
		b.Run(search.name, func(b *testing.B) {
			list := []fulltext.Needle{{Where: search.where, Text: fulltext.Fold(search.text)}}
			for b.Loop() {
				hits, err := a.SearchTexts(b.Context(), ids, list)
				if err != nil || !hits.Known(ids[0]) {
					b.Fatal("the index is not used", err)
				}
			}
			b.ReportMetric(rate, "indexed/s")
		})
	}
}
