package migrate_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	targetstore "expost/internal/migrate/target/store"
)

// messages returns n messages with the UIDs first, first+step, …
func messages(n int, first, step mail.UID) []migratetest.Message {
	var out []migratetest.Message
	for i := range n {
		uid := first + mail.UID(i)*step
		out = append(out, migratetest.Message{
			UID: uid, Flags: []string{"", `\Seen`, `\Answered \Seen $Forwarded`}[i%3], Date: fmt.Sprintf("%2d-May-2003 10:00:%02d +0530", i%28+1, i%60),
			Body: fmt.Sprintf("Subject: %d\r\nDate: Mon, 5 May 2003 10:00:00 +0530\r\n\r\n%s\r\n", uid, strings.Repeat("text ", i%200)),
		})
	}
	return out
}

// box returns a mailbox with messages.
func box(name string, validity mail.UIDValidity, msgs []migratetest.Message) *migratetest.Box {
	next := mail.UID(1)
	if len(msgs) > 0 {
		next = msgs[len(msgs)-1].UID + 1
	}
	return &migratetest.Box{Name: name, UIDValidity: validity, UIDNext: next, Messages: msgs, Subscribed: true}
}

// bench is a migration from a scripted server into a store.
type bench struct {
	server  *migratetest.IMAP
	target  migrate.TargetAccount
	ledger  *migrate.Ledger
	engine  *migrate.Engine
	spool   migrate.Target
	config  imap.Config
	source  migrate.Source
	options migrate.Options
	dial    imapclient.Dialer
	user    migrate.User
}

func newBench(t *testing.T, q migratetest.Quirks, boxes ...*migratetest.Box) *bench {
	t.Helper()
	b := &bench{server: migratetest.StartIMAP(t, q, boxes...), user: migrate.User{Source: "ajay@example.org", Target: "ajay@example.org"}}
	b.open(t, b.server.Address, "{address}", "secret")
	return b
}

// newClockBench is newBench inside a synctest bubble; the engine's clock is now.
func newClockBench(t *testing.T, now func() time.Time, q migratetest.Quirks, boxes ...*migratetest.Box) *bench {
	t.Helper()
	b := &bench{server: migratetest.NewIMAP(t, q, boxes...), user: migrate.User{Source: "ajay@example.org", Target: "ajay@example.org"}}
	b.dial = b.server.Dial
	b.options = migrate.Options{Now: now}
	b.open(t, b.server.Address, "{address}", "secret")
	return b
}

// newDovecotBench is a migration from Dovecot into a store.
func newDovecotBench(t *testing.T, d *migratetest.Dovecot) *bench {
	t.Helper()
	b := &bench{user: migrate.User{Source: "ajay@example.org", Target: "ajay@example.org"}}
	b.open(t, d.Address, "{local}", d.Password)
	return b
}

// open makes the engine and what belongs to it.
func (b *bench) open(t *testing.T, address, login, password string) {
	t.Helper()
	dir := t.TempDir()
	s := migratetest.OpenStore(t, filepath.Join(dir, "store"))
	target := targetstore.New(s, migratetest.AnyAccount, 0)
	var err error
	if b.target, err = target.Open(t.Context(), b.user); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.target.Close() })
	b.ledger = openLedger(t, filepath.Join(dir, "l.ledger"))
	b.config = imap.Config{
		Address: address, Login: login, Password: password, Client: imapclient.Options{Security: imapclient.Plain, Dial: b.dial},
		Delays: []time.Duration{0, time.Millisecond},
	}
	if b.options.Now == nil {
		b.options.Delays = []time.Duration{time.Millisecond}
	}
	b.options.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	b.spool = target
	b.restart()
}

// restart forgets all that a process knows.
func (b *bench) restart() {
	b.source = imap.New(b.config)
	b.engine = b.engineInto(b.spool)
}

// engineInto returns an engine into another target with the bench's ledger.
func (b *bench) engineInto(target migrate.Target) *migrate.Engine {
	return migrate.NewEngine(b.source, target, b.ledger, b.options)
}

// testWriter logs through a test.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// run makes a pass.
func (b *bench) run(t *testing.T) migrate.Result {
	t.Helper()
	results, err := b.engine.Run(t.Context(), []migrate.User{b.user})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

// check compares the target's folder with messages, UIDs too.
func (b *bench) check(t *testing.T, folder string, want []migratetest.Message) {
	t.Helper()
	var got []migrate.Item
	if err := b.target.Items(t.Context(), folder, func(it migrate.Item) error { got = append(got, it); return nil }); err != nil {
		t.Error(err)
		return
	}
	var uids, wanted mail.UIDSet
	bodies := map[mail.UID]string{}
	for _, it := range got {
		uids.Add(it.UID)
	}
	for _, m := range want {
		wanted.Add(m.UID)
	}
	if uids.String() != wanted.String() {
		t.Errorf("%s has the UIDs %s, want %s", folder, uids, wanted)
		return
	}
	if err := b.target.Read(t.Context(), folder, uids, func(uid mail.UID, r io.Reader) error {
		body, err := io.ReadAll(r)
		bodies[uid] = string(body)
		return err
	}); err != nil {
		t.Error(err)
	}
	for i, m := range want {
		flags := strings.Fields(got[i].Flags.String() + " " + got[i].Keywords.String())
		wanted := strings.Fields(m.Flags)
		slices.Sort(flags)
		slices.Sort(wanted)
		if bodies[m.UID] != m.Body || !slices.Equal(flags, wanted) {
			t.Errorf("%s, %d: flags %v, want %v; %d bytes, want %d", folder, m.UID, flags, wanted, len(bodies[m.UID]), len(m.Body))
		}
		if date, ok := imapclient.ParseDate(m.Date); ok && got[i].Date != date {
			t.Errorf("%s, %d: date %v, want %v", folder, m.UID, got[i].Date, date)
		}
	}
}

// checkSums checks that every item of the source is accounted for.
func (b *bench) checkSums(t *testing.T, copied, aside int) migrate.Report {
	t.Helper()
	r, err := b.ledger.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Total.Copied+r.Total.There != copied || r.Total.Aside != aside || r.Total.Waiting != 0 || r.Total.Source != copied+aside {
		t.Errorf("the report says %+v, want %d copied, %d aside", r.Total, copied, aside)
	}
	return r
}

func TestServersThatDoWrong(t *testing.T) {
	t.Parallel()
	for name, q := range map[string]migratetest.Quirks{
		"nothing wrong":       {},
		"condstore":           {Capabilities: "CONDSTORE NAMESPACE", Namespace: `(("" "/")) NIL NIL`},
		"sizes that lie":      {Size: func(m migratetest.Message) int { return 3*len(m.Body) + 7 }},
		"sizes of zero":       {Size: func(migratetest.Message) int { return 0 }},
		"descending order":    {Unordered: true},
		"commands end late":   {LateEnd: true},
		"UID behind the body": {LateUID: true},
		"not listed":          {Unlisted: func(m migratetest.Message) bool { return m.UID%5 == 0 }},
		"talkative":           {Chatter: "* OK still here\r\n* 3 EXISTS\r\n* 4711 FETCH (FLAGS (\\Seen))\r\n* XSTRANGE (\"a\" {3}\r\nabc NIL)"},
		"throttled now and then": {Command: func(n int, _ string) string {
			return map[bool]string{true: "BAD Request is throttled. Suggested Backoff Time: 3 milliseconds"}[n%7 == 6]
		}},
		"lost every ten commands":  {Command: func(n int, _ string) string { return map[bool]string{true: "drop"}[n == 10] }},
		"unknown items":            {Fetch: func(m migratetest.Message, whole bool) (string, bool) { return strangeItems(m, whole), false }},
		"strange flags":            {Fetch: func(m migratetest.Message, whole bool) (string, bool) { return strangeFlags(m, whole), false }},
		"a body as quoted string":  {Fetch: func(m migratetest.Message, whole bool) (string, bool) { return quotedBody(m, whole), false }},
		"first connection refused": {Connect: func(n int) bool { return n > 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inbox, sent := messages(40, 3, 7), messages(23, 1, 1)
			b := newBench(t, q, box("INBOX", 11, inbox), box("Sent Items", 12, sent), box("Gel&APY-schte Elemente", 13, nil))
			if r := b.run(t); r.Err != nil || r.Copied != 63 {
				t.Errorf("copied %d of 63: %v", r.Copied, r.Err)
			}
			b.check(t, "INBOX", inbox)
			b.check(t, "Sent Items", sent)
			b.check(t, "Gelöschte Elemente", nil)
			b.checkSums(t, 63, 0)
			if r := b.run(t); r.Err != nil || r.Copied+r.There+r.Updated+r.Removed != 0 {
				t.Errorf("second pass: %+v", r)
			}
			v, err := b.engine.Verify(t.Context(), []migrate.User{b.user})
			if err != nil || v[0].Items != 63 || len(v[0].Problems) > 0 || v[0].Error != "" {
				t.Errorf("verified: %+v, %v", v, err)
			}
		})
	}
}

// strangeItems is a FETCH response with items that nobody asked for.
func strangeItems(m migratetest.Message, whole bool) string {
	body := ""
	if whole {
		body = fmt.Sprintf(" BODY[] {%d}\r\n%s", len(m.Body), m.Body)
	}
	return fmt.Sprintf("* 9999 FETCH (X-GM-LABELS (\"\\\\Important\" foo) UID %d EMAILID (M1) FLAGS (%s) ANNOTATION (/comment (value.priv {3}\r\na b)) INTERNALDATE %q%s RFC822.SIZE 12)\r\n",
		m.UID, m.Flags, m.Date, body)
}

// strangeFlags is a FETCH response with flags that are none.
func strangeFlags(m migratetest.Message, whole bool) string {
	return strings.Replace(strangeItems(m, whole), "FLAGS (", `FLAGS (\Recent \* NonJunk] [x] ünsinn \XNever `, 1)
}

// quotedBody is a FETCH response with the body as a quoted string where it can
// be one: CR and LF are let through by servers that do this.
func quotedBody(m migratetest.Message, whole bool) string {
	if !whole || strings.Contains(m.Body, "\n") {
		return ""
	}
	return fmt.Sprintf("* 1 FETCH (UID %d FLAGS (%s) INTERNALDATE %q BODY[] %q)\r\n", m.UID, m.Flags, m.Date, m.Body)
}

func TestItemsThatTheSourceDoesNotGive(t *testing.T) {
	t.Parallel()
	isBad := func(m migratetest.Message) bool { return m.UID == 4 || m.UID == 17 }
	for name, c := range map[string]struct {
		quirks migratetest.Quirks
		reason string
		bytes  string // that are kept
	}{
		"NO": {migratetest.Quirks{
			Fetch: func(m migratetest.Message, whole bool) (string, bool) {
				return map[bool]string{true: "* OK cannot\r\n"}[whole && isBad(m)], false
			},
			Status: func(set string) string {
				if strings.Contains(":"+set+":", ":4:") || strings.Contains(":"+set+":", ":17:") || strings.Contains(set, ":") || strings.Contains(set, ",") {
					return "NO some messages could not be fetched"
				}
				return "OK"
			},
		}, "refuses", ""},
		"no bytes":           {migratetest.Quirks{Fetch: badBody(isBad, "BODY[] NIL", false)}, "no bytes", ""},
		"an empty message":   {migratetest.Quirks{Fetch: badBody(isBad, "BODY[] {0}\r\n", false)}, "empty", ""},
		"truncated literal":  {migratetest.Quirks{Fetch: badBody(isBad, "BODY[] {1000}\r\nSubject: half", true)}, "EOF", "Subject: half"},
		"literal that lies":  {migratetest.Quirks{Fetch: badBody(isBad, "BODY[] {3}\r\nSubject: more than three", false)}, "not IMAP", ""},
		"endless literal":    {migratetest.Quirks{Fetch: badBody(isBad, "BODY[] {99999999999999}\r\nx", false)}, "announces", ""},
		"garbage":            {migratetest.Quirks{Fetch: badBody(isBad, "BODY[ \x00\xff((((", false)}, "not IMAP", ""},
		"connection dropped": {migratetest.Quirks{Fetch: badBody(isBad, "", true)}, "EOF", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := messages(30, 1, 1)
			b := newBench(t, c.quirks, box("INBOX", 11, all))
			good := slices.DeleteFunc(slices.Clone(all), isBad)
			if r := b.run(t); r.Err != nil || r.Copied != len(good) || r.Aside != 2 {
				t.Errorf("copied %d of %d, %d aside: %v", r.Copied, len(good), r.Aside, r.Err)
			}
			b.check(t, "INBOX", good)
			report := b.checkSums(t, len(good), 2)
			for _, a := range report.Accounts[0].Folders[0].Aside {
				if !strings.Contains(a.Reason, c.reason) {
					t.Errorf("item %s: the reason is %q, want something with %q", a.Item, a.Reason, c.reason)
				}
				if c.bytes == "" {
					continue
				}
				if kept, err := os.ReadFile(a.File); err != nil || string(kept) != c.bytes {
					t.Errorf("kept of item %s: %q, %v", a.Item, kept, err)
				}
			}
		})
	}
}

// badBody answers for bad messages with a body that is wrong.
func badBody(isBad func(migratetest.Message) bool, body string, drop bool) func(migratetest.Message, bool) (string, bool) {
	return func(m migratetest.Message, whole bool) (string, bool) {
		if !whole || !isBad(m) {
			return "", false
		}
		if body == "" {
			return "", drop
		}
		return fmt.Sprintf("* 1 FETCH (UID %d FLAGS () %s", m.UID, body) + map[bool]string{false: ")\r\n"}[drop], drop
	}
}

func TestItemComesLate(t *testing.T) {
	t.Parallel()
	var healed atomic.Bool
	all := messages(10, 1, 1)
	b := newBench(t, migratetest.Quirks{Fetch: func(m migratetest.Message, whole bool) (string, bool) {
		if whole && m.UID == 4 && !healed.Load() {
			return "* 4 FETCH (UID 4 BODY[] NIL)\r\n", false
		}
		return "", false
	}}, box("INBOX", 11, all))
	if r := b.run(t); r.Aside != 1 || r.Copied != 9 {
		t.Errorf("first pass: %+v", r)
	}
	healed.Store(true)
	if r := b.run(t); r.Aside != 0 || r.Copied != 1 {
		t.Errorf("second pass: %+v", r)
	}
	report := b.checkSums(t, 10, 0)
	if f := report.Accounts[0].Folders[0]; f.KeepsUID || f.Note == "" {
		t.Errorf("the report does not say that UIDs are not kept: %+v", f)
	}
}

func TestLaterPasses(t *testing.T) {
	t.Parallel()
	for name, capabilities := range map[string]string{"flag scan": "", "CONDSTORE": "CONDSTORE"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inbox := box("INBOX", 11, messages(40, 1, 1))
			if capabilities != "" {
				inbox.ModSeq = 100
			}
			b := newBench(t, migratetest.Quirks{Capabilities: capabilities}, inbox)
			if r := b.run(t); r.Copied != 40 {
				t.Fatalf("first pass: %+v", r)
			}
			b.server.Change(func(boxes []*migratetest.Box) {
				in := boxes[0]
				in.Messages = append(slices.Delete(slices.Clone(in.Messages), 5, 8), messages(3, 50, 1)...)
				in.Messages[0].Flags = `\Flagged newword`
				in.UIDNext = 60
				if capabilities != "" {
					in.ModSeq = 200
				}
			})
			if r := b.run(t); r.Err != nil || r.Copied != 3 || r.Updated != 1 || r.Removed != 3 {
				t.Errorf("second pass: %+v", r)
			}
			b.check(t, "INBOX", inbox.Messages)
			b.checkSums(t, 40, 0)
			b.server.Commands()
			if r := b.run(t); r.Copied+r.Updated+r.Removed != 0 {
				t.Errorf("third pass: %+v", r)
			}
			if sent := strings.Join(b.server.Commands(), "\n"); capabilities != "" && strings.Contains(sent, "EXAMINE") {
				t.Errorf("a pass over what has not changed sent:\n%s", sent)
			}
		})
	}
}

func TestVanishedAtOnceIsKept(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, messages(40, 1, 1)))
	b.run(t)
	b.server.Change(func(boxes []*migratetest.Box) { boxes[0].Messages = boxes[0].Messages[:3] })
	if r := b.run(t); r.Removed != 0 {
		t.Errorf("removed %d", r.Removed)
	}
	b.check(t, "INBOX", messages(40, 1, 1))
	report, err := b.ledger.Report(t.Context())
	if err != nil || !strings.Contains(report.Accounts[0].Folders[0].Note, "37 of 40") {
		t.Errorf("the report says nothing: %+v, %v", report, err)
	}
}

func TestUIDValidityChanges(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, messages(20, 1, 1)))
	b.run(t)
	b.server.Change(func(boxes []*migratetest.Box) {
		*boxes[0] = *box("INBOX", 99, messages(20, 1, 1)[3:])
		for i := range boxes[0].Messages {
			boxes[0].Messages[i].UID += 500
		}
		boxes[0].Messages = append(boxes[0].Messages, messages(2, 900, 1)...)
	})
	b.server.Bytes()
	if r := b.run(t); r.Err != nil || r.Copied != 2 || r.There != 17 || r.Removed != 3 {
		t.Errorf("after the change: %+v", r)
	}
	if n, fresh := b.server.Bytes(), messages(2, 900, 1); n != len(fresh[0].Body)+len(fresh[1].Body) {
		t.Errorf("%d bytes of bodies were fetched, for two new messages", n)
	}
	b.checkSums(t, 19, 0)
	if r := b.run(t); r.Copied+r.There+r.Removed+r.Updated != 0 {
		t.Errorf("and again: %+v", r)
	}
}

func TestUIDValidityChangesDuringThePass(t *testing.T) {
	t.Parallel()
	changed := false
	inbox := box("INBOX", 11, messages(20, 1, 1))
	b := newBench(t, migratetest.Quirks{Command: func(_ int, line string) string {
		if changed || !strings.Contains(line, "BODY.PEEK") {
			return ""
		}
		changed, inbox.UIDValidity = true, 99
		return "drop"
	}}, inbox)
	if r := b.run(t); r.Err != nil || r.Copied != 20 {
		t.Errorf("result: %+v", r)
	}
	b.check(t, "INBOX", messages(20, 1, 1))
	b.checkSums(t, 20, 0)
}

func TestTargetHasMail(t *testing.T) {
	t.Parallel()
	all := messages(20, 1, 1)
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, all))
	if _, err := b.target.Prepare(t.Context(), migrate.Folder{Name: "INBOX"}); err != nil {
		t.Fatal(err)
	}
	b.deliver(t, messages(1, 700, 1)[0].Body)
	b.deliver(t, all[4].Body) // another tool's copy
	if r := b.run(t); r.Err != nil || r.Copied != 19 || r.There != 1 {
		t.Errorf("first pass: %+v", r)
	}
	report := b.checkSums(t, 20, 0)
	if f := report.Accounts[0].Folders[0]; f.KeepsUID || f.Note == "" {
		t.Errorf("the report does not say that UIDs are not kept: %+v", f)
	}
	if r := b.run(t); r.Copied+r.There+r.Removed+r.Updated != 0 {
		t.Errorf("second pass: %+v", r)
	}
	v, err := b.engine.Verify(t.Context(), []migrate.User{b.user})
	if err != nil || len(v[0].Problems) > 0 || v[0].Items != 20 {
		t.Errorf("verified: %+v, %v", v, err)
	}
}

// deliver puts a message into the target's INBOX.
func (b *bench) deliver(t *testing.T, body string) {
	t.Helper()
	b.deliverTo(t, "INBOX", body)
}

// bodies returns the messages of a folder of the target.
func (b *bench) bodies(t *testing.T, folder string) map[mail.UID]string {
	t.Helper()
	out := map[mail.UID]string{}
	all := mail.UIDSet{}
	if err := b.target.Items(t.Context(), folder, func(it migrate.Item) error { all.Add(it.UID); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := b.target.Read(t.Context(), folder, all, func(uid mail.UID, r io.Reader) error {
		body, err := io.ReadAll(r)
		out[uid] = string(body)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// has tells whether the target has a folder.
func (b *bench) has(t *testing.T, folder string) bool {
	t.Helper()
	folders, err := b.target.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(folders, func(f migrate.Folder) bool { return f.Name == folder })
}

// deliverTo puts a message into a folder of the target.
func (b *bench) deliverTo(t *testing.T, folder, body string) {
	t.Helper()
	s, err := b.spool.Spool(t.Context(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	folders, err := b.target.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(folders, func(f migrate.Folder) bool { return f.Name == folder })
	item := migrate.Item{UID: folders[i].State.UIDNext}
	if err := b.target.Append(t.Context(), folder, []migrate.Message{{Item: item, Body: s}}); err != nil {
		t.Fatal(err)
	}
}
