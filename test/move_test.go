package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"expost/internal/migrate/migratetest"
	"expost/internal/sample"
)

// oldServer is a Dovecot that serves the sample's mailboxes.
type oldServer struct {
	addr, password string
	org            *sample.Org
}

// newOldServer writes the mailboxes and starts a Dovecot over them.
func newOldServer(t *testing.T, opt sample.Options) *oldServer {
	t.Helper()
	org := sample.New(opt)
	d := migratetest.StartDovecot(t, func(dir string) {
		for i, p := range org.People {
			if err := sample.WriteMaildir(filepath.Join(dir, p.Address.Local(), "Maildir"), org.Mailbox(i)); err != nil {
				t.Fatal(err)
			}
		}
	})
	return &oldServer{addr: d.Address, password: d.Password, org: org}
}

// plan writes migration.toml for everyone.
func (o *oldServer) plan(t *testing.T, s *server) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "[source]\nkind = \"imap\"\naddress = %q\ntls = \"none\"\nlogin = \"{local}\"\npassword-file = \"old.password\"\n[target]\nkind = \"store\"\n", o.addr)
	for _, p := range o.org.People {
		fmt.Fprintf(&b, "[[user]]\nsource = %q\ntarget = %q\n", p.Address, p.Address)
	}
	for name, text := range map[string]string{"migration.toml": b.String(), "old.password": o.password + "\n"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// held is what a server has of one message.
type held struct {
	flags []string
	date  string
	body  string
}

// mailboxesOf reads all that a login has, by folder and UID.
func mailboxesOf(t *testing.T, addr, login, password string) map[string]map[imap.UID]held {
	t.Helper()
	c, err := imapclient.DialInsecure(addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login(login, password).Wait(); err != nil {
		t.Fatalf("%s: logging in as %s: %v", addr, login, err)
	}
	folders, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[imap.UID]held{}
	for _, f := range folders {
		if slices.Contains(f.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(f.Attrs, imap.MailboxAttrNonExistent) {
			continue
		}
		name := strings.ReplaceAll(f.Mailbox, string(f.Delim), "/")
		data, err := c.Select(f.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			t.Fatal(err)
		}
		all[name] = map[imap.UID]held{0: {date: fmt.Sprint("UIDVALIDITY ", data.UIDValidity, " UIDNEXT ", data.UIDNext)}}
		if data.NumMessages == 0 {
			continue
		}
		section := &imap.FetchItemBodySection{Peek: true}
		msgs, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			var flags []string
			for _, f := range m.Flags {
				if f != "\\Recent" {
					flags = append(flags, strings.ToLower(string(f)))
				}
			}
			slices.Sort(flags)
			all[name][m.UID] = held{flags, m.InternalDate.Format(time.RFC3339), string(m.FindBodySection(section))}
		}
	}
	return all
}

// compare reports what a person has at the new server that differs from the old.
func (o *oldServer) compare(t *testing.T, s *server) {
	t.Helper()
	for _, p := range o.org.People {
		old := mailboxesOf(t, o.addr, p.Address.Local(), o.password)
		now := mailboxesOf(t, s.addr["imap"], string(p.Address), password)
		for name, msgs := range old {
			for uid, want := range msgs {
				got, ok := now[name][uid]
				switch {
				case !ok:
					t.Errorf("%s: %q has no UID %d", p.Address, name, uid)
				case got.body != want.body:
					t.Errorf("%s: %q UID %d: %d bytes differ from %d", p.Address, name, uid, len(got.body), len(want.body))
				case !slices.Equal(got.flags, want.flags) || got.date != want.date:
					t.Errorf("%s: %q UID %d: %v %s, want %v %s", p.Address, name, uid, got.flags, got.date, want.flags, want.date)
				}
			}
			if len(now[name]) > len(msgs) {
				t.Errorf("%s: %q has %d messages, want %d", p.Address, name, len(now[name])-1, len(msgs)-1)
			}
		}
	}
}

// TestMoveFromDovecot moves an organisation from a real server, is killed ten
// times on the way, and ends with what the old server has; mbsync agrees.
func TestMoveFromDovecot(t *testing.T) {
	people, messages := 6, 150
	if os.Getenv("EXPOST_LONG") != "" {
		people, messages = 20, 500
	}
	old := newOldServer(t, sample.Options{People: people, Messages: messages, Folders: 12})
	s := newServer(t)
	old.plan(t, s)
	for _, p := range old.org.People {
		s.addAccounts(string(p.Address))
	}
	began := time.Now()
	killed := runKilled(t, s, 10, people*messages/10)
	out := s.run("migrate", "run", "-f", "migration.toml")
	t.Logf("moved with %d kills in %v:\n%s", killed, time.Since(began).Round(time.Millisecond), out)
	if again := s.run("migrate", "run", "-f", "migration.toml", "--json"); !strings.Contains(strings.ReplaceAll(again, " ", ""), `"copied":0`) {
		t.Errorf("a second run copied something:\n%s", again)
	}
	s.run("migrate", "verify", "-f", "migration.toml")
	if out, errs, err := s.try(context.Background(), "", "check", "--store"); err != nil {
		t.Errorf("check: %v\n%s%s", err, out, errs)
	}
	s.start()
	old.compare(t, s)
	mbsyncAgrees(t, old, s)
}

// runKilled starts the run and kills it at random moments, spread over so many ms.
func runKilled(t *testing.T, s *server, times, spread int) (killed int) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 3))
	for range times {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(20+rnd.IntN(spread))*time.Millisecond)
		if _, _, err := s.try(ctx, "", "migrate", "run", "-f", "migration.toml"); err != nil {
			killed++
		}
		cancel()
	}
	return killed
}

// mbsyncAgrees pulls one mailbox from both servers with mbsync and compares the files.
func mbsyncAgrees(t *testing.T, old *oldServer, s *server) {
	t.Helper()
	needs(t, "mbsync")
	p := old.org.People[0]
	pull := func(name, addr, login, password, delimiter string) map[string]int {
		dir := t.TempDir()
		host, port, _ := strings.Cut(addr, ":")
		rc := fmt.Sprintf("IMAPAccount a\nHost %s\nPort %s\nUser %q\nPass %q\nSSLType None\nAuthMechs LOGIN\n\nIMAPStore far\nAccount a\nPathDelimiter %s\n\n"+
			"MaildirStore near\nPath %s/mail/\nInbox %s/mail/INBOX\nSubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Near\nSync Pull\nCopyArrivalDate yes\nSyncState *\n",
			host, port, login, password, delimiter, dir, dir)
		file := filepath.Join(dir, "rc")
		if err := os.WriteFile(file, []byte(rc), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "mail"), 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mbsync", "-q", "-c", file, "c").CombinedOutput(); err != nil {
			t.Fatalf("mbsync from the %s server: %v\n%s", name, err, out)
		}
		return mailIn(t, filepath.Join(dir, "mail"))
	}
	want := pull("old", old.addr, p.Address.Local(), old.password, ".")
	got := pull("new", s.addr["imap"], string(p.Address), password, "/")
	if len(want) < 20 {
		t.Fatalf("mbsync found only %d messages at the old server", len(want))
	}
	for key, n := range want {
		if got[key] != n {
			t.Errorf("mbsync: %.60q is there %d times, want %d", key, got[key], n)
		}
	}
}

// mailIn counts what is in a tree of Maildirs, by flags, time and bytes.
func mailIn(t *testing.T, dir string) map[string]int {
	t.Helper()
	found := map[string]int{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		parent := filepath.Base(filepath.Dir(path))
		if err != nil || d.IsDir() || parent != "cur" && parent != "new" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		_, flags, _ := strings.Cut(d.Name(), ":2,")
		text := strings.Join(slices.DeleteFunc(strings.Split(string(b), "\n"), func(l string) bool { return strings.HasPrefix(l, "X-TUID: ") }), "\n")
		found[fmt.Sprintf("%s %d %s", flags, info.ModTime().Unix(), text)]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
