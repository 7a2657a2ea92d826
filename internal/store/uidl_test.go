package store_test

import (
	"fmt"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

func TestFormatUIDL(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"%08Xu%08Xv":                    "0000002A3B9ACA0F",
		"%08xu%08xv":                    "0000002a3b9aca0f",
		"UID%u-%v":                      "UID42-1000000015",
		"%v-%u":                         "1000000015-42",
		"%v.%u":                         "1000000015.42",
		"%u":                            "42",
		"%%%u":                          "%42",
		"%f":                            "", // not known here
		"%d":                            "",
		"%99u":                          "",
		"%-5u":                          "",
		"a b%u":                         "",
		"":                              "",
		"%u\x7f":                        "",
		"%u%":                           "",
		"%u" + string(make([]byte, 90)): "",
	} {
		got, err := store.FormatUIDL(format, 1000000015, 42)
		if got != want && err == nil || (err == nil) != (want != "") {
			t.Errorf("%q gives %q, %v; want %q", format, got, err, want)
		}
	}
}

func FuzzFormatUIDL(f *testing.F) {
	f.Add("%08Xu%08Xv", uint32(1), uint32(2))
	f.Add("%%%9999999u%", uint32(1), uint32(2))
	f.Fuzz(func(t *testing.T, format string, v, uid uint32) {
		if s, err := store.FormatUIDL(format, mail.UIDValidity(v), mail.UID(uid)); err == nil && (s == "" || len(s) > 70) {
			t.Errorf("%q gives %q", format, s)
		}
	})
}

// TestUIDLsAreKept sets unique ids, opens the store anew and sets others.
func TestUIDLsAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() (*store.Store, *store.Account, mail.MailboxID) {
		engine, err := sqlite.New(dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		st := store.New(engine, store.Options{})
		_ = st.Create(t.Context(), "example.org/ajay")
		a, err := st.Open(t.Context(), "example.org/ajay")
		if err != nil {
			t.Fatal(err)
		}
		inbox, err := a.Mailbox(t.Context(), mail.Inbox)
		if err != nil {
			t.Fatal(err)
		}
		return st, a, inbox.ID
	}
	st, a, box := open()
	many := map[mail.UID]string{}
	for uid := range mail.UID(2500) {
		many[uid*3+1] = fmt.Sprintf("AAAA+/=%d", uid)
	}
	if err := a.SetUIDLs(t.Context(), box, store.UIDLs{Format: "%v.%u", Of: many}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []store.UIDLs{{Format: "%z"}, {Of: map[mail.UID]string{1: "a b"}}, {Of: map[mail.UID]string{1: strings.Repeat("x", 71)}}, {Of: map[mail.UID]string{1: ""}}} {
		if err := a.SetUIDLs(t.Context(), box, bad); mail.KindOf(err) != mail.KindInvalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if list, err := a.Access(store.Principal{ID: "example.org/ajay"}, store.Personal{}).Annotations(t.Context(), box); err != nil || len(list) != 0 {
		t.Errorf("the ids are seen as annotations: %v %v", list, err)
	}
	a.Release()
	st.Close()
	st, a, box = open()
	defer func() { a.Release(); st.Close() }()
	u, err := a.UIDLs(t.Context(), box)
	if err != nil || u.Format != "%v.%u" || len(u.Of) != len(many) || u.UIDL(7, 4) != "AAAA+/=1" || u.UIDL(7, 5) != "7.5" {
		t.Fatalf("after opening anew: %v, %q, %d ids", err, u.Format, len(u.Of))
	}
	if err := a.SetUIDLs(t.Context(), box, store.UIDLs{Of: map[mail.UID]string{9: "nine"}}); err != nil {
		t.Fatal(err)
	}
	if u, err = a.UIDLs(t.Context(), box); err != nil || u.Format != "" || len(u.Of) != 1 || u.UIDL(7, 9) != "nine" || u.UIDL(7, 5) != "0000000500000007" {
		t.Errorf("after setting others: %v %+v", err, u)
	}
}
