package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// Benchmark measures what the store promises: durable deliveries, selects,
// flag changes, copies, listings.
func Benchmark(b *testing.B, open Open) {
	for _, bench := range []struct {
		name string
		run  func(*testing.B, *bench)
	}{
		{"Spool/4KiB", func(b *testing.B, s *bench) { s.spoolAll(b, 4<<10) }},
		{"Spool/1MiB", func(b *testing.B, s *bench) { s.spoolAll(b, 1<<20) }},
		{"Deliver/4KiB/accounts=1/callers=1", func(b *testing.B, s *bench) { s.deliverAll(b, 4<<10, 1, 1) }},
		{"Deliver/4KiB/accounts=1/callers=16", func(b *testing.B, s *bench) { s.deliverAll(b, 4<<10, 1, 16) }},
		{"Deliver/4KiB/accounts=16/callers=16", func(b *testing.B, s *bench) { s.deliverAll(b, 4<<10, 16, 16) }},
		{"Deliver/4KiB/accounts=16/callers=64", func(b *testing.B, s *bench) { s.deliverAll(b, 4<<10, 16, 64) }},
		{"Fan/4KiB/recipients=50/callers=1", func(b *testing.B, s *bench) { s.fan(b, 4<<10, 50, 1) }},
		{"Fan/4KiB/recipients=50/callers=16", func(b *testing.B, s *bench) { s.fan(b, 4<<10, 50, 16) }},
		{"Deliver/32KiB/accounts=16/callers=16", func(b *testing.B, s *bench) { s.deliverAll(b, 32<<10, 16, 16) }},
		{"Deliver/128KiB/accounts=16/callers=16", func(b *testing.B, s *bench) { s.deliverAll(b, 128<<10, 16, 16) }},
		{"Deliver/1MiB/accounts=16/callers=16", func(b *testing.B, s *bench) { s.deliverAll(b, 1<<20, 16, 16) }},
		{"Bulk/4KiB/1000", func(b *testing.B, s *bench) { s.bulk(b, 4<<10, 1000) }},
		{"Mailbox/500000", func(b *testing.B, s *bench) { s.mailbox(b, 500_000) }},
		{"Reader/100000", func(b *testing.B, s *bench) { s.reader(b, 100_000) }},
		{"Body/16KiB/inline", func(b *testing.B, s *bench) { s.bodies(b, 16<<10, 1<<20) }},
		{"Body/16KiB/file", func(b *testing.B, s *bench) { s.bodies(b, 16<<10, 1) }},
		{"Body/64KiB/inline", func(b *testing.B, s *bench) { s.bodies(b, 64<<10, 1<<20) }},
		{"Body/64KiB/file", func(b *testing.B, s *bench) { s.bodies(b, 64<<10, 1) }},
		{"Body/256KiB/inline", func(b *testing.B, s *bench) { s.bodies(b, 250<<10, 1<<20) }},
		{"Body/256KiB/file", func(b *testing.B, s *bench) { s.bodies(b, 250<<10, 1) }},
		{"SearchTexts/10000", func(b *testing.B, s *bench) { s.texts(b) }},
		{"OpenAccount", func(b *testing.B, s *bench) { s.openAccounts(b) }},
	} {
		b.Run(bench.name, func(b *testing.B) { bench.run(b, newBench(b, open)) })
	}
}

type bench struct {
	store *store.Store
	open  func(store.Options)
}

func newBench(b *testing.B, open Open) *bench {
	dir := b.TempDir()
	s := &bench{}
	s.open = func(opt store.Options) {
		opt.Log = slog.New(slog.DiscardHandler)
		s.store = store.New(open(b, dir), opt)
	}
	s.open(store.Options{})
	b.Cleanup(func() { s.store.Close() })
	return s
}

// account makes and opens an account.
func (s *bench) account(b *testing.B, id mail.AccountID) *store.Account {
	if err := s.store.Create(b.Context(), id); err != nil {
		b.Fatal(err)
	}
	a, err := s.store.Open(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(a.Release)
	return a
}

// letter returns a message of about n bytes that compresses as mail does.
func letter(n, size int) string {
	var t strings.Builder
	t.WriteString(text(n)[:strings.Index(text(n), "\r\n\r\n")])
	t.WriteString("\r\nTo: Bis <bis@example.org>\r\nDate: Tue, 2 Jan 2024 10:20:30 +0530\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nReceived: from a.example.org by b.example.org; Tue, 2 Jan 2024 10:20:30 +0530\r\n\r\n")
	for i := 0; t.Len() < size; i++ {
		fmt.Fprintf(&t, "Line %d says %x, and that %s is what was meant.\r\n", i, (i+n)*2654435761, noiseWords[(i*7+n)%len(noiseWords)])
	}
	return t.String()
}

var noiseWords = strings.Fields("mailbox exchange delivery folder letter answer question meeting tomorrow invoice project draft holiday server")

func (s *bench) spoolAll(b *testing.B, size int) {
	text := letter(1, size)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		in, err := s.store.Spool(b.Context(), nil, strings.NewReader(text), 0)
		if err != nil {
			b.Fatal(err)
		}
		in.Close()
	}
}

// deliverAll spools and appends b.N messages, from callers at the same time.
func (s *bench) deliverAll(b *testing.B, size, accounts, callers int) {
	var texts []string
	for i := range 64 {
		texts = append(texts, letter(i, size))
	}
	s.deliverTexts(b, texts, accounts, callers)
}

func (s *bench) deliverTexts(b *testing.B, texts []string, accounts, callers int) {
	ctx := context.Background()
	type place struct {
		a  *store.Account
		id mail.MailboxID
	}
	var places []place
	for i := range accounts {
		a := s.account(b, mail.AccountID(fmt.Sprintf("example.org/u%d", i)))
		box, err := a.Mailbox(ctx, "INBOX")
		if err != nil {
			b.Fatal(err)
		}
		places = append(places, place{a, box.ID})
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < b.N; i += callers {
				in, err := s.store.Spool(ctx, fmt.Appendf(nil, "X-Number: %d\r\n", i), strings.NewReader(texts[i%len(texts)]), 0)
				if err == nil {
					p := places[i%accounts]
					_, err = p.a.Append(ctx, p.id, in, store.AppendOptions{})
					in.Close()
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// fan delivers each message to many accounts at once, as delivery does. What it
// counts is the recipients.
func (s *bench) fan(b *testing.B, size, recipients, callers int) {
	ctx := context.Background()
	var accounts []*store.Account
	for i := range recipients {
		accounts = append(accounts, s.account(b, mail.AccountID(fmt.Sprintf("example.org/u%d", i))))
	}
	box, err := accounts[0].Mailbox(ctx, "INBOX") // of the same id in all
	if err != nil {
		b.Fatal(err)
	}
	text := letter(1, size)
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < b.N; i += callers {
				in, err := s.store.Spool(ctx, fmt.Appendf(nil, "X-Number: %d\r\n", i), strings.NewReader(text), 0)
				if err != nil {
					b.Error(err)
					return
				}
				var fan sync.WaitGroup
				for _, a := range accounts {
					fan.Go(func() {
						if _, err := a.Append(ctx, box.ID, in, store.AppendOptions{}); err != nil {
							b.Error(err)
						}
					})
				}
				fan.Wait()
				in.Close()
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N*recipients)/b.Elapsed().Seconds(), "recipients/s")
}

// bodies delivers messages that do not compress, to measure from which size on
// a file of its own is better.
func (s *bench) bodies(b *testing.B, size, inlineMax int) {
	s.store.Close()
	s.open(store.Options{InlineMax: inlineMax})
	var texts []string
	for i := range 16 {
		texts = append(texts, text(i)+noise(size, uint64(i)))
	}
	s.deliverTexts(b, texts, 16, 16)
}

func (s *bench) bulk(b *testing.B, size, n int) {
	a := s.account(b, "example.org/u")
	box, _ := a.Mailbox(b.Context(), "INBOX")
	for b.Loop() {
		s.fill(b, a, box.ID, n, size)
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msg/s")
}

// fill adds n messages in one change.
func (s *bench) fill(b *testing.B, a *store.Account, id mail.MailboxID, n, size int) {
	msgs := make([]store.BulkMessage, n)
	for i := range msgs {
		in, err := s.store.Spool(b.Context(), nil, strings.NewReader(letter(i, size)), 0)
		if err != nil {
			b.Fatal(err)
		}
		msgs[i] = store.BulkMessage{Incoming: in, InternalDate: mail.Date{Unix: 1_000_000_000 + int64(i)*3600}}
	}
	if _, err := a.Bulk(b.Context(), id, msgs); err != nil {
		b.Fatal(err)
	}
}

// mailbox measures a mailbox of n messages. The messages are copies of few.
func (s *bench) mailbox(b *testing.B, n int) {
	ctx := context.Background()
	a := s.account(b, "example.org/u")
	inbox, _ := a.Mailbox(ctx, "INBOX")
	trash, _ := a.Mailbox(ctx, "Trash")
	const first = 10_000
	for range first / 1000 {
		s.fill(b, a, trash.ID, 1000, 1<<10)
	}
	for have := 0; have < n; have += first {
		if _, err := a.Copy(ctx, trash.ID, all, inbox.ID); err != nil {
			b.Fatal(err)
		}
	}
	step := func(name string, fn func() error) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := fn(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	step("SelectCold", func() error {
		// Two others push it out of memory.
		for _, name := range []string{"INBOX", "Sent", "Junk"} {
			v, err := a.Select(ctx, name)
			if err != nil {
				return err
			}
			v.Snapshot().FirstUnseen()
			v.Close()
		}
		return nil
	})
	v, err := a.Select(ctx, "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	step("SelectWarm", func() error {
		v, err := a.Select(ctx, "INBOX")
		if err == nil {
			v.Close()
		}
		return err
	})
	step("Range", func() error {
		sum := 0
		for _, m := range v.Snapshot().Range(1, n) {
			sum += int(m.Flags)
		}
		return nil
	})
	flip := mail.Seen
	step("StoreOne", func() error {
		_, err := a.StoreFlags(ctx, inbox.ID, set(mail.UID(n/2)), store.FlagChange{Op: store.FlagsSet, Flags: flip})
		flip ^= mail.Seen
		return err
	})
	step("StoreAll", func() error {
		_, err := a.StoreFlags(ctx, inbox.ID, all, store.FlagChange{Op: store.FlagsSet, Flags: flip})
		flip ^= mail.Seen
		return err
	})
	step("DiffAll", func() error {
		now := v.Latest()
		for range store.Diff(v.Snapshot(), now) {
			continue
		}
		return nil
	})
	v.MoveTo(v.Latest())
	in, err := s.store.Spool(ctx, nil, strings.NewReader(letter(1, 4<<10)), 0)
	if err != nil {
		b.Fatal(err)
	}
	step("AppendSelected", func() error {
		_, err := a.Append(ctx, inbox.ID, in, store.AppendOptions{})
		return err
	})
	s.copies(b, a, inbox.ID)
	s.details(b, a, trash.Name, first)
}

// reader measures a mailbox of n messages that somebody else reads, half of whose
// messages he has seen, and the other half its owner.
func (s *bench) reader(b *testing.B, n int) {
	ctx := context.Background()
	a := s.account(b, "example.org/u")
	inbox, _ := a.Mailbox(ctx, "INBOX")
	for range n / 1000 {
		s.fill(b, a, inbox.ID, 1000, 100)
	}
	x := a.Access(store.Principal{ID: "example.org/reader"}, store.PersonalSeen)
	seen := store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}
	if _, err := a.StoreFlags(ctx, inbox.ID, mail.UIDSet{{First: mail.UID(n/2) + 1, Last: mail.UID(n)}}, seen); err != nil {
		b.Fatal(err)
	}
	if _, err := x.StoreFlags(ctx, inbox.ID, mail.UIDSet{{First: 1, Last: mail.UID(n / 2)}}, seen); err != nil {
		b.Fatal(err)
	}
	b.Run("Select", func(b *testing.B) {
		for b.Loop() {
			v, err := x.Select(ctx, "INBOX")
			if err != nil {
				b.Fatal(err)
			}
			v.Close()
		}
	})
	v, err := x.Select(ctx, "INBOX")
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	b.Run("StoreOne", func(b *testing.B) {
		flip := mail.Seen
		for b.Loop() {
			if _, err := x.StoreFlags(ctx, inbox.ID, set(mail.UID(n/3)), store.FlagChange{Op: store.FlagsSet, Flags: flip}); err != nil {
				b.Fatal(err)
			}
			flip ^= mail.Seen
		}
	})
}

// copies copies the first 100,000 messages of a mailbox.
func (s *bench) copies(b *testing.B, a *store.Account, from mail.MailboxID) {
	archive, err := a.Mailbox(b.Context(), "Archive")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Copy100000", func(b *testing.B) {
		for b.Loop() {
			if _, err := a.Copy(context.Background(), from, mail.UIDSet{{First: 1, Last: 100_000}}, archive.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// details lists the structures of n messages.
func (s *bench) details(b *testing.B, a *store.Account, name string, n int) {
	v, err := a.Select(b.Context(), name)
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	var ids []mail.EmailID
	for _, m := range v.Snapshot().Range(1, n) {
		ids = append(ids, m.Email)
	}
	b.Run(fmt.Sprintf("Details%d", n), func(b *testing.B) {
		for b.Loop() {
			if err := a.Details(context.Background(), ids, func(int, *message.Message) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// openAccounts opens accounts that are not in memory, delivers, and lets go.
func (s *bench) openAccounts(b *testing.B) {
	ctx := context.Background()
	const accounts = 600
	for i := range accounts {
		if err := s.store.Create(ctx, mail.AccountID(fmt.Sprintf("example.org/u%d", i))); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		a, err := s.store.Open(ctx, mail.AccountID(fmt.Sprintf("example.org/u%d", i%accounts)))
		if err != nil {
			b.Fatal(err)
		}
		i++
		if _, err := a.Mailboxes(ctx); err != nil {
			b.Fatal(err)
		}
		a.Release()
	}
}
