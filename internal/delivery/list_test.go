package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/directory/embedded"
	"expost/internal/gate"
	"expost/internal/mail"
	"expost/internal/moderation"
	"expost/internal/queue"
	"expost/internal/resolver"
	"expost/internal/resolver/resolvertest"
	"expost/internal/smtpclient"
	"expost/internal/srs"
	"expost/internal/vacation"
)

// outbox takes what leaves this host.
type outbox struct {
	mu   sync.Mutex
	sent []parcelSent
}

type parcelSent struct {
	queue.Envelope
	text string
}

// Enqueue implements Remote.
func (o *outbox) Enqueue(_ context.Context, env queue.Envelope, body io.Reader) (queue.ID, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return 0, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = append(o.sent, parcelSent{env, string(b)})
	return queue.ID(len(o.sent)), nil
}

// to returns what left for an address.
func (o *outbox) to(addr mail.Address) []parcelSent {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []parcelSent
	for _, p := range o.sent {
		if slices.ContainsFunc(p.Recipients, func(r queue.Recipient) bool { return r.Address == addr }) {
			list = append(list, p)
		}
	}
	return list
}

// office is an agent over a real directory and store.
type office struct {
	*Agent
	t    *testing.T
	out  *outbox
	gate *gate.Gate
}

// person is an entry of an account; lines are further attributes.
func person(name string, lines ...string) string {
	return fmt.Sprintf("dn: uid=%[1]s,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: qmailUser\nobjectClass: expostPerson\ncn: %[1]s\nsn: x\nmail: %[1]s@example.org\n%[2]s",
		name, strings.Join(lines, "\n"))
}

// group is an entry of a list.
func group(name string, lines ...string) string {
	return fmt.Sprintf("dn: cn=%[1]s,ou=people,dc=example,dc=org\nobjectClass: groupOfNames\nobjectClass: expostGroup\ncn: %[1]s\nmail: %[1]s@example.org\n%[2]s",
		name, strings.Join(lines, "\n"))
}

func uid(name string) string { return "uid=" + name + ",ou=people,dc=example,dc=org" }
func cn(name string) string  { return "cn=" + name + ",ou=people,dc=example,dc=org" }

func newOffice(t *testing.T, entries ...string) *office {
	t.Helper()
	c := directorytest.Defaults()
	dir, err := embedded.Open(t.Context(), embedded.Options{Dir: t.TempDir(), Suffix: c.Suffix, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	for _, e := range entries {
		if err := dir.Add(t.Context(), directory.Local(), directorytest.Entry(e)); err != nil {
			t.Fatalf("%v\n%s", err, e)
		}
	}
	held, err := moderation.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	answered, err := vacation.Open(t.TempDir() + "/vacation")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answered.Close() })
	o := &office{t: t, out: &outbox{}, gate: gate.New(20 * time.Millisecond)}
	o.Agent = New(Config{
		Hostname: "mail.example.org", Domains: []string{"example.org"}, Aliases: map[string]string{"example.net": "example.org"},
		Separator: "+", CatchAll: "catchall", Postmaster: "ann@example.org", Remote: o.out, Moderation: held, Vacation: answered, Gate: o.gate,
		SRS: srs.New("example.org", []byte("key")),
	}, dir, newStore(t), slog.New(slog.DiscardHandler))
	return o
}

// letter is how a message comes.
type letter struct {
	from    mail.Address
	login   mail.Address
	foreign bool
	notify  string
	text    string // empty: a plain one
	to      []mail.Address
}

// post delivers a letter; the error is of the first recipient or of the message.
func (o *office) post(l letter) error {
	o.t.Helper()
	ctx := o.t.Context()
	var sender *directory.Account
	if l.login != "" {
		var err error
		if sender, err = o.directory.Resolve(ctx, l.login); err != nil {
			o.t.Fatal(err)
		}
	}
	env := &Envelope{ID: fmt.Sprint("T", time.Now().UnixNano()), From: l.from, Received: time.Now(), Foreign: l.foreign, SignedInAs: l.login}
	for _, addr := range l.to {
		r, err := o.Resolve(ctx, Query{Address: addr, From: l.from, Sender: sender, Foreign: l.foreign})
		if err != nil {
			return err
		}
		env.Recipients = append(env.Recipients, Recipient{Address: addr, Route: r, Notify: l.notify})
	}
	if l.text == "" {
		l.text = "From: x@far.example\r\nTo: " + string(l.to[0]) + "\r\nSubject: hello\r\nMessage-ID: <1@far.example>\r\n\r\nbody\r\n"
	}
	msg, err := o.Spool(ctx, env, strings.NewReader(l.text))
	if err != nil {
		return err
	}
	return errors.Join(Reply(o.Deliver(ctx, env, msg)), msg.Close())
}

// inbox returns the messages of a person.
func (o *office) inbox(name string) []string {
	o.t.Helper()
	return texts(o.t, o.store, mail.AccountID("example.org/"+name), mail.Inbox)
}

func (o *office) wantInbox(name string, n int) {
	o.t.Helper()
	if got := o.inbox(name); len(got) != n {
		o.t.Errorf("%s has %d messages, want %d:\n%s", name, len(got), n, strings.Join(got, "\n----\n"))
	}
}

func (o *office) wantStatus(what string, err error, status string) {
	o.t.Helper()
	if got := describe(&Route{}, err); got != status {
		o.t.Errorf("%s: %q (%v), want %q", what, got, err, status)
	}
}

func TestListDelivery(t *testing.T) {
	t.Parallel()
	o := newOffice(t,
		person("ann"), person("bob"), person("cid"), person("dan", "accountStatus: disabled"), person("eve", "mailQuotaCount: 1"),
		person("far", "mailHost: old.example.org"),
		group("inner", "member: "+uid("bob"), "member: "+cn("staff")),
		group("staff", "member: "+uid("ann"), "member: "+cn("inner"), "member: "+uid("dan"), "member: "+uid("eve"), "member: "+uid("far"),
			"rfc822member: out@far.example", "rfc822member: ann@example.net"),
		group("empty", "member: "+uid("gone")),
	)
	o.wantStatus("fill", o.post(letter{from: "x@far.example", to: []mail.Address{"eve@example.org"}}), "")
	o.wantStatus("post", o.post(letter{from: "x@far.example", to: []mail.Address{"staff@example.net", "ann@example.org"}}), "")
	o.wantInbox("ann", 1)
	o.wantInbox("bob", 1)
	o.wantInbox("eve", 1)
	if text := o.inbox("ann")[0]; strings.Contains(text, "List-Id") {
		t.Errorf("the copy that came directly has a list's header:\n%s", text)
	}
	text := o.inbox("bob")[0]
	for _, want := range []string{"Return-Path: <x@far.example>\r\n", "List-Id: <staff.example.org>\r\n", "List-Post: <mailto:staff@example.org>\r\n", "Precedence: list\r\n", "X-List-Member-Of: staff@example.org\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Count(text, "Return-Path:") != 1 || strings.Count(text, "Received:") != 1 {
		t.Errorf("trace fields are not there once:\n%s", text)
	}
	if sent := o.out.to("out@far.example"); len(sent) != 1 || !strings.HasPrefix(string(sent[0].From), "SRS0=") {
		t.Errorf("outside: %+v", sent)
	}
	if sent := o.out.to("far@example.org"); len(sent) != 1 || sent[0].Recipients[0].Host != "old.example.org" || sent[0].From != "x@far.example" {
		t.Errorf("mailHost: %+v", sent)
	}
	report := o.out.to("x@far.example")
	if len(report) != 1 || !strings.Contains(report[0].text, "dan@example.org") || !strings.Contains(report[0].text, "Status: 5.2.1") ||
		!strings.Contains(report[0].text, "eve@example.org") || strings.Contains(report[0].text, "bob@example.org") {
		t.Errorf("the report: %+v", report)
	}
	o.wantStatus("empty", o.post(letter{from: "x@far.example", to: []mail.Address{"empty@example.org"}}), "5.2.4")
	o.wantStatus("loop", o.post(letter{from: "x@far.example", to: []mail.Address{"staff@example.org"}, text: text}), "5.4.6")
	o.wantInbox("bob", 1)
}

func TestListPermissions(t *testing.T) {
	t.Parallel()
	o := newOffice(t,
		person("ann"), person("bob", "mailAlternateAddress: robert@example.org"), person("cid"),
		group("members", "member: "+uid("ann"), "rfc822member: friend@far.example", "membersonly: TRUE", "member: "+cn("nested")),
		group("nested", "member: "+uid("cid")),
		group("named", "member: "+uid("ann"), "dnsender: "+uid("bob"), "rfc822sender: boss@far.example"),
		group("internal", "member: "+uid("ann"), "msExchRequireAuthToSendTo: TRUE"),
		group("outer", "member: "+uid("bob"), "member: "+cn("named")),
	)
	for _, tt := range []struct {
		to, from, login mail.Address
		foreign         bool
		want            string
	}{
		{"members", "ann@example.org", "ann@example.org", false, ""},
		{"members", "ann@example.org", "", true, "5.7.1"}, // anybody could say so
		{"members", "ann@example.org", "", false, ""},     // a host that is trusted
		{"members", "cid@example.org", "cid@example.org", false, ""},
		{"members", "bob@example.org", "bob@example.org", false, "5.7.1"},
		{"members", "friend@far.example", "", true, ""},
		{"members", "stranger@far.example", "", true, "5.7.1"},
		{"members", "", "", true, "5.7.1"},
		{"named", "robert@example.org", "bob@example.org", false, ""},
		{"named", "ann@example.org", "ann@example.org", false, "5.7.1"},
		{"named", "boss@far.example", "", true, ""},
		{"internal", "ann@example.org", "ann@example.org", false, ""},
		{"internal", "x@far.example", "", true, "5.7.1"},
		{"internal", "ann@example.org", "", true, "5.7.1"},
		{"internal", "ann@example.org", "", false, ""},
		{"internal", "x@far.example", "", false, "5.7.1"},
		{"outer", "x@far.example", "", true, ""},
	} {
		err := o.post(letter{from: tt.from, login: tt.login, foreign: tt.foreign, to: []mail.Address{tt.to + "@example.org"}})
		o.wantStatus(fmt.Sprintf("%s to %s, logged in as %q", orNull(tt.from), tt.to, tt.login), err, tt.want)
	}
	before := len(o.inbox("ann"))
	o.wantStatus("outer", o.post(letter{from: "x@far.example", foreign: true, to: []mail.Address{"outer@example.org"}}), "")
	o.wantInbox("ann", before) // named has rules of its own
}

// TestListFromMailHost has mail of a user whose mailbox is on another host come
// from that host.
func TestListFromMailHost(t *testing.T) {
	t.Parallel()
	dns := resolvertest.Serve(t, `exchange.example.org. A 192.0.2.5`, `evil.example. A 192.0.2.6`)
	o := newOffice(t, person("ann", "mailHost: exchange.example.org"), person("bob"),
		group("internal", "member: "+uid("bob"), "msExchRequireAuthToSendTo: TRUE"), group("members", "member: "+uid("ann"), "membersonly: TRUE"))
	o.cfg.Resolver = resolver.New(resolver.Options{Server: dns.Addr})
	for _, tt := range []struct {
		list, from mail.Address
		helo, ip   string
		want       string
	}{
		{"internal", "ann@example.org", "exchange.example.org", "192.0.2.5", ""},
		{"internal", "x@far.example", "exchange.example.org", "192.0.2.5", "5.7.1"},
		{"internal", "ann@example.org", "exchange.example.org", "192.0.2.6", "5.7.1"},
		{"internal", "ann@example.org", "evil.example", "192.0.2.6", "5.7.1"},
		{"members", "ann@example.org", "Exchange.Example.Org", "192.0.2.5", ""}, // back to her, as a member
		{"members", "ann@example.org", "evil.example", "192.0.2.6", "5.7.1"},
	} {
		_, err := o.Resolve(t.Context(), Query{Address: tt.list + "@example.org", From: tt.from, Foreign: true, Helo: tt.helo, Client: netip.MustParseAddr(tt.ip)})
		o.wantStatus(fmt.Sprint(tt), err, tt.want)
	}
	r, err := o.Resolve(t.Context(), Query{Address: "members@example.org", From: "ann@example.org", Foreign: true, Helo: "exchange.example.org", Client: netip.MustParseAddr("192.0.2.5")})
	if err != nil || len(r.Lists[0].Failed) > 0 || len(r.Lists[0].Members.Remote) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = o.Resolve(t.Context(), Query{Address: "ann@example.org", From: "x@far.example", Foreign: true, Helo: "exchange.example.org", Client: netip.MustParseAddr("192.0.2.5")})
	o.wantStatus("a mailbox that each holds for the other's", err, "5.4.6")
}

// token returns what stands behind a verb in a question.
func token(t *testing.T, question, verb string) mail.Address {
	t.Helper()
	m := regexp.MustCompile(`\S+-` + verb + `-[a-z2-7]{26}@example\.org`).FindString(strings.ReplaceAll(question, "<", ""))
	if m == "" {
		t.Fatalf("no address to %s in\n%s", verb, question)
	}
	return mail.Address(m)
}

func TestModeration(t *testing.T) {
	t.Parallel()
	o := newOffice(t,
		person("ann"), person("bob"), person("mod"),
		group("news", "member: "+uid("ann"), "member: "+uid("bob"), "dnmoderator: "+uid("mod"), "moderatortext: Please look."),
	)
	to := []mail.Address{"news@example.org"}
	o.wantStatus("post", o.post(letter{from: "x@far.example", to: to, foreign: true}), "")
	o.wantInbox("ann", 0)
	o.wantInbox("mod", 1)
	question := o.inbox("mod")[0]
	for _, want := range []string{"Please look.", "Return-Path: <>\r\n", "Auto-Submitted: auto-generated\r\n", "message/rfc822", "Subject: hello\r\n"} {
		if !strings.Contains(question, want) {
			t.Errorf("no %q in\n%s", want, question)
		}
	}
	approve, reject := token(t, question, "approve"), token(t, question, "reject")
	auto := "From: mod@example.org\r\nTo: x\r\nAuto-Submitted: auto-replied\r\nSubject: away\r\n\r\n\r\n"
	o.wantStatus("an automatic answer", o.post(letter{from: "mod@example.org", to: []mail.Address{approve}, text: auto}), "5.7.1")
	o.wantStatus("approve", o.post(letter{from: "mod@example.org", to: []mail.Address{approve}}), "")
	o.wantInbox("ann", 1)
	o.wantInbox("bob", 1)
	o.wantStatus("approve again", o.post(letter{from: "mod@example.org", to: []mail.Address{approve}}), "5.1.1")
	o.wantStatus("reject after that", o.post(letter{from: "mod@example.org", to: []mail.Address{reject}}), "5.1.1")

	o.wantStatus("post", o.post(letter{from: "y@far.example", to: to, foreign: true}), "")
	reject = token(t, o.inbox("mod")[1], "reject")
	other := strings.Replace(string(reject), "news-", "ann-", 1)
	o.wantStatus("by another address", o.post(letter{from: "mod@example.org", to: []mail.Address{mail.Address(other)}}), "5.1.1")
	o.wantStatus("reject", o.post(letter{from: "mod@example.org", to: []mail.Address{reject}}), "")
	o.wantInbox("ann", 1)
	if sent := o.out.to("y@far.example"); len(sent) != 1 || !strings.Contains(sent[0].text, "refused by a moderator") || sent[0].From != "" {
		t.Errorf("the sender is told %+v", sent)
	}
	o.wantStatus("a moderator who is logged in", o.post(letter{from: "mod@example.org", login: "mod@example.org", to: to}), "")
	o.wantInbox("ann", 2)
	o.wantStatus("a moderator's name", o.post(letter{from: "mod@example.org", foreign: true, to: to}), "")
	o.wantInbox("ann", 2)

	if err := o.Expire(t.Context(), time.Now().Add(moderation.Lifetime+time.Minute)); err != nil {
		t.Fatal(err)
	}
	if all, err := o.cfg.Moderation.All(); err != nil || len(all) != 0 {
		t.Errorf("%+v waits, %v", all, err)
	}
	if n := len(o.inbox("mod")); n != 4 { // two questions, the third, and its return
		t.Errorf("the moderator has %d messages", n)
	}
}

// TestModeratorsAreLists has lists decide, also on themselves.
func TestModeratorsAreLists(t *testing.T) {
	t.Parallel()
	o := newOffice(t, person("ann"), person("bob"),
		group("mods", "member: "+uid("bob"), "member: "+uid("ann")),
		group("news", "member: "+uid("ann"), "rfc822moderator: mods@example.org"),
		group("self", "member: "+uid("ann"), "rfc822moderator: self@example.org"),
		group("inner", "member: "+uid("bob"), "dnmoderator: "+uid("bob")),
		group("outer", "member: "+cn("inner"), "rfc822moderator: self@example.org"),
	)
	post := func(to, want string, ann, bob int) {
		t.Helper()
		o.wantStatus(to, o.post(letter{from: "x@far.example", to: []mail.Address{mail.Address(to + "@example.org")}, foreign: true}), want)
		o.wantInbox("ann", ann)
		o.wantInbox("bob", bob)
	}
	post("news", "", 1, 1) // the questions
	post("self", "", 2, 1)
	post("outer", "", 3, 1)
	approve := token(t, o.inbox("ann")[2], "approve")
	o.wantStatus("approve", o.post(letter{from: "ann@example.org", to: []mail.Address{approve}}), "")
	o.wantInbox("bob", 2) // who decides on the list within, once more
	o.wantStatus("approve", o.post(letter{from: "bob@example.org", to: []mail.Address{token(t, o.inbox("bob")[1], "approve")}}), "")
	o.wantInbox("bob", 3)
	if text := o.inbox("bob")[2]; !strings.Contains(text, "X-List-Member-Of: inner@example.org") {
		t.Errorf("%s", text)
	}
	if err := o.Inject(t.Context(), "news@example.org", strings.NewReader("Subject: a report\r\n\r\n")); describe(nil, err) != "5.7.1" {
		t.Errorf("a report to a moderated list: %v", err)
	}
}

func TestCatchAllOfList(t *testing.T) {
	t.Parallel()
	o := newOffice(t, person("ann"), person("bob", "mailAlternateAddress: catchall@example.org"),
		"dn: cn=news,ou=people,dc=example,dc=org\nobjectClass: groupOfNames\nobjectClass: qmailGroup\ncn: news\nmail: news@example.org\nmailAlternateAddress: news-catchall@example.org\nmailMessageStore: news\nmember: "+uid("ann"))
	o.wantStatus("the list", o.post(letter{from: "x@far.example", to: []mail.Address{"news@example.org"}}), "")
	o.wantInbox("ann", 1)
	o.wantStatus("an address of it", o.post(letter{from: "x@far.example", to: []mail.Address{"news-approve-nonsense@example.org"}}), "")
	o.wantInbox("ann", 1)
	o.wantInbox("bob", 1)
}

func TestSenderConfirms(t *testing.T) {
	t.Parallel()
	o := newOffice(t, person("ann"), person("mod"),
		group("news", "member: "+uid("ann"), "senderconfirm: TRUE", "dnmoderator: "+uid("mod"), "confirmtext: Is it you?"))
	to := []mail.Address{"news@example.org"}
	o.wantStatus("post", o.post(letter{from: "x@far.example", to: to, foreign: true}), "")
	sent := o.out.to("x@far.example")
	if len(sent) != 1 || sent[0].From != "" || !strings.Contains(sent[0].text, "Is it you?") {
		t.Fatalf("the sender is asked %+v", sent)
	}
	o.wantInbox("mod", 0)
	confirm := token(t, sent[0].text, "confirm")
	approve := mail.Address(strings.Replace(string(confirm), "-confirm-", "-approve-", 1))
	o.wantStatus("approving instead", o.post(letter{from: "x@far.example", to: []mail.Address{approve}, foreign: true}), "5.1.1")
	o.wantStatus("confirm", o.post(letter{from: "x@far.example", to: []mail.Address{confirm}, foreign: true}), "")
	o.wantInbox("ann", 0)
	o.wantInbox("mod", 1)
	o.wantStatus("approve", o.post(letter{from: "mod@example.org", to: []mail.Address{token(t, o.inbox("mod")[0], "approve")}}), "")
	o.wantInbox("ann", 1)
	o.wantStatus("null sender", o.post(letter{to: to, foreign: true}), "5.7.1")
}

func TestExplosion(t *testing.T) {
	t.Parallel()
	entries := []string{person("ann")}
	for i := range 14 {
		entries = append(entries, group(fmt.Sprintf("l%d", i), "member: "+cn(fmt.Sprintf("l%d", i+1)), "member: "+uid("ann")))
	}
	o := newOffice(t, entries...)
	o.wantStatus("deep", o.post(letter{from: "x@far.example", to: []mail.Address{"l0@example.org"}}), "")
	o.wantInbox("ann", 1)
	if sent := o.out.to("x@far.example"); len(sent) != 1 || !strings.Contains(sent[0].text, "5.4.6") {
		t.Errorf("the sender is told %+v", sent)
	}
}

// TestLargeList has 10,000 members elsewhere, some of them twice by way of a list in the list.
func TestLargeList(t *testing.T) {
	t.Parallel()
	var members, again []string
	for i := range 10_000 {
		members = append(members, fmt.Sprintf("rfc822member: u%d@far.example", i))
		if i%10 == 0 {
			again = append(again, fmt.Sprintf("rfc822member: U%d@Far.example", i))
		}
	}
	o := newOffice(t, group("inner", append(again, "member: "+cn("all"))...), group("all", append(members, "member: "+cn("inner"))...))
	o.wantStatus("post", o.post(letter{from: "x@far.example", to: []mail.Address{"all@example.org"}}), "")
	o.out.mu.Lock()
	defer o.out.mu.Unlock()
	got := map[string]int{}
	for _, p := range o.out.sent {
		for _, r := range p.Recipients {
			got[r.Address.Key()]++
		}
	}
	if len(o.out.sent) != 1 || len(got) != 10_000 || got["u0@far.example"] != 1 {
		t.Errorf("%d messages left for %d members, %d to the first", len(o.out.sent), len(got), got["u0@far.example"])
	}
}

func TestBounceAdmin(t *testing.T) {
	t.Parallel()
	o := newOffice(t, person("ann"), person("dan", "accountStatus: disabled"), person("own"),
		group("news", "member: "+uid("ann"), "member: "+uid("dan"), "rfc822member: out@far.example", "bounceadmin: own@example.org"))
	o.wantStatus("post", o.post(letter{from: "x@far.example", to: []mail.Address{"news@example.org"}}), "")
	if text := o.inbox("ann")[0]; !strings.HasPrefix(text, "Return-Path: <own@example.org>\r\n") {
		t.Errorf("%s", text)
	}
	if sent := o.out.to("out@far.example"); len(sent) != 1 || sent[0].From != "own@example.org" {
		t.Errorf("%+v", sent)
	}
	o.wantInbox("own", 1)
	if sent := o.out.to("x@far.example"); len(sent) != 0 {
		t.Errorf("the sender hears of the list's members: %+v", sent)
	}
}

// TestSomeFail has a message that only some of its recipients can have.
// TestLateMember has a member whose mailbox does not work now beside one that
// never has the mail: the others have it once, and his waits for him alone.
func TestLateMember(t *testing.T) {
	t.Parallel()
	o := newOffice(t, person("ann"), person("bob", "mailForwardingAddress: bob@far.example"), person("dan", "accountStatus: disabled"),
		group("staff", "member: "+uid("ann"), "member: "+uid("bob"), "member: "+uid("dan")))
	thaw, err := o.gate.Freeze(t.Context(), "example.org/bob")
	if err != nil {
		t.Fatal(err)
	}
	o.wantStatus("post", o.post(letter{from: "x@far.example", to: []mail.Address{"staff@example.org"}}), "")
	o.wantInbox("ann", 1)
	if report := o.out.to("x@far.example"); len(report) != 1 || !strings.Contains(report[0].text, "dan@example.org") || strings.Contains(report[0].text, "bob@example.org") {
		t.Errorf("the report: %+v", report)
	}
	waits := o.out.to("bob@example.org")
	if len(waits) != 1 || len(waits[0].Recipients) != 1 || waits[0].Recipients[0].Host != queue.LocalMailbox || waits[0].From != "x@far.example" || waits[0].NotBefore.IsZero() ||
		!strings.Contains(waits[0].text, "List-Id: <staff.example.org>\r\n") {
		t.Fatalf("the mail that waits: %+v", waits)
	}
	if sent := o.out.to("bob@far.example"); len(sent) != 1 {
		t.Errorf("%d were forwarded", len(sent))
	}
	s, err := Local{Agent: func() *Agent { return o.Agent }}.Dial(t.Context(), queue.LocalMailbox)
	if err != nil {
		t.Fatal(err)
	}
	m := &smtpclient.Message{From: waits[0].From, Body: text(waits[0].text), Recipients: []smtpclient.Recipient{{Address: "bob@example.org"}}}
	if r, err := s.Send(m); err != nil || r[0].Code != 451 {
		t.Errorf("while the mailbox does not work: %v, %v", r, err)
	}
	thaw()
	if r, err := s.Send(m); err != nil || !r[0].Delivered() {
		t.Errorf("when it works: %v, %v", r, err)
	}
	o.wantInbox("bob", 1)
	if sent := o.out.to("bob@far.example"); len(sent) != 1 {
		t.Errorf("%d were forwarded in the end", len(sent))
	}
}

func TestSomeFail(t *testing.T) {
	t.Parallel()
	o := newOffice(t, person("ann"), person("small", "mailSizeMax: 10"), person("full", "mailQuotaCount: 1"))
	o.wantStatus("fill", o.post(letter{from: "x@far.example", to: []mail.Address{"full@example.org"}}), "")
	for n, tt := range []struct {
		to     []mail.Address
		notify string
		want   string
		ann    int
		report int
	}{
		{[]mail.Address{"ann@example.org", "small@example.org"}, "", "", 1, 1},
		{[]mail.Address{"ann@example.org", "small@example.org"}, "DELAY", "", 2, 1},
		{[]mail.Address{"small@example.org"}, "", "5.2.3", 2, 1},
		{[]mail.Address{"ann@example.org", "small@example.org", "full@example.org"}, "", "4.3.0", 3, 1},
	} {
		text := fmt.Sprintf("From: x@far.example\r\nTo: y\r\nSubject: %d\r\n\r\n%s\r\n", n, strings.Repeat("x", 100))
		o.wantStatus(fmt.Sprint(tt), o.post(letter{from: "x@far.example", to: tt.to, notify: tt.notify, text: text}), tt.want)
		o.wantInbox("ann", tt.ann)
		if got := o.out.to("x@far.example"); len(got) != tt.report || tt.report > 0 && (!strings.Contains(got[0].text, "small@example.org") || !strings.Contains(got[0].text, "Status: 5.2.3") || strings.Contains(got[0].text, "ann@")) {
			t.Errorf("%v: the sender is told %+v", tt, got)
		}
	}
}

// TestSpamIsNotReturned has spam for a mailbox, and for a member of a list, that
// cannot have it: its sender is forged, and hears nothing.
func TestSpamIsNotReturned(t *testing.T) {
	t.Parallel()
	o := newOffice(t, person("ann"), person("small", "mailSizeMax: 10"), group("staff", "member: "+uid("ann"), "member: "+uid("small")))
	for n, to := range [][]mail.Address{{"ann@example.org", "small@example.org"}, {"staff@example.org"}} {
		for _, flag := range []string{"X-Spam-Flag: YES", "X-Spam-Flag: NO"} {
			from := mail.Address(fmt.Sprintf("x%d@far.example", n))
			o.wantStatus(flag, o.post(letter{from: from, foreign: true, to: to, text: flag + "\r\nSubject: x\r\n\r\n" + strings.Repeat("x", 100) + "\r\n"}), "")
			want := 0
			if flag == "X-Spam-Flag: NO" {
				want = 1
			}
			if got := o.out.to(from); len(got) != want {
				t.Errorf("to %v, %s: %d reports, want %d", to, flag, len(got), want)
			}
		}
	}
}

// TestNotifyOfForwards has NOTIFY go on with a forward, but for SUCCESS.
func TestNotifyOfForwards(t *testing.T) {
	t.Parallel()
	o := newOffice(t, person("ann", "mailForwardingAddress: out@far.example"))
	for n, tt := range []struct{ notify, want string }{
		{"", ""}, {"NEVER", "NEVER"}, {"SUCCESS", "NEVER"}, {"SUCCESS,DELAY", "DELAY"}, {"FAILURE", "FAILURE"}, {"FAILURE,SUCCESS", "FAILURE"},
	} {
		o.wantStatus(tt.notify, o.post(letter{from: "x@far.example", notify: tt.notify, to: []mail.Address{"ann@example.org"}}), "")
		if got := o.out.to("out@far.example"); len(got) != n+1 || got[n].Recipients[0].Notify != tt.want {
			t.Errorf("%q became %+v, want %q", tt.notify, got[len(got)-1].Recipients, tt.want)
		}
	}
}

// TestForwardLoop has a message come back from where it was forwarded to.
func TestForwardLoop(t *testing.T) {
	t.Parallel()
	o := newOffice(t, person("ann", "mailForwardingAddress: ann@far.example"), person("bob", "mailForwardingAddress: bob@far.example", "deliveryMode: nolocal"), person("cid"))
	o.wantStatus("first", o.post(letter{from: "x@far.example", to: []mail.Address{"ann@example.org", "bob@example.org"}}), "")
	o.wantInbox("ann", 1)
	sent := o.out.to("ann@far.example")
	if len(sent) != 1 || !strings.HasPrefix(sent[0].text, "Delivered-To: ann@example.org\r\n") || strings.Contains(sent[0].text, "bob@") {
		t.Fatalf("%+v", sent)
	}
	back := letter{from: sent[0].From, to: []mail.Address{"ann@example.org"}, text: sent[0].text}
	o.wantStatus("back", o.post(back), "5.4.6")
	o.wantInbox("ann", 1)
	back.to = []mail.Address{"bob@example.org", "cid@example.org"} // who have not forwarded it
	o.wantStatus("to others", o.post(back), "")
	o.wantInbox("cid", 1)
	if n := len(o.out.to("bob@far.example")); n != 2 {
		t.Errorf("bob forwarded %d messages, want 2", n)
	}
}

func TestLegacyAddresses(t *testing.T) {
	t.Parallel()
	const site = "/o=Example/ou=First Site/cn=Recipients/cn="
	o := newOffice(t,
		person("ann", "legacyExchangeDN: "+site+"ann", "proxyAddresses: X500:/o=Old Org/ou=Köln/cn=Recipients/cn=ann.b"),
		group("staff", "legacyExchangeDN: "+site+"staff", "member: "+uid("ann")),
		"dn: cn=Con,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: expostPerson\ncn: Con\nsn: x\nmail: con@far.example\nlegacyExchangeDN: "+site+"con",
	)
	for _, tt := range []struct {
		addr  mail.Address
		login mail.Address
		want  string
	}{
		{"IMCEAEX-_O=EXAMPLE_OU=FIRST+20SITE_CN=RECIPIENTS_CN=ANN@example.org", "", "ann@example.org"},
		{"imceaex-_o=example_ou=first+20site_cn=recipients_cn=ann@Example.NET", "", "ann@example.org"},
		{"IMCEAX500-_O=OLD+20ORG_OU=K+C3+B6LN_CN=RECIPIENTS_CN=ANN+2EB@example.org", "", "ann@example.org"},
		{"/o=Example/ou=First Site/cn=Recipients/cn=ann@example.org", "", "ann@example.org"},
		{"IMCEASMTP-ann+40example+2Eorg@example.org", "", "ann@example.org"},
		{"IMCEASMTP-x+40far+2Eexample@example.org", "", "5.1.1"},
		{"IMCEASMTP-x+40far+2Eexample@example.org", "ann@example.org", ">x@far.example"},
		{"IMCEAEX-_O=EXAMPLE_OU=FIRST+20SITE_CN=RECIPIENTS_CN=STAFF@example.org", "", "[staff@example.org ann@example.org]"},
		{"IMCEAEX-_O=EXAMPLE_OU=FIRST+20SITE_CN=RECIPIENTS_CN=CON@example.org", "", "5.1.1"},
		{"IMCEAEX-_O=EXAMPLE_OU=FIRST+20SITE_CN=RECIPIENTS_CN=CON@example.org", "ann@example.org", ">con@far.example"},
		{"IMCEAEX-_O=EXAMPLE_OU=FIRST+20SITE_CN=RECIPIENTS_CN=ANN@gone.example", "ann@example.org", "ann@example.org"},
		{"IMCEAEX-_O=EXAMPLE_OU=FIRST+20SITE_CN=RECIPIENTS_CN=ANN@gone.example", "", "5.7.1"},
		{"IMCEAEX-_O=EXAMPLE_OU=FIRST+20SITE_CN=RECIPIENTS_CN=BOB@example.org", "", "5.1.1"},
		{"IMCEAEX-_O=EXAMPLE+0@example.org", "", "5.1.1"},
		{"IMCEAEX@example.org", "", "5.1.1"},
		{"IMCEAEX-@example.org", "", "5.1.1"},
		{"IMCEASMTP-IMCEASMTP-ann+2B40example@example.org", "", "5.1.1"},
	} {
		q := Query{Address: tt.addr, From: "x@far.example", Foreign: tt.login == ""}
		if tt.login != "" {
			var err error
			if q.Sender, err = o.directory.Resolve(t.Context(), tt.login); err != nil {
				t.Fatal(err)
			}
		}
		r, err := o.Resolve(t.Context(), q)
		if got := describe(r, err); got != tt.want {
			t.Errorf("%s, logged in as %q: %s (%v), want %s", tt.addr, tt.login, got, err, tt.want)
		}
	}
}

func FuzzDecodeLegacy(f *testing.F) {
	for _, s := range []string{"IMCEAEX-_O=A_CN=B", "IMCEASMTP-a+40b", "/o=x", "IMCEAX500-+", "imcea-+0g"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, ok := decodeLegacy(s)
		if ok && strings.ContainsAny(text, "\r\n\x00") && !strings.HasPrefix(strings.ToLower(s), "/o=") {
			t.Errorf("%q became %q", s, text)
		}
	})
}
