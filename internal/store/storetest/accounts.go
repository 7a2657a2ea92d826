package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"expost/internal/mail"
	"expost/internal/store"
)

// context returns a context that outlives the test's own, for cleanups.
func (f *fixture) context() context.Context { return context.WithoutCancel(f.Context()) }

func testAccounts(f *fixture) {
	ctx := f.context()
	ids := []mail.AccountID{account, "example.org/", "example.org/Ajay", "example.org/../../etc", "example.org/a b/c%d",
		"bücher.example/jürgen", "exa\xffmple/\x00x", "/root", ".hidden/.hidden"}
	for _, id := range ids {
		f.check(f.store.Create(ctx, id))
		f.check(f.store.Create(ctx, id)) // again is no error
	}
	slices.Sort(ids)
	var got []mail.AccountID
	for id, err := range f.store.Accounts(ctx) {
		f.check(err)
		got = append(got, id)
	}
	equalSlices(f, "accounts", got, ids)
	f.reopen()
	for _, id := range ids {
		a := f.openAccount(id)
		boxes, err := a.Mailboxes(ctx)
		f.check(err)
		var names []string
		for _, box := range boxes {
			names = append(names, fmt.Sprint(box.Name, " ", box.SpecialUse, " ", box.Subscribed))
		}
		equal(f, "mailboxes", strings.Join(names, ", "), "INBOX  true, Archive Archive true, Drafts Drafts true, Junk Junk true, Sent Sent true, Trash Trash true")
		a.Release()
	}
	_, err := f.store.Open(ctx, "example.org/nobody")
	f.wantKind(err, mail.KindNotExist)
	f.wantKind(f.store.Create(ctx, mail.AccountID("example.org/"+strings.Repeat("x", 500))), mail.KindInvalid)
	f.wantKind(f.store.Create(ctx, "nodomain"), mail.KindInvalid)
	f.wantKind(f.store.Remove(ctx, "example.org/nobody"), mail.KindNotExist)
}

func testAccountRemoved(f *fixture) {
	ctx := f.context()
	id := mail.AccountID("example.org/bis")
	f.check(f.store.Create(ctx, id))
	a := f.openAccount(id)
	defer a.Release()
	v, err := a.Select(ctx, "INBOX")
	f.check(err)
	defer v.Close()
	changed := v.Changed()
	f.check(f.store.Remove(ctx, id))
	<-changed
	if !v.Gone() {
		f.Error("the view of a removed account is not gone")
	}
	_, err = a.Mailboxes(ctx)
	f.wantKind(err, mail.KindNotExist)
	f.wantKind(a.Subscribe(ctx, "INBOX", false), mail.KindNotExist)
	_, err = f.store.Open(ctx, id)
	f.wantKind(err, mail.KindNotExist)

	f.check(f.store.Create(ctx, id))
	again := f.openAccount(id)
	defer again.Release()
	if _, err := again.Mailbox(ctx, "INBOX"); err != nil {
		f.Error("an account that was removed and made again:", err)
	}
}

// testManyAccounts uses more accounts than stay in memory, from many sides.
func testManyAccounts(f *fixture) {
	ctx := f.context()
	const accounts, deliveries = 20, 6
	id := func(i int) mail.AccountID { return mail.AccountID(fmt.Sprintf("example.org/user%d", i)) }
	for i := range accounts {
		f.check(f.store.Create(ctx, id(i)))
	}
	var wg sync.WaitGroup
	for side := range 4 {
		wg.Go(func() {
			for n := range accounts * deliveries / 4 {
				if err := f.deliver(id((n*7+side)%accounts), n); err != nil {
					f.Error(err)
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for i := range accounts {
		a := f.openAccount(id(i))
		box, err := a.Mailbox(ctx, "INBOX")
		f.check(err)
		total += box.Messages
		a.Release()
	}
	equal(f, "messages", total, accounts*deliveries)
}

// deliver opens an account and appends a message to its INBOX.
func (f *fixture) deliver(id mail.AccountID, n int) error {
	ctx := f.context()
	a, err := f.store.Open(ctx, id)
	if err != nil {
		return err
	}
	defer a.Release()
	box, err := a.Mailbox(ctx, "INBOX")
	if err != nil {
		return err
	}
	in, err := f.store.Spool(ctx, nil, strings.NewReader(text(n)), 0)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = a.Append(ctx, box.ID, in, store.AppendOptions{})
	return err
}
