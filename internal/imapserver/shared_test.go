package imapserver_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"expost/internal/gate"
	"expost/internal/imapserver"
	"expost/internal/mail"
	"expost/internal/store"
)

// grant gives an identifier rights in a mailbox of an account, as the command
// line does.
func (s *site) grant(t *testing.T, id mail.AccountID, box, identifier, letters string) {
	t.Helper()
	a, err := s.store.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	m, err := a.Mailbox(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	rights, _ := mail.ParseRights(letters)
	if err := a.SetACL(t.Context(), m.ID, store.ACLSet, store.ACLEntry{Identifier: identifier, Rights: rights}); err != nil {
		t.Fatal(err)
	}
}

// as connects and logs in.
func (s *site) as(t testing.TB, login string) *peer {
	t.Helper()
	p := s.dial(t)
	p.line()
	p.must("LOGIN " + login + " secret")
	return p
}

// expect reads a line that must be this.
func (p *peer) expect(want string) {
	p.t.Helper()
	p.deadline()
	if got := p.line(); !matchLine(want, got) {
		p.t.Fatalf("got %s, want %s", got, want)
	}
}

// A shared mailbox is an account that nobody logs in to: its mail is announced to
// all who have rights there, and each knows what he has read.
func TestSharedMailbox(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	const inbox = `"Shared/info@example.org/INBOX"`
	if _, answer := s.dial(t).do("LOGIN info secret"); strings.HasPrefix(answer, "OK") {
		t.Fatalf("logging in to a shared mailbox: %s", answer)
	}
	s.grant(t, "example.org/info", "INBOX", "group:staff@example.org", "lrswikxtea")
	readers := []*peer{s.as(t, "bishal"), s.as(t, "chitra"), s.as(t, "bishal")}
	for _, p := range readers {
		if got := p.must(`LIST "" Shared/*`); !slices.Contains(got, `* LIST (\HasNoChildren) "/" Shared/info@example.org/INBOX`) {
			t.Fatalf("LIST gives %q", got)
		}
		p.must("SELECT " + inbox)
		p.send("i IDLE\r\n")
		p.expect("+ idling")
	}
	if _, answer := s.as(t, "ajay").do("SELECT " + inbox); !strings.Contains(answer, "NONEXISTENT") {
		t.Errorf("somebody without rights: %s", answer)
	}
	a, err := s.store.Open(t.Context(), "example.org/info")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	in, err := s.store.Spool(t.Context(), nil, strings.NewReader("Subject: order\r\n\r\nx\r\n"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	box, err := a.Mailbox(t.Context(), "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Append(t.Context(), box.ID, in, store.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range readers {
		p.expect("* 1 EXISTS")
		p.expect("* 1 RECENT")
	}
	readers[0].send("DONE\r\n")
	readers[0].expect("i OK done idling")
	readers[0].must(`STORE 1 +FLAGS.SILENT (\Seen)`)
	readers[2].expect(`* 1 FETCH (UID 1 FLAGS (\Seen<any>)`) // the same user, elsewhere
	readers[0].must(`STORE 1 +FLAGS.SILENT (\Flagged)`)
	readers[1].expect(`* 1 FETCH (UID 1 FLAGS (\Flagged<any>)`) // she has not seen it
	readers[2].expect(`* 1 FETCH (UID 1 FLAGS (\Flagged \Seen<any>)`)

	// Folders are made by those who may, at the top as well, for all of them.
	readers[0].must(`CREATE "Shared/info@example.org/Orders"`)
	readers[0].must(`MOVE 1 "Shared/info@example.org/Orders"`)
	readers[1].expect("* 1 EXPUNGE")
	chitra := s.as(t, "chitra")
	chitra.must(`EXAMINE "Shared/info@example.org/Orders"`)
	if got := chitra.must("FETCH 1 (FLAGS)"); len(got) != 1 || strings.Contains(got[0], `\Seen`) {
		t.Errorf("the moved message is %q to who has not seen it", got)
	}
	bishal := s.as(t, "bishal")
	bishal.must(`EXAMINE "Shared/info@example.org/Orders"`)
	if got := bishal.must("FETCH 1 (FLAGS)"); len(got) != 1 || !strings.Contains(got[0], `\Seen`) {
		t.Errorf("the moved message is %q to who has seen it", got)
	}
}

// Whoever works in another's mailbox leaves when it is to be moved.
func TestFrozenSharedMailbox(t *testing.T) {
	t.Parallel()
	g := gate.New(0)
	s := newSite(t, func(cfg *imapserver.Config) { cfg.Gate = g })
	s.grant(t, "example.org/ajay", "INBOX", "anyone", "lri")
	bishal, chitra := s.as(t, "bishal"), s.as(t, "chitra")
	bishal.must(`SELECT "Other Users/ajay@example.org/INBOX"`)
	chitra.must("SELECT INBOX")
	chitra.must(`APPEND "Other Users/ajay@example.org/INBOX" {4+}` + "\r\nabcd")
	if n := g.Inside("example.org/ajay"); n != 1 {
		t.Errorf("%d sessions are in the account, want that of bishal", n)
	}
	thaw, err := g.Freeze(t.Context(), "example.org/ajay")
	if err != nil {
		t.Fatal(err)
	}
	bishal.expect("* BYE [UNAVAILABLE] the mailbox is being moved<any>")
	thaw()
	chitra.must(`SELECT "Other Users/ajay@example.org/INBOX"`)
	chitra.must("UNSELECT")
	if n := g.Inside("example.org/ajay"); n != 0 {
		t.Errorf("%d sessions are in the account behind UNSELECT", n)
	}
}

// Names of one's own go before the namespaces: what was called Shared stays
// reachable.
func TestOwnMailboxNamedShared(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.grant(t, "example.org/info", "INBOX", "anyone", "lr")
	a, err := s.store.Open(t.Context(), "example.org/ajay")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	if _, err := a.CreateMailbox(t.Context(), "Shared/Photos", store.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := s.login(t)
	p.must("SELECT Shared/Photos")
	p.must("STATUS Shared (MESSAGES)")
	p.must(`SELECT "Shared/info@example.org/INBOX"`)
	got := strings.Join(p.must(`LIST "" Shared*`), "\n")
	want := `* LIST (\HasChildren) "/" Shared
* LIST (\HasNoChildren) "/" Shared/Photos
* LIST (\NonExistent \Noselect \HasChildren) "/" Shared/info@example.org
* LIST (\HasNoChildren) "/" Shared/info@example.org/INBOX`
	if got != want {
		t.Errorf("LIST gives\n%s\nwant\n%s", got, want)
	}
}

// A value with NUL is told as a literal8 (RFC 5464 §5), and too many or too large
// ones are refused.
func TestMetadataLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	p := s.login(t)
	p.must("SETMETADATA INBOX (/private/comment ~{3+}\r\na\x00b)")
	if got := strings.Join(p.must("GETMETADATA INBOX /private/comment"), "|"); got != "* METADATA INBOX (/private/comment ~{3}|a\x00b)" {
		t.Errorf("got %q", got)
	}
	large := strings.Repeat("x", store.MaxAnnotation+1)
	if _, answer := p.do(fmt.Sprintf("SETMETADATA INBOX (/private/a \"y\" /private/b {%d+}\r\n%s)", len(large), large)); !strings.HasPrefix(answer, "NO [METADATA MAXSIZE 65536]") {
		t.Errorf("a large value: %s", answer)
	}
	if got := p.must("GETMETADATA INBOX /private/a"); !slices.Equal(got, []string{"* METADATA INBOX (/private/a NIL)"}) {
		t.Errorf("part of a command that failed was done: %q", got)
	}
	for n := range store.MaxAnnotations - 1 {
		p.must(fmt.Sprintf("SETMETADATA INBOX (/private/n%d \"x\")", n))
	}
	if _, answer := p.do(`SETMETADATA INBOX (/private/one-too-many "x")`); !strings.HasPrefix(answer, "NO [METADATA TOOMANY]") {
		t.Errorf("too many: %s", answer)
	}
}

// Flags that are personal are a matter of configuration.
func TestPersonalFlagsChoice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		personal store.Personal
		others   string
		code     string // with rights lrsw
	}{
		{store.PersonalNone, `\Flagged \Seen`, "READ-WRITE"},
		{store.PersonalSeen, `\Flagged`, "READ-WRITE"},
		{store.PersonalAll, ``, "READ-ONLY"},
	} {
		s := newSite(t, func(cfg *imapserver.Config) { cfg.Personal = c.personal })
		s.deliver(t, "INBOX", "Subject: x\r\n\r\nx")
		s.grant(t, "example.org/ajay", "INBOX", "anyone", "lrsw")
		bishal, chitra := s.as(t, "bishal"), s.as(t, "chitra")
		if _, answer := bishal.do(`SELECT "Other Users/ajay@example.org/INBOX"`); !strings.HasPrefix(answer, "OK ["+c.code+"]") {
			t.Errorf("%+v: %s, want %s", c.personal, answer, c.code)
		}
		bishal.must(`STORE 1 +FLAGS (\Seen \Flagged)`)
		chitra.must(`SELECT "Other Users/ajay@example.org/INBOX"`)
		if got := chitra.must("FETCH 1 FLAGS"); got[0] != "* 1 FETCH (FLAGS ("+c.others+"))" {
			t.Errorf("%+v: %s", c.personal, got[0])
		}
		if got := bishal.must("FETCH 1 FLAGS"); !strings.HasPrefix(got[0], `* 1 FETCH (FLAGS (\Flagged \Seen`) {
			t.Errorf("%+v: %s", c.personal, got[0])
		}
	}
}

// Many sessions of several users work in one mailbox at the same time. At the end
// all see the same messages, each with his own \Seen, and what a session was
// told adds up to what it is.
func TestManyUsersOneMailbox(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.grant(t, "example.org/info", "INBOX", "anyone", "lrswite")
	const name = `"Shared/info@example.org/INBOX"`
	users := []string{"ajay", "bishal", "chitra"}
	var seen [3]sync.Map // UID to whether the user has seen it last
	var group sync.WaitGroup
	for n := range 9 {
		p, user := s.as(t, users[n%3]), n%3
		p.must("SELECT " + name)
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			for i := range 40 {
				switch r.IntN(6) {
				case 0, 1:
					text := fmt.Sprintf("Subject: %d-%d\r\n\r\n", n, i)
					p.must(fmt.Sprintf("APPEND %s {%d+}\r\n%s", name, len(text), text))
				case 2:
					p.must(`UID STORE 1:* +FLAGS.SILENT (\Flagged)`)
				case 3:
					p.must(fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Deleted)`, 1+r.IntN(20)))
					p.must("EXPUNGE")
				default:
					if n < 3 { // one session of each says what he has seen
						uid := 1 + r.IntN(60)
						p.must(fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Seen)`, uid))
						seen[user].Store(uid, true)
					}
				}
			}
		})
	}
	group.Wait()
	var lists [3][]string
	for user, login := range users {
		p := s.as(t, login)
		p.must("SELECT " + name)
		for _, line := range p.must("UID FETCH 1:* (FLAGS)") {
			var seq, uid int
			if _, err := fmt.Sscanf(line, "* %d FETCH (UID %d ", &seq, &uid); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			lists[user] = append(lists[user], fmt.Sprint(uid))
			_, said := seen[user].Load(uid)
			if has := strings.Contains(line, `\Seen`); has && !said {
				t.Errorf("%s sees %q and never said so", login, line)
			}
		}
		unseen := strings.Join(p.must("UID SEARCH UNSEEN"), "")
		status := p.must("STATUS " + name + " (UNSEEN)")[0]
		if want := fmt.Sprintf("(UNSEEN %d)", len(strings.Fields(unseen))-2); !strings.HasSuffix(status, want) {
			t.Errorf("%s: %s, want %s", login, status, want)
		}
		if !slices.Equal(lists[0], lists[user]) {
			t.Errorf("%s sees other messages than %s", login, users[0])
		}
	}
	for finding, err := range s.store.Check(context.Background(), store.CheckOptions{}) {
		t.Errorf("check found %v, %v", finding, err)
	}
}
