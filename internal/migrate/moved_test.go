package migrate_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	targetimap "expost/internal/migrate/target/imap"
	"expost/internal/migrate/target/maildir"
	targetstore "expost/internal/migrate/target/store"
	"expost/internal/sample"
)

// named gives messages Message-IDs and EMAILIDs.
func named(msgs []migratetest.Message) []migratetest.Message {
	for i := range msgs {
		m := &msgs[i]
		m.Body = fmt.Sprintf("Message-ID: <%d.%d@example.org>\r\n%s", i, m.UID, m.Body)
		m.Email = fmt.Sprintf("M%d-%d", i, m.UID)
	}
	return msgs
}

// moveAll moves the messages of a mailbox that meet a condition to another.
func moveAll(from, to *migratetest.Box, which func(migratetest.Message) bool) {
	copyAll(from, to, which)
	from.Messages = slices.DeleteFunc(slices.Clone(from.Messages), which)
}

// copyAll copies them.
func copyAll(from, to *migratetest.Box, which func(migratetest.Message) bool) {
	for _, m := range from.Messages {
		if which(m) {
			m.UID = to.UIDNext
			to.UIDNext++
			to.Messages = append(slices.Clone(to.Messages), m)
		}
	}
	from.ModSeq, to.ModSeq = from.ModSeq+10, to.ModSeq+10
}

// uids is a condition of UIDs.
func uids(of ...mail.UID) func(migratetest.Message) bool {
	return func(m migratetest.Message) bool { return slices.Contains(of, m.UID) }
}

// every is the condition that every message meets.
func every(migratetest.Message) bool { return true }

// moving are the ways in which a source tells of what is moved.
var moving = map[string]migratetest.Quirks{
	"by header":       {},
	"by EMAILID":      {Capabilities: "OBJECTID"},
	"CONDSTORE":       {Capabilities: "CONDSTORE"},
	"sizes that lie":  {Size: func(m migratetest.Message) int { return 2*len(m.Body) + 1 }},
	"descending":      {Unordered: true},
	"a lost commands": {Command: func(n int, _ string) string { return map[bool]string{true: "drop"}[n == 9] }},
}

// checkAgain checks that the sums are right, that both sides are equal, and that
// another pass finds nothing to do.
func (b *bench) checkAgain(t *testing.T, items int) {
	t.Helper()
	b.checkSums(t, items, 0)
	v, err := b.engine.Verify(t.Context(), []migrate.User{b.user})
	if err != nil || v[0].Items != items || len(v[0].Problems) > 0 || v[0].Error != "" {
		t.Errorf("verified: %+v, %v", v, err)
	}
	if r := b.run(t); r.Err != nil || r.Copied+r.There+r.Updated+r.Removed+r.Moved != 0 {
		t.Errorf("another pass: %+v", r)
	}
}

func TestMovedAtTheSource(t *testing.T) {
	t.Parallel()
	for name, q := range moving {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inbox, archive, work := box("INBOX", 11, named(messages(30, 1, 1))), box("Archive", 12, named(messages(5, 100, 1))), box("Work", 13, nil)
			if strings.Contains(q.Capabilities, "CONDSTORE") {
				inbox.ModSeq, archive.ModSeq, work.ModSeq = 100, 100, 100
			}
			b := newBench(t, q, inbox, archive, work)
			if r := b.run(t); r.Err != nil || r.Copied != 35 {
				t.Fatalf("first pass: %+v", r)
			}
			b.server.Bytes()
			fresh := migratetest.Message{Date: " 9-May-2003 10:00:00 +0530", Body: "Subject: new\r\n\r\nnew\r\n"}
			b.server.Change(func([]*migratetest.Box) {
				moveAll(inbox, archive, uids(3, 4, 9))
				fresh.UID = archive.UIDNext
				archive.Messages = append(archive.Messages, fresh)
				archive.UIDNext++
				moveAll(archive, work, uids(101))
				copyAll(inbox, work, uids(7, 20))
				moveAll(inbox, archive, uids(12))
				archive.Messages[len(archive.Messages)-1].Flags = `\Flagged moved`
			})
			if r := b.run(t); r.Err != nil || r.Moved != 7 || r.Copied != 1 || r.Removed != 5 || r.Aside != 0 {
				t.Errorf("second pass: %+v", r)
			}
			if n := b.server.Bytes(); n != len(fresh.Body) {
				t.Errorf("%d bytes of bodies were fetched, want the %d of the one new message", n, len(fresh.Body))
			}
			for _, x := range []*migratetest.Box{inbox, archive, work} {
				b.check(t, x.Name, x.Messages)
			}
			b.checkAgain(t, 38)
			b.server.Bytes()
			b.server.Change(func([]*migratetest.Box) { // and back
				moveAll(work, archive, every)
				moveAll(archive, inbox, uids(105, 106, 107))
			})
			if r := b.run(t); r.Err != nil || r.Moved != 6 || r.Copied != 0 || r.Removed != 6 {
				t.Errorf("third pass: %+v", r)
			}
			if n := b.server.Bytes(); n != 0 {
				t.Errorf("%d bytes of bodies were fetched again", n)
			}
			for _, x := range []*migratetest.Box{inbox, archive, work} {
				b.check(t, x.Name, x.Messages)
			}
			b.checkAgain(t, 38)
		})
	}
}

// TestMovedInDoubt moves messages that cannot be told from others for certain:
// they are fetched.
func TestMovedInDoubt(t *testing.T) {
	t.Parallel()
	alike := func(text string) migratetest.Message {
		return migratetest.Message{Date: " 5-May-2003 10:00:00 +0530", Body: "Message-ID: <same@example.org>\r\nSubject: same\r\n\r\n" + text + "\r\n"}
	}
	for name, c := range map[string]struct {
		quirks migratetest.Quirks
		change func(m *migratetest.Message)
		moved  int
	}{
		"identical ones":  {migratetest.Quirks{}, func(*migratetest.Message) {}, 1},
		"other bytes":     {migratetest.Quirks{}, nil, 0},
		"another date":    {migratetest.Quirks{}, func(m *migratetest.Message) { m.Date = " 5-May-2003 10:00:01 +0530" }, 0},
		"another size":    {migratetest.Quirks{}, func(m *migratetest.Message) { m.Body += "more\r\n" }, 0},
		"another subject": {migratetest.Quirks{}, func(m *migratetest.Message) { m.Body = strings.Replace(m.Body, "Subject: same", "Subject: more", 1) }, 0},
		"sizes of zero":   {migratetest.Quirks{Size: func(migratetest.Message) int { return 0 }}, func(*migratetest.Message) {}, 0},
		"headers are denied": {migratetest.Quirks{Command: func(_ int, line string) string {
			return map[bool]string{true: "NO not now"}[strings.Contains(line, "HEADER")]
		}}, func(*migratetest.Message) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, other := alike("one"), alike("one")
			if c.change == nil {
				other = alike("two")
			}
			one.UID, other.UID = 1, 2
			inbox, archive := box("INBOX", 11, []migratetest.Message{one, other}), box("Archive", 12, nil)
			b := newBench(t, c.quirks, inbox, archive)
			b.run(t)
			b.server.Change(func([]*migratetest.Box) {
				moveAll(inbox, archive, uids(2))
				if c.change != nil {
					c.change(&archive.Messages[0])
				}
			})
			if r := b.run(t); r.Err != nil || r.Moved != c.moved || r.Copied != 1-c.moved || r.Removed != 1 {
				t.Errorf("moved %d: %+v", c.moved, r)
			}
			b.check(t, "INBOX", inbox.Messages)
			b.check(t, "Archive", archive.Messages)
			b.checkAgain(t, 2)
		})
	}
}

// TestTakenForAnother lets a message be taken for one with its header, date and
// size: verify finds it, and the next pass sets it right.
func TestTakenForAnother(t *testing.T) {
	t.Parallel()
	for name, capabilities := range map[string]string{"flag scan": "", "CONDSTORE": "CONDSTORE"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inbox, archive := box("INBOX", 11, named(messages(12, 1, 1))), box("Archive", 12, named(messages(3, 100, 1)))
			if capabilities != "" {
				inbox.ModSeq, archive.ModSeq = 100, 100
			}
			b := newBench(t, migratetest.Quirks{Capabilities: capabilities}, inbox, archive)
			b.run(t)
			b.server.Change(func([]*migratetest.Box) {
				copyAll(inbox, archive, uids(5))
				m := &archive.Messages[3]
				m.Body = strings.Replace(m.Body, "text", "lies", 1)
			})
			if r := b.run(t); r.Err != nil || r.Moved != 1 {
				t.Fatalf("%+v", r)
			}
			v, err := b.engine.Verify(t.Context(), []migrate.User{b.user})
			if err != nil || len(v[0].Problems) != 1 || v[0].Items != 15 {
				t.Errorf("verified: %+v, %v", v, err)
			}
			if r := b.run(t); r.Err != nil || r.Copied != 1 || r.Removed != 1 || r.Moved != 0 {
				t.Errorf("the pass that sets it right: %+v", r)
			}
			var bodies []string
			for _, body := range b.bodies(t, "Archive") {
				bodies = append(bodies, body)
			}
			var want []string
			for _, m := range archive.Messages {
				want = append(want, m.Body)
			}
			slices.Sort(bodies)
			slices.Sort(want)
			if !slices.Equal(bodies, want) {
				t.Errorf("Archive holds %q, want %q", bodies, want)
			}
			b.checkAgain(t, 16)
		})
	}
}

func TestMovedBeforeItsFirstCopy(t *testing.T) {
	t.Parallel()
	inbox, archive := box("INBOX", 11, named(messages(12, 1, 1))), box("Archive", 12, nil)
	b := newBench(t, migratetest.Quirks{Fetch: func(m migratetest.Message, whole bool) (string, bool) {
		if whole && m.UID == 5 {
			return "* 5 FETCH (UID 5 BODY[] NIL)\r\n", false
		}
		return "", false
	}}, inbox, archive)
	if r := b.run(t); r.Copied != 11 || r.Aside != 1 {
		t.Fatalf("%+v", r)
	}
	b.server.Change(func([]*migratetest.Box) { moveAll(inbox, archive, uids(5)) })
	if r := b.run(t); r.Err != nil || r.Copied != 1 || r.Moved+r.Removed+r.Aside != 0 {
		t.Errorf("%+v", r)
	}
	b.check(t, "Archive", archive.Messages)
	b.checkAgain(t, 12)
}

func TestMovedIntoAFolderWithMail(t *testing.T) {
	t.Parallel()
	inbox, archive := box("INBOX", 11, named(messages(12, 1, 1))), box("Archive", 12, nil)
	b := newBench(t, migratetest.Quirks{}, archive, inbox)
	b.deliver(t, "Subject: was there before\r\n\r\nx\r\n")
	b.run(t)
	b.server.Change(func([]*migratetest.Box) { moveAll(inbox, archive, uids(2, 3, 4)) })
	b.run(t)
	b.server.Bytes()
	b.server.Change(func([]*migratetest.Box) { moveAll(archive, inbox, uids(2)) })
	if r := b.run(t); r.Err != nil || r.Moved != 1 || r.Copied != 0 || r.Removed != 1 || b.server.Bytes() != 0 {
		t.Errorf("%+v", r)
	}
	if n := len(b.bodies(t, "INBOX")); n != 11 {
		t.Errorf("INBOX holds %d messages, want 11", n)
	}
	b.checkAgain(t, 12)
}

// TestMovedAndLostAtTheTarget moves a message whose copy somebody removed.
func TestMovedAndLostAtTheTarget(t *testing.T) {
	t.Parallel()
	inbox, archive := box("INBOX", 11, named(messages(12, 1, 1))), box("Archive", 12, nil)
	b := newBench(t, migratetest.Quirks{}, inbox, archive)
	b.run(t)
	if err := b.target.Remove(t.Context(), "INBOX", mail.UIDSet{{First: 5, Last: 5}}); err != nil {
		t.Fatal(err)
	}
	b.server.Change(func([]*migratetest.Box) { moveAll(inbox, archive, uids(5)) })
	if r := b.run(t); r.Err != nil || r.Copied != 1 || r.Moved != 0 {
		t.Errorf("%+v", r)
	}
	b.check(t, "Archive", archive.Messages)
	b.checkAgain(t, 12)
}

// TestYearEnd moves nearly all of a folder to a new one, which is no loss.
func TestYearEnd(t *testing.T) {
	t.Parallel()
	inbox := box("INBOX", 11, named(messages(50, 1, 1)))
	b := newBench(t, migratetest.Quirks{}, inbox)
	b.run(t)
	b.server.Bytes()
	old := box("2003", 20, nil)
	b.server.Add(old)
	b.server.Change(func([]*migratetest.Box) {
		moveAll(inbox, old, func(m migratetest.Message) bool { return m.UID < 46 })
	})
	if r := b.run(t); r.Err != nil || r.Moved != 45 || r.Removed != 45 || b.server.Bytes() != 0 {
		t.Errorf("%+v", r)
	}
	b.check(t, "INBOX", inbox.Messages)
	b.check(t, "2003", old.Messages)
	b.checkAgain(t, 50)
	b.server.Change(func([]*migratetest.Box) { // most is moved back, but some is lost
		moveAll(old, inbox, func(m migratetest.Message) bool { return m.UID < 10 })
		old.Messages = old.Messages[:2]
	})
	if r := b.run(t); r.Err != nil || r.Moved != 9 || r.Removed != 9 {
		t.Errorf("%+v", r)
	}
	if n := len(b.bodies(t, "2003")); n != 36 {
		t.Errorf("what was lost was removed: %d messages are left, want 36", n)
	}
}

func TestFolderDeletedAtTheSource(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		messages int
		gone     bool
	}{"few messages": {5, true}, "many messages": {40, false}, "empty": {0, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			above, work := box("Work", 12, named(messages(2, 1, 1))), box("Work/Old", 13, named(messages(c.messages, 1000, 1)))
			b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, named(messages(12, 1, 1))), above, work)
			b.run(t)
			b.server.Delete("Work/Old")
			b.server.Delete("Work")
			if r := b.run(t); r.Err != nil || r.Removed != 2+map[bool]int{true: c.messages}[c.gone] {
				t.Errorf("%+v", r)
			}
			if b.has(t, "Work/Old") == c.gone || b.has(t, "Work") == c.gone {
				t.Errorf("at the target: Work %t, Work/Old %t", b.has(t, "Work"), b.has(t, "Work/Old"))
			}
			b.engine = migrate.NewEngine(b.source, b.spool, b.ledger, migrate.Options{Removals: migrate.RemoveAll})
			if r := b.run(t); r.Err != nil || b.has(t, "Work") || b.has(t, "Work/Old") {
				t.Errorf("with all removals: %+v, Work %t", r, b.has(t, "Work"))
			}
			b.server.Add(work) // it comes back
			if r := b.run(t); r.Err != nil || r.Copied != c.messages {
				t.Errorf("when it comes back: %+v", r)
			}
			b.check(t, "Work/Old", work.Messages)
			b.checkAgain(t, 12+c.messages)
		})
	}
}

// TestFolderNotListed leaves a folder alone that the source forgets to list.
func TestFolderNotListed(t *testing.T) {
	t.Parallel()
	hidden := box("Work", 12, named(messages(5, 1, 1)))
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, named(messages(12, 1, 1))), hidden)
	b.run(t)
	b.server.Change(func([]*migratetest.Box) { hidden.Hidden = true })
	if r := b.run(t); r.Err != nil || r.Removed != 0 || !b.has(t, "Work") {
		t.Errorf("%+v", r)
	}
	b.check(t, "Work", hidden.Messages)
}

// TestFolderWithMailOfItsOwn deletes a folder in which the target has other mail.
func TestFolderWithMailOfItsOwn(t *testing.T) {
	t.Parallel()
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, nil), box("Work", 12, named(messages(5, 1, 1))))
	b.run(t)
	b.deliverTo(t, "Work", "Subject: of its own\r\n\r\nx\r\n")
	b.server.Delete("Work")
	if r := b.run(t); r.Err != nil || r.Removed != 5 || len(b.bodies(t, "Work")) != 1 {
		t.Errorf("%+v", r)
	}
	if r := b.run(t); r.Err != nil || r.Removed != 0 || len(b.bodies(t, "Work")) != 1 {
		t.Errorf("and again: %+v", r)
	}
}

// shuffle moves about n messages of an account between its folders, over IMAP,
// and returns how many.
func shuffle(t *testing.T, d *migratetest.Dovecot, login string, rnd *rand.Rand, n int) (moved int) {
	t.Helper()
	c, err := imapclient.Dial(t.Context(), d.Address, imapclient.Options{Security: imapclient.Plain})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	command := func(name string, fn func(*imapclient.Response) error, args ...any) {
		t.Helper()
		if err := c.Command(name, fn, args...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := c.Login("", login, d.Password); err != nil {
		t.Fatal(err)
	}
	var names []string
	command("LIST", func(r *imapclient.Response) error {
		box, err := r.List()
		if !box.Is(`\Noselect`) {
			names = append(names, box.Name)
		}
		return err
	}, imapclient.Text(""), imapclient.Text("*"))
	for range n {
		from, to := names[rnd.IntN(len(names))], names[rnd.IntN(len(names))]
		var all mail.UIDSet
		command("SELECT", nil, imapclient.Text(from))
		command("UID SEARCH", func(r *imapclient.Response) error {
			if r.Name() != "SEARCH" {
				return nil
			}
			return r.Search(&all)
		}, imapclient.Raw("ALL"))
		list := slices.Collect(all.All())
		if len(list) < 2 || from == to {
			continue
		}
		uid := fmt.Sprint(list[rnd.IntN(len(list))])
		command("UID MOVE", nil, imapclient.Raw(uid), imapclient.Text(to))
		moved++
	}
	return moved
}

func TestMovedInDovecot(t *testing.T) {
	t.Parallel()
	org, d, _ := organisation(t, sample.Options{People: 1, Messages: 120, Seed: 12})
	b := &bench{user: migrate.User{Source: string(org.People[0].Address), Target: org.People[0].Address}}
	b.open(t, d.Address, "{local}", d.Password)
	if r := b.run(t); r.Err != nil || r.Copied != 120 {
		t.Fatalf("first pass: %+v", r)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		moved := shuffle(t, d, org.People[0].Address.Local(), rnd, 30)
		if r := b.run(t); r.Err != nil || r.Copied != 0 || r.Moved == 0 || r.Moved > moved || r.Removed != r.Moved {
			t.Errorf("%d messages were moved: %+v", moved, r)
		}
		b.checkAgain(t, 120)
	}
}

// TestKilledWhileMailIsMoved kills passes at random moments while messages are
// moved from folder to folder: in the end none is missing, and none there twice.
func TestKilledWhileMailIsMoved(t *testing.T) {
	t.Parallel()
	messages, kills := 300, 12
	if testing.Short() {
		messages, kills = 80, 4
	}
	org, d, users := organisation(t, sample.Options{People: 1, Messages: messages, Seed: 13})
	plan := childPlan{Address: d.Address, Password: d.Password, Dir: t.TempDir(), Users: users}
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	finish := func() {
		t.Helper()
		if done, err := runChild(t, text, 5*time.Minute); !done || err != nil {
			t.Fatalf("a run did not finish: %v", err)
		}
	}
	finish()
	rnd := rand.New(rand.NewPCG(3, 4))
	killed := 0
	for try := 0; killed < kills && try < 4*kills; try++ {
		shuffle(t, d, org.People[0].Address.Local(), rnd, 20)
		done, err := runChild(t, text, time.Duration(rand.Int64N(int64(120*time.Millisecond))))
		if err != nil {
			t.Fatal(err)
		}
		if !done {
			killed++
		}
	}
	finish()
	t.Logf("%d runs were killed", killed)
	checkLedger(t, filepath.Join(plan.Dir, "l.ledger"), messages)
	s := migratetest.OpenStore(t, filepath.Join(plan.Dir, "store"))
	l := openLedger(t, filepath.Join(plan.Dir, "l.ledger"))
	target := targetstore.New(s, migratetest.AnyAccount, 0)
	v, err := migrate.NewEngine(imapSource(d), target, l, migrate.Options{}).Verify(t.Context(), users)
	if err != nil || v[0].Items != messages || len(v[0].Problems) > 0 || v[0].Newer > 0 || v[0].Error != "" {
		t.Errorf("verified: %+v, %v", v, err)
	}
	a, err := target.Open(t.Context(), users[0])
	if err != nil {
		t.Fatal(err)
	}
	folders, err := a.Folders(t.Context())
	n := 0
	for _, f := range folders {
		n += f.State.Messages
	}
	if err != nil || n != messages {
		t.Errorf("the target holds %d messages, want %d: %v", n, messages, err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// TestMovedIntoOtherTargets moves messages in accounts that are copied to an
// IMAP server and to a Maildir.
func TestMovedIntoOtherTargets(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) migrate.Target{
		"imap": func(t *testing.T) migrate.Target {
			d := migratetest.StartDovecot(t, nil)
			return targetimap.New(targetimap.Config{
				Address: d.Address, Login: "{local}", Password: d.Password, Client: imapclient.Options{Security: imapclient.Plain},
			})
		},
		"courier": func(t *testing.T) migrate.Target {
			c := migratetest.StartCourier(t, filepath.Join(t.TempDir(), "Maildir"))
			return targetimap.New(targetimap.Config{Address: c.Address, Password: "any", Client: imapclient.Options{Security: imapclient.Plain}})
		},
		"maildir": func(t *testing.T) migrate.Target {
			target, err := maildir.New(maildir.Config{Path: filepath.Join(t.TempDir(), "Maildir")})
			if err != nil {
				t.Fatal(err)
			}
			return target
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inbox, archive := box("INBOX", 11, named(messages(30, 1, 1))), box("Archive", 12, named(messages(5, 100, 1)))
			old := box("Old", 13, named(messages(12, 300, 1)))
			b := newBench(t, migratetest.Quirks{}, inbox, archive, old)
			b.target.Close()
			target := open(t)
			b.engine = b.engineInto(target)
			if r := b.run(t); r.Err != nil || r.Copied != 47 {
				t.Fatalf("first pass: %+v", r)
			}
			b.server.Bytes()
			b.server.Change(func([]*migratetest.Box) {
				moveAll(inbox, archive, uids(3, 9, 4))
				archive.Messages[6].Flags = `\Flagged moved`
				moveAll(old, inbox, every)
			})
			b.server.Delete("Old")
			if r := b.run(t); r.Err != nil || r.Moved != 15 || r.Copied != 0 || r.Removed != 15 || b.server.Bytes() != 0 {
				t.Errorf("second pass: %+v", r)
			}
			b.checkAgain(t, 47)
			a, err := target.Open(t.Context(), b.user)
			if err != nil {
				t.Fatal(err)
			}
			b.target = a
			if n, m := len(b.bodies(t, "INBOX")), len(b.bodies(t, "Archive")); n != 39 || m != 8 || b.has(t, "Old") {
				t.Errorf("INBOX holds %d, Archive %d, Old is there: %t", n, m, b.has(t, "Old"))
			}
		})
	}
}

// TestFolderRenamedInAMaildir renames a folder with one below it.
func TestFolderRenamedInAMaildir(t *testing.T) {
	t.Parallel()
	work, deep := box("Work", 12, named(messages(20, 1, 2))), box("Work/Deep", 13, named(messages(5, 100, 1)))
	b := newBench(t, migratetest.Quirks{}, box("INBOX", 11, nil), work, deep)
	target, err := maildir.New(maildir.Config{Path: filepath.Join(t.TempDir(), "Maildir")})
	if err != nil {
		t.Fatal(err)
	}
	b.target.Close()
	b.engine = b.engineInto(target)
	b.run(t)
	b.server.Bytes()
	b.server.Change(func([]*migratetest.Box) { work.Name, deep.Name = "Old/Projects", "Old/Projects/Deep" })
	if r := b.run(t); r.Err != nil || r.Copied+r.Moved+r.There+r.Removed != 0 || b.server.Bytes() != 0 {
		t.Errorf("%+v", r)
	}
	if b.target, err = target.Open(t.Context(), b.user); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*migratetest.Box{work, deep} {
		if s, ok := b.state(t, x.Name); !ok || s.UIDValidity != x.UIDValidity || len(b.bodies(t, x.Name)) != len(x.Messages) {
			t.Errorf("%s: %t, %+v", x.Name, ok, s)
		}
	}
	if b.has(t, "Work") || b.has(t, "Work/Deep") {
		t.Error("the old folders are there still")
	}
	b.checkAgain(t, 25)
}
