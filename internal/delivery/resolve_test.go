package delivery

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"expost/internal/delivery/deliverytest"
	"expost/internal/directory"
	"expost/internal/mail"
)

// people are the accounts of the tests here.
func people() *deliverytest.Directory {
	return deliverytest.New(
		directory.Account{Address: "ann@example.org", Aliases: []mail.Address{"Anna.Bell@example.org", "ann+list@example.org", "ann@elsewhere.example"}},
		directory.Account{Address: "bob@example.org", Status: directory.StatusNoAccess},
		directory.Account{Address: "dan@example.org", Status: directory.StatusDisabled},
		directory.Account{Address: "del@example.org", Status: directory.StatusDeleted},
		directory.Account{Address: "far@example.org", Host: "old.example.org"},
		directory.Account{Address: "near@example.org", Host: "mail.example.org"},
		directory.Account{Address: "both@example.org", Forward: []mail.Address{"ann@example.org", "x@gmail.example"}},
		directory.Account{Address: "only@example.org", Forward: []mail.Address{"bob+work@example.org"}, Modes: []string{"nolocal"}},
		directory.Account{Address: "out@example.org", Forward: []mail.Address{"x@gmail.example"}, Modes: []string{"ForwardOnly"}},
		directory.Account{Address: "quiet@example.org", Forward: []mail.Address{"ann@example.org"}, Modes: []string{"noforward"}},
		directory.Account{Address: "ping@example.org", Forward: []mail.Address{"pong@example.org"}, Modes: []string{"nolocal"}},
		directory.Account{Address: "pong@example.org", Forward: []mail.Address{"ping@example.org", "bob@example.org"}, Modes: []string{"nolocal"}},
		directory.Account{Address: "sales-catchall@example.org"},
		directory.Account{Address: "sales-eu-catchall@example.org"},
		directory.Account{Address: "catchall@example.net"},
		directory.Account{Address: "admin@example.org"},
		directory.Account{Address: "bücher@müller.example"},
	)
}

func testAgent(dir directory.Directory) *Agent {
	return New(Config{
		Hostname: "mail.example.org", Domains: []string{"Example.org", "example.net", "müller.example"},
		Separator: "+", CatchAll: "catchall", Postmaster: "admin@example.org",
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7")},
	}, dir, nil, slog.New(slog.DiscardHandler))
}

func TestResolve(t *testing.T) {
	t.Parallel()
	a := testAgent(people())
	user := &directory.Account{Address: "ann@example.org"}
	for _, tt := range []struct {
		addr   mail.Address
		sender *directory.Account
		want   string // targets, or status
	}{
		{"ann@example.org", nil, "ann@example.org"},
		{"ANN@EXAMPLE.ORG", nil, "ann@example.org"},
		{"anna.bell@example.org", nil, "ann@example.org"},
		{"ann@elsewhere.example", nil, "ann@example.org"},
		{"ann+list@example.org", nil, "ann@example.org"},
		{"ann+Work/2026@example.org", nil, "ann@example.org:Work/2026"},
		{"ann+@example.org", nil, "ann@example.org"},
		{"ann+a+b@example.org", nil, "ann@example.org:a+b"},
		{"+x@example.org", nil, "5.1.1"},
		{"bob@example.org", nil, "bob@example.org"},
		{"dan@example.org", nil, "5.2.1"},
		{"dan+x@example.org", nil, "5.2.1"},
		{"del@example.org", nil, "5.1.1"},
		{"far@example.org", nil, "4.4.4"},
		{"near@example.org", nil, "near@example.org"},
		{"both@example.org", nil, "both@example.org ann@example.org !x@gmail.example"},
		{"only@example.org", nil, "bob@example.org:work"},
		{"out@example.org", nil, "4.4.4"},
		{"quiet@example.org", nil, "quiet@example.org"},
		{"ping@example.org", nil, "bob@example.org"},
		{"nobody@example.org", nil, "5.1.1"},
		{"sales-eu-berlin@example.org", nil, "sales-eu-catchall@example.org"},
		{"sales-us-boston@example.org", nil, "sales-catchall@example.org"},
		{"sales@example.org", nil, "sales-catchall@example.org"},
		{"-@example.org", nil, "5.1.1"},
		{"a-b-c-d-e-f-g@example.net", nil, "catchall@example.net"},
		{"anything@example.net", nil, "catchall@example.net"},
		{"postmaster", nil, "admin@example.org"},
		{"PostMaster@example.org", nil, "admin@example.org"},
		{"postmaster@example.net", nil, "admin@example.org"},
		{"postmaster@gmail.example", nil, "5.7.1"},
		{"ann@[192.0.2.7]", nil, "ann@example.org"},
		{"ann@[127.0.0.1]", nil, "ann@example.org"},
		{"ann@[IPv6:::ffff:127.0.0.1]", nil, "ann@example.org"},
		{"ann@[192.0.2.8]", nil, "5.7.1"},
		{"ann@[mail]", nil, "5.1.3"},
		{"bücher@xn--mller-kva.example", nil, "bücher@müller.example"},
		{"x@gmail.example", nil, "5.7.1"},
		{"x@gmail.example", user, "5.4.4"},
		{"ann%gmail.example@example.org", nil, "5.1.1"},
		{"gmail.example!ann@example.org", nil, "5.1.1"},
		{"ann@example.org.", nil, "ann@example.org"},
		{"ann@sub.example.org", nil, "5.7.1"},
	} {
		route, err := a.Resolve(t.Context(), Query{Address: tt.addr, Local: netip.MustParseAddr("127.0.0.1"), Sender: tt.sender})
		if got := describe(route, err); got != tt.want {
			t.Errorf("Resolve(%s) = %s, want %s", tt.addr, got, tt.want)
		}
	}
}

func describe(r *Route, err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	if err != nil {
		return err.Error()
	}
	var words []string
	for _, t := range r.Targets {
		w := string(t.Account.Address)
		if t.Mailbox != "" {
			w += ":" + t.Mailbox
		}
		words = append(words, w)
	}
	for _, t := range r.Remote {
		words = append(words, ">"+string(t.Address))
	}
	for _, l := range r.Lists {
		words = append(words, "["+nameOf(l.List)+" "+describe(l.Members, nil)+"]")
	}
	for _, s := range r.Skipped {
		words = append(words, "!"+string(s))
	}
	return strings.Join(words, " ")
}

func TestResolveWithoutExtras(t *testing.T) {
	t.Parallel()
	a := New(Config{Hostname: "h", Domains: []string{"example.org", "example.net"}}, people(), nil, slog.New(slog.DiscardHandler))
	for addr, want := range map[mail.Address]string{
		"ann+x@example.org": "5.1.1", "any@example.net": "5.1.1", "postmaster@example.org": "4.3.5",
	} {
		route, err := a.Resolve(t.Context(), Query{Address: addr})
		if got := describe(route, err); got != want {
			t.Errorf("Resolve(%s) = %s, want %s", addr, got, want)
		}
	}
}

func TestResolveDirectoryAway(t *testing.T) {
	t.Parallel()
	dir := people()
	dir.SetAway(true)
	_, err := testAgent(dir).Resolve(t.Context(), Query{Address: "ann@example.org"})
	if mail.KindOf(err) != mail.KindTemporary || Permanent(err) || strings.Contains(mail.PublicText(err), "refused") {
		t.Errorf("got %v", err)
	}
}

func TestForwardDepth(t *testing.T) {
	t.Parallel()
	var chain []directory.Account
	for i := range 15 {
		name := func(i int) mail.Address { return mail.Address("u" + string(rune('a'+i)) + "@example.org") }
		chain = append(chain, directory.Account{Address: name(i), Forward: []mail.Address{name(i + 1)}, Modes: []string{"nolocal"}})
	}
	_, err := testAgent(deliverytest.New(chain...)).Resolve(t.Context(), Query{Address: "ua@example.org"})
	if got := describe(nil, err); got != "5.4.6" {
		t.Errorf("got %s, want 5.4.6", got)
	}
}

func TestOwns(t *testing.T) {
	t.Parallel()
	a := testAgent(nil)
	acct := &directory.Account{Address: "ann@example.org", Aliases: []mail.Address{"bell@example.org"}}
	for addr, want := range map[mail.Address]bool{
		"Ann@Example.org": true, "bell@example.org": true, "ann+shop@example.org": true,
		"bob@example.org": false, "ann@example.net": false, "x+ann@example.org": false, "ann": false,
	} {
		if got := a.Owns(acct, addr); got != want {
			t.Errorf("Owns(%s) = %v", addr, got)
		}
	}
}

func TestReply(t *testing.T) {
	t.Parallel()
	gone := refuse("5.1.1", mail.KindNotExist, "gone")
	full := refuse("4.2.2", mail.KindQuota, "full")
	for _, tt := range []struct {
		results []error
		want    string
	}{
		{[]error{nil, nil}, ""},
		{[]error{gone}, "5.1.1"},
		{[]error{gone, gone}, "5.1.1"},
		{[]error{full, full}, "4.2.2"},
		{[]error{nil, full}, "4.2.2"},
		{[]error{nil, gone}, "4.3.0"},
		{[]error{gone, full}, "4.3.0"},
	} {
		err := Reply(tt.results)
		got := ""
		if err != nil {
			got = describe(nil, err)
		}
		if got != tt.want {
			t.Errorf("Reply(%v) = %q, want %q", tt.results, got, tt.want)
		}
	}
}
