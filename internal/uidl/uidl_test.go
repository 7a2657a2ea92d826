package uidl

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// drop is an old server's maildrop.
type drop struct{ ids, headers []string }

func (d *drop) List(context.Context) ([]string, error) { return d.ids, nil }

func (d *drop) Header(_ context.Context, n int) ([]byte, error) { return []byte(d.headers[n-1]), nil }

// newAccount returns an account whose INBOX has these messages.
func newAccount(t *testing.T, messages ...string) *store.Account {
	t.Helper()
	engine, err := sqlite.New(t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	st := store.New(engine, store.Options{})
	t.Cleanup(func() { st.Close() })
	if err := st.Create(t.Context(), "example.org/ajay"); err != nil {
		t.Fatal(err)
	}
	a, err := st.Open(t.Context(), "example.org/ajay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Release)
	inbox, err := a.Mailbox(t.Context(), mail.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		in, err := st.Spool(t.Context(), nil, strings.NewReader(m), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Append(t.Context(), inbox.ID, in, store.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		in.Close()
	}
	return a
}

func numbered(i int) string {
	return fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\ntext", i, i)
}

func header(i int) string { return fmt.Sprintf("Received: x\r\nMESSAGE-ID:\r\n <%d@x>\r\n", i) }

// uidls returns what POP3 clients see.
func uidls(t *testing.T, a *store.Account) []string {
	t.Helper()
	view, err := a.Examine(t.Context(), mail.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	snap := view.Snapshot()
	u, err := a.UIDLs(t.Context(), snap.Mailbox().ID)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range snap.Range(1, snap.Len()) {
		list = append(list, u.UIDL(snap.Mailbox().UIDValidity, m.UID))
	}
	return list
}

func TestTake(t *testing.T) {
	t.Parallel()
	a := newAccount(t, numbered(1), numbered(2), numbered(3))
	view, err := a.Examine(t.Context(), mail.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	v := uint32(view.Snapshot().Mailbox().UIDValidity)
	view.Close()
	own := func(format string, uids ...int) (ids []string) {
		for _, uid := range uids {
			ids = append(ids, fmt.Sprintf(format, uid, v))
		}
		return ids
	}
	for name, tt := range map[string]struct {
		drop   drop
		format string
		want   []string
	}{
		"Courier":                   {drop{own("UID%d-%d", 1, 2, 3), []string{header(1), header(2), header(3)}}, "UID%u-%v", own("UID%d-%d", 1, 2, 3)},
		"one has just come":         {drop{own("UID%d-%d", 1, 2, 3, 9), []string{header(1), header(2), header(3), header(9)}}, "UID%u-%v", own("UID%d-%d", 1, 2, 3)},
		"one of another rule":       {drop{append(own("UID%d-%d", 1, 2, 3), "UIDx"), []string{header(1), header(2), header(3), header(9)}}, "", own("UID%d-%d", 1, 2, 3)},
		"Dovecot, one is gone":      {drop{own("%08X%08X", 1, 3), []string{header(1), header(3)}}, "", nil},
		"numbers of other messages": {drop{[]string{"1", "2", "3"}, []string{header(3), header(2), header(9)}}, "", []string{own("%08x%08x", 1)[0], "2", "1"}},
		"names":                     {drop{[]string{"1065004800.M1P1.mx", "1065004801.M2P2.mx"}, []string{header(2), header(8)}}, "", []string{own("%08x%08x", 1)[0], "1065004800.M1P1.mx", own("%08x%08x", 3)[0]}},
		"hex elsewhere":             {drop{own("%08x%08x", 1, 2), []string{header(3), header(8)}}, "", []string{"e" + own("%08x%08x", 1)[0], "e" + own("%08x%08x", 2)[0], own("%08x%08x", 1)[0]}},
		"empty":                     {drop{}, "", own("%08x%08x", 1, 2, 3)},
	} {
		t.Run(name, func(t *testing.T) {
			taken, err := Take(t.Context(), a, &tt.drop)
			if err != nil {
				t.Fatal(err)
			}
			got := uidls(t, a)
			if tt.want == nil { // by Dovecot's rule or Expost's: the case of the letters decides
				if taken.Matched != 2 || !strings.EqualFold(got[0], tt.drop.ids[0]) || got[2] != tt.drop.ids[1] && taken.Format == "" {
					t.Errorf("%+v: %q", taken, got)
				}
				return
			}
			if taken.Format != tt.format || fmt.Sprint(got) != fmt.Sprint(tt.want) || taken.Matched+len(taken.Missing) != len(tt.drop.ids) {
				t.Errorf("%+v\ngot  %q\nwant %q", taken, got, tt.want)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	same := []string{
		"Subject: =?utf-8?q?caf=C3=A9?=  au lait\r\nFrom: \"A\" <A@b>\r\nDate: Wed, 1 Oct 2003 12:00:00 +0200\r\n\r\n",
		"date: 1 Oct 2003 10:00:00 GMT\r\nfrom: a@B\r\nsubject: =?iso-8859-1?q?caf=E9?=\r\n au lait\r\n",
	}
	if a, b := keyOf([]byte(same[0])), keyOf([]byte(same[1])); a != b || a == "" {
		t.Errorf("%q and %q", a, b)
	}
	if k := keyOf([]byte("X: y\r\n\r\nSubject: in the body\r\n")); k != "" {
		t.Errorf("a message without anything has the key %q", k)
	}
}
