package imapserver_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"expost/internal/peertest"
)

// local is a Maildir that a program keeps the same as the server.
type local struct {
	t   *testing.T
	dir string
	rng *rand.Rand
	n   int
}

// files returns the messages of the Maildir, new or not.
func (l *local) files() []string {
	var files []string
	for _, sub := range []string{"new", "cur"} {
		found, err := filepath.Glob(filepath.Join(l.dir, sub, "*"))
		if err != nil {
			l.t.Fatal(err)
		}
		files = append(files, found...)
	}
	return files
}

// change adds, removes and flags messages at random, as a mail program does.
func (l *local) change() {
	files := l.files()
	for range 1 + l.rng.IntN(3) {
		l.n++
		name := fmt.Sprintf("%d.near%d.host:2,%s", 1_000_000_000+l.n, l.n, []string{"", "S", "FS"}[l.rng.IntN(3)])
		write(l.t, filepath.Join(l.dir, "cur", name), fmt.Sprintf("Subject: near %d\nMessage-ID: <near-%d@x>\n\n%s\n", l.n, l.n, strings.Repeat("text ", l.rng.IntN(50))))
	}
	for _, f := range files {
		switch l.rng.IntN(6) {
		case 0:
			if err := os.Remove(f); err != nil {
				l.t.Fatal(err)
			}
		case 1:
			base, flags, _ := strings.Cut(filepath.Base(f), ":2,")
			if !strings.Contains(flags, "S") {
				flags = strings.Join(slices.Sorted(slices.Values(strings.Split(flags+"S", ""))), "")
			}
			if err := os.Rename(f, filepath.Join(l.dir, "cur", base+":2,"+flags)); err != nil {
				l.t.Fatal(err)
			}
		}
	}
}

// changeFar adds, removes, moves and flags messages on the server at random.
func changeFar(p *peer, rng *rand.Rand, round int) {
	for i := range 1 + rng.IntN(3) {
		msg := fmt.Sprintf("Subject: far %d.%d\r\nMessage-ID: <far-%d-%d@x>\r\n\r\n%s\r\n", round, i, round, i, strings.Repeat("more ", rng.IntN(50)))
		p.must(fmt.Sprintf("APPEND INBOX (%s) {%d+}\r\n%s", []string{"", `\Seen`, `\Flagged`}[rng.IntN(3)], len(msg), msg))
	}
	n := 0
	for _, line := range p.must("SELECT INBOX") {
		_, _ = fmt.Sscanf(line, "* %d EXISTS", &n)
	}
	for seq := n; seq > 0; seq-- {
		switch rng.IntN(8) {
		case 0:
			p.must(fmt.Sprintf(`STORE %d +FLAGS.SILENT (\Deleted)`, seq))
		case 1:
			p.must(fmt.Sprintf(`STORE %d +FLAGS.SILENT (\Answered \Seen)`, seq))
		case 2:
			p.must(fmt.Sprintf("MOVE %d Archive", seq))
		}
	}
	p.must("EXPUNGE")
}

// listed returns the Message-IDs of a Maildir, with flags.
func (l *local) listed() []string {
	var out []string
	for _, f := range l.files() {
		b, err := os.ReadFile(f)
		if err != nil {
			l.t.Fatal(err)
		}
		_, id, _ := strings.Cut(string(b), "Message-ID: <")
		id, _, _ = strings.Cut(id, ">")
		_, flags, _ := strings.Cut(filepath.Base(f), ":2,")
		out = append(out, id+" "+flags)
	}
	slices.Sort(out)
	return out
}

// listedFar returns the same of the server's INBOX.
func listedFar(p *peer) []string {
	p.must("SELECT INBOX")
	var out []string
	flags := ""
	for _, line := range p.must("FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (Message-ID)])") {
		if _, rest, is := strings.Cut(line, "FLAGS ("); is {
			words, _, _ := strings.Cut(rest, ")")
			flags = ""
			for _, f := range []struct{ flag, letter string }{{`\Flagged`, "F"}, {`\Answered`, "R"}, {`\Seen`, "S"}} {
				if slices.Contains(strings.Fields(words), f.flag) {
					flags += f.letter
				}
			}
		}
		if id, is := strings.CutPrefix(line, "Message-ID: <"); is {
			out = append(out, strings.TrimSuffix(id, ">")+" "+flags)
		}
	}
	slices.Sort(out)
	return out
}

// rounds lets both sides change over many rounds, and compares them after each.
func rounds(t *testing.T, s *site, l *local, n int, sync func()) {
	p := s.login(t)
	for round := range n {
		changeFar(p, l.rng, round)
		if round > 0 {
			l.change()
		}
		sync()
		if near, far := l.listed(), listedFar(p); !slices.Equal(near, far) {
			t.Fatalf("after round %d near has\n%q\nfar has\n%q", round, near, far)
		}
	}
	before := p.must("STATUS INBOX (UIDNEXT HIGHESTMODSEQ)")
	sync()
	if after := p.must("STATUS INBOX (UIDNEXT HIGHESTMODSEQ)"); !slices.Equal(before, after) {
		t.Errorf("with nothing to do it changed %q to %q", before, after)
	}
}

// TestMbsyncRounds synchronises both ways over rounds of random changes.
func TestMbsyncRounds(t *testing.T) {
	t.Parallel()
	mbsync, home := peertest.Lookup(t, "mbsync"), t.TempDir()
	s := newSite(t, nil)
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	rc := filepath.Join(home, "rc")
	write(t, rc, fmt.Sprintf("IMAPAccount a\nHost %[1]s\nPort %[2]s\nUser ajay\nPass secret\nSSLType None\n\nIMAPStore far\nAccount a\n\n"+
		"MaildirStore near\nPath %[3]s/mail/\nInbox %[3]s/mail/INBOX\n\nChannel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Both\nExpunge Both\nSync All\nSyncState *\n", host, port, home))
	write(t, filepath.Join(home, "mail", ".keep"), "")
	l := &local{t: t, dir: filepath.Join(home, "mail", "INBOX"), rng: rand.New(rand.NewPCG(3, 1))}
	rounds(t, s, l, 12, func() { run(t, home, mbsync, "-c", rc, "-a") })
}

// TestOfflineIMAP does the same with offlineimap.
func TestOfflineIMAP(t *testing.T) {
	t.Parallel()
	offlineimap, home := peertest.Lookup(t, "offlineimap"), t.TempDir()
	s := newSite(t, nil)
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	rc := filepath.Join(home, "rc")
	write(t, rc, fmt.Sprintf("[general]\naccounts = a\nui = quiet\nmetadata = %[3]s/meta\nsocktimeout = 60\n\n[Account a]\nlocalrepository = near\nremoterepository = far\n\n"+
		"[Repository near]\ntype = Maildir\nlocalfolders = %[3]s/mail\n\n[Repository far]\ntype = IMAP\nremotehost = %[1]s\nremoteport = %[2]s\nssl = no\nstarttls = no\n"+
		"remoteuser = ajay\nremotepass = secret\nauth_mechanisms = LOGIN\nfolderfilter = lambda name: name in ['INBOX', 'Archive']\n", host, port, home))
	l := &local{t: t, dir: filepath.Join(home, "mail", "INBOX"), rng: rand.New(rand.NewPCG(3, 2))}
	rounds(t, s, l, 6, func() { run(t, home, offlineimap, "-c", rc, "-o") })
}
