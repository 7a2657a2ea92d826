package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"expost/internal/migrate/migratetest"
	"expost/internal/peertest"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"golang.org/x/sync/errgroup"
)

// hard is a password that no quoted string of IMAP can carry.
const hard = "p\u00e4ss \"w\\ord\" {5} \u2603 100%"

// front returns a server in front of Dovecot, with accounts whose mailHost that is.
func front(t *testing.T, d *dovecot, host string) *server {
	t.Helper()
	s := newServer(t)
	s.configure("pop3 = \"\"\npop3s = \"\"", "pop3 = \"127.0.0.1:0\"\npop3s = \"127.0.0.1:0\"")
	s.configure("level = \"warn\"", "level = \"info\"")
	s.configure("[log]", "[[host]]\nname = \"exchange.linuxforu.com\"\n"+host+"\n[log]")
	s.start()
	for _, who := range []string{"ajay", "anup"} {
		s.run("account", "add", who+"@linuxforu.com", "--mail-host", "exchange.linuxforu.com", "--no-password")
	}
	return s
}

// dovecotHost is the [[host]] of a Dovecot.
func dovecotHost(d *dovecot) string {
	return fmt.Sprintf("imap = \"imap://%s\"\npop3 = \"pop3s://%s\"\nca = %q\nlogin = \"{local}\"\ntell-client = true\n", d.imap, d.pop3s, d.ca)
}

// dialIMAP connects to a server's IMAP from an address of loopback.
func dialIMAP(t *testing.T, s *server, from string) *imapclient.Client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := dialer.Dial("tcp", s.addr["imaps"])
	if err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(tls.Client(nc, &tls.Config{InsecureSkipVerify: true}), nil)
	t.Cleanup(func() { c.Close() })
	return c
}

// authFailure tells whether an error is a NO with a code.
func refusedWith(err error, code imap.ResponseCode) bool {
	ie, ok := errors.AsType[*imap.Error](err)
	return ok && ie.Type == imap.StatusResponseTypeNo && ie.Code == code
}

// TestMailHostIsServedByProxy puts Expost in front of a Dovecot that plays the
// old server, and does there what clients do.
func TestMailHostIsServedByProxy(t *testing.T) {
	t.Parallel()
	d := newDovecot(t, map[string]string{"ajay": hard, "anup": password})
	s := front(t, d, dovecotHost(d))

	c := dialIMAP(t, s, "127.0.0.9")
	if err := c.Login("ajay@linuxforu.com", hard).Wait(); err != nil {
		t.Fatalf("logging in with a hard password: %v\n%s", err, d.log())
	}
	if !c.Caps().Has("NOTIFY") || !c.Caps().Has("CONTEXT=SEARCH") || c.Caps().Has("UIDONLY") { // Dovecot's, not ours
		t.Errorf("the capabilities after login are %v", c.Caps())
	}
	var big bytes.Buffer
	big.WriteString("Subject: large\r\nMessage-ID: <1@x>\r\n\r\n")
	rnd := rand.New(rand.NewPCG(1, 2))
	for big.Len() < 3<<20 {
		fmt.Fprintf(&big, "%x\r\n", rnd.Uint64())
	}
	if _, err := appendText(c, "INBOX", big.String()); err != nil {
		t.Fatalf("APPEND: %v", err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	got, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{}}}).Collect()
	if err != nil || len(got) != 1 || !bytes.Equal(got[0].BodySection[0].Bytes, big.Bytes()) {
		t.Fatalf("FETCH: %v, %d messages", err, len(got))
	}
	if !strings.Contains(d.log(), "rip=127.0.0.9") {
		t.Errorf("Dovecot does not know the client's address:\n%s", d.log())
	}
	idleSeesMail(t, c, s, d)

	for _, pw := range []string{"wrong", "", "p\u00e4ss"} {
		if err := dialIMAP(t, s, "127.0.0.1").Login("ajay@linuxforu.com", pw).Wait(); !refusedWith(err, imap.ResponseCodeAuthenticationFailed) {
			t.Errorf("password %q: %v", pw, err)
		}
	}
	needs(t, "curl")
	list, err := client(t, "", nil, "curl", "-sS", "--url", "pop3://"+s.addr["pop3"]+"/", "-X", "UIDL", "-u", "ajay:"+hard)
	theirs, err2 := client(t, "", nil, "curl", "-sSk", "--url", "pop3s://"+d.pop3s+"/", "-X", "UIDL", "-u", "ajay:"+hard)
	if err != nil || err2 != nil || list != theirs || !strings.HasPrefix(list, "1 ") {
		t.Errorf("UIDL by proxy: %v %q; by itself: %v %q", err, list, err2, theirs)
	}
	if out, err := client(t, "", nil, "curl", "-sS", "--url", "pop3://"+s.addr["pop3"]+"/1", "-u", "ajay:"+hard); err != nil || strings.ReplaceAll(out, "\r\n", "\n") != strings.ReplaceAll(big.String(), "\r\n", "\n") {
		t.Errorf("RETR by proxy: %v, %d bytes", err, len(out))
	}
	if out, err := client(t, "", nil, "curl", "-sSv", "--url", "pop3://"+s.addr["pop3"]+"/", "-u", "ajay:wrong"); err == nil || !strings.Contains(out, "-ERR [AUTH]") {
		t.Errorf("a wrong password for POP3: %v\n%s", err, out)
	}

	// The old server goes away: that is no wrong password, and comes at once.
	d.stop()
	began := time.Now()
	if err := dialIMAP(t, s, "127.0.0.1").Login("ajay@linuxforu.com", hard).Wait(); !refusedWith(err, imap.ResponseCodeUnavailable) {
		t.Errorf("without the old server: %v", err)
	}
	if out, err := client(t, "", nil, "curl", "-sSv", "--url", "pop3://"+s.addr["pop3"]+"/", "-u", "ajay:"+hard); err == nil || !strings.Contains(out, "-ERR [SYS/TEMP]") {
		t.Errorf("POP3 without the old server: %v\n%s", err, out)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	if strings.Contains(s.log.String(), "w\\ord") || strings.Contains(s.log.String(), hard) {
		t.Error("a password is in the log")
	}
}

// idleSeesMail waits in IDLE for a message that comes by another session.
func idleSeesMail(t *testing.T, c *imapclient.Client, s *server, d *dovecot) {
	t.Helper()
	seen := make(chan uint32, 10)
	dialer := net.Dialer{}
	nc, err := dialer.Dial("tcp", s.addr["imaps"])
	if err != nil {
		t.Fatal(err)
	}
	watcher := imapclient.New(tls.Client(nc, &tls.Config{InsecureSkipVerify: true}), &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(m *imapclient.UnilateralDataMailbox) {
			if m.NumMessages != nil {
				seen <- *m.NumMessages
			}
		},
	}})
	defer watcher.Close()
	if err := watcher.Login("ajay@linuxforu.com", hard).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := watcher.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := watcher.Idle()
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if _, err := appendText(c, "INBOX", "Subject: second\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-seen:
	case <-time.After(20 * time.Second):
		t.Error("IDLE by proxy tells nothing of a new message")
	}
}

// TestPasswordsAreLearned takes accounts over without a new password for anybody.
func TestPasswordsAreLearned(t *testing.T) {
	t.Parallel()
	d := newDovecot(t, map[string]string{"ajay": hard, "anup": password})
	s := front(t, d, dovecotHost(d)+"learn = true\n")
	login := func(who, pw string) error { return dialIMAP(t, s, "127.0.0.1").Login(who, pw).Wait() }
	if err := login("ajay", hard); err != nil {
		t.Fatalf("logging in: %v\n%s", err, d.log())
	}
	for _, who := range []string{"ajay", "anup"} {
		s.run("account", "set", who+"@linuxforu.com", "--mail-host", "")
	}
	d.stop() // from here on nobody can ask there
	if err := login("ajay", hard); err != nil {
		t.Errorf("the password was not learned: %v", err)
	}
	if err := login("ajay", password); !refusedWith(err, imap.ResponseCodeAuthenticationFailed) {
		t.Errorf("another password: %v", err)
	}
	if err := login("anup", password); !refusedWith(err, imap.ResponseCodeAuthenticationFailed) {
		t.Errorf("somebody who has never logged in has a password: %v", err)
	}
}

// TestPasswordsOfAnLDAPServer checks the passwords of local mailboxes by a bind
// at another directory: here another Expost.
func TestPasswordsOfAnLDAPServer(t *testing.T) {
	t.Parallel()
	needs(t, "ldapwhoami")
	ad := newServer(t)
	ad.start()
	ad.addAccounts("ajay@linuxforu.com")
	s := newServer(t)
	s.configure("[log]", "[[login.rule]]\ndomain = \"linuxforu.com\"\nat = \"ldap\"\nservers = [\"ldap://"+ad.addr["ldap"]+"\"]\ntls = \"never\"\n"+
		"bind = \"uid={address},ou=people,dc=linuxforu,dc=com\"\nlearn = true\n[log]")
	s.start()
	s.run("account", "add", "ajay@linuxforu.com", "anup@linuxforu.com", "--no-password")
	login := func(who, pw string) error { return dialIMAP(t, s, "127.0.0.1").Login(who, pw).Wait() }
	if err := login("ajay", password); err != nil {
		t.Fatalf("logging in: %v\n%s", err, s.log)
	}
	for _, who := range []string{"ajay", "anup"} {
		if err := login(who, "wrong"); !refusedWith(err, imap.ResponseCodeAuthenticationFailed) {
			t.Errorf("a wrong password of %s: %v", who, err)
		}
	}
	if out, err := client(t, "", nil, "ldapwhoami", "-x", "-H", "ldap://"+s.addr["ldap"], "-D", "ajay@linuxforu.com", "-w", password); err != nil || !strings.Contains(out, "uid=ajay@linuxforu.com") {
		t.Errorf("a bind with it: %v %s", err, out)
	}
	for pw, want := range map[string]string{password: "dn:uid=ajay@linuxforu.com", "wrong": "Invalid credentials"} {
		if out, err := client(t, "", nil, "ldapwhoami", "-x", "-H", "ldap://"+s.addr["ldap"], "-D", "uid=ajay@linuxforu.com,ou=people,dc=linuxforu,dc=com", "-w", pw); (err == nil) != (pw == password) || !strings.Contains(out, want) {
			t.Errorf("a bind with the DN and %q: %v %s", pw, err, out)
		}
	}
	ad.stop()
	ad.cmd = nil
	if err := login("ajay", password); !refusedWith(err, imap.ResponseCodeUnavailable) {
		t.Errorf("without the directory: %v", err)
	}
	// The rule is taken away: what was learned counts.
	s.stop()
	s.configure("[[login.rule]]\ndomain = \"linuxforu.com\"", "[[login.rule]]\ndomain = \"example.net\"")
	s.start()
	if err := login("ajay", password); err != nil {
		t.Errorf("the password was not learned: %v", err)
	}
}

// TestMasterLogin lets a client that proves itself without a password into a
// mailbox elsewhere.
func TestMasterLogin(t *testing.T) {
	t.Parallel()
	needs(t, "gsasl")
	d := newDovecot(t, map[string]string{"ajay": hard, "anup": "unknown to everybody"})
	writeText(t, d.dir+"/master-password", "master secret\n")
	s := front(t, d, dovecotHost(d)+"master = \"master\"\nmaster-password-file = \""+d.dir+"/master-password\"\n")
	if out, errs, err := s.try(context.Background(), password+"\n", "account", "passwd", "anup@linuxforu.com", "--password-stdin"); err != nil {
		t.Fatal(err, out, errs)
	}
	_, port, _ := net.SplitHostPort(s.addr["imap"])
	out, err := client(t, "\n", nil, "gsasl", "--imap", "--no-starttls", "-m", "SCRAM-SHA-256", "-a", "anup@linuxforu.com", "-p", password, "127.0.0.1", port)
	if !strings.Contains(out, "NOTIFY") || !strings.Contains(out, "Client authentication finished (server trusted)") {
		t.Errorf("SCRAM by proxy: %v\n%s\n%s", err, out, d.log())
	}
	if !strings.Contains(d.log(), "user=<anup>") {
		t.Errorf("Dovecot knows nothing of anup:\n%s", d.log())
	}
	if err := dialIMAP(t, s, "127.0.0.1").Login("anup", "wrong").Wait(); !refusedWith(err, imap.ResponseCodeAuthenticationFailed) {
		t.Errorf("a wrong password: %v", err)
	}
}

// TestCyrusBehind serves mailboxes of a Cyrus by proxy, as one of its proxyservers,
// who acts for their users, and takes over the ids of POP3 by its rule.
func TestCyrusBehind(t *testing.T) {
	t.Parallel()
	needs(t, "curl")
	d := migratetest.StartCyrus(t, false)
	secret := filepath.Join(t.TempDir(), "master-password")
	writeText(t, secret, d.Password+"\n")
	s := front(t, nil, fmt.Sprintf("imap = \"imap://%s\"\npop3 = \"pop3://%s\"\ntls = \"none\"\nlogin = \"{local}\"\nmaster = \"migration\"\nmaster-password-file = %q\n", d.Address, d.POP3, secret))
	for _, who := range []string{"ajay", "anup"} {
		if out, errs, err := s.try(context.Background(), password+"\n", "account", "passwd", who+"@linuxforu.com", "--password-stdin"); err != nil {
			t.Fatal(err, out, errs)
		}
	}
	c := dialIMAP(t, s, "127.0.0.1")
	if err := c.Login("ajay@linuxforu.com", password).Wait(); err != nil {
		t.Fatalf("logging in: %v\n%s", err, s.log)
	}
	if !c.Caps().Has("XLIST") || c.Caps().Has("UIDONLY") { // Cyrus', not ours
		t.Errorf("the capabilities after login are %v", c.Caps())
	}
	for _, m := range numbered(5) {
		if _, err := appendText(c, "INBOX", m); err != nil {
			t.Fatal(err)
		}
	}
	before := s.uniqueIDs(t)
	plan := fmt.Sprintf("[source]\nkind = \"imap\"\naddress = %q\ntls = \"none\"\nlogin = \"migration\"\nauthzid = \"{local}\"\npassword-file = %q\n[[user]]\nsource = \"ajay@linuxforu.com\"\n", d.Address, secret)
	writeText(t, filepath.Join(s.dir, "migration.toml"), plan)
	if out := s.run("migrate", "cutover", "-f", "migration.toml"); !strings.Contains(out, "the ids of 5 messages for POP3 follow the rule") {
		t.Errorf("cutover says %s", out)
	}
	if after := s.uniqueIDs(t); strings.Count(before, "\n") != 5 || after != before {
		t.Errorf("unique ids were\n%s, are\n%s", before, after)
	}
}

// TestTwoNodes serves an account of one node by way of the other, by IMAP, POP3
// and submission, and notices two nodes that send each other for a mailbox.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	needs(t, "swaks", "curl")
	b := newServer(t)
	b.configure("pop3 = \"\"\npop3s = \"\"", "pop3 = \"127.0.0.1:0\"\npop3s = \"127.0.0.1:0\"")
	b.configure("mail.linuxforu.com", "b.linuxforu.com")
	b.start()
	b.addAccounts("ajay@linuxforu.com")
	a := newServer(t)
	a.configure("pop3 = \"\"\npop3s = \"\"", "pop3 = \"127.0.0.1:0\"\npop3s = \"127.0.0.1:0\"")
	a.configure("[log]", fmt.Sprintf("[[host]]\nname = \"b.linuxforu.com\"\nimap = \"imaps://%s\"\npop3 = \"pop3://%s\"\nsubmission = \"submission://%s\"\nca = %q\n[log]",
		b.addr["imaps"], b.addr["pop3"], b.addr["submission"], b.dir+"/data/tls/cert.pem"))
	a.start()
	a.run("account", "add", "ajay@linuxforu.com", "--mail-host", "b.linuxforu.com", "--no-password")
	host, port, _ := net.SplitHostPort(a.addr["submission"])
	if out, err := client(t, "", nil, "swaks", "--server", host, "--port", port, "--tls", "--auth", "PLAIN", "--auth-user", "ajay@linuxforu.com", "--auth-password", password,
		"--from", "ajay@linuxforu.com", "--to", "ajay@linuxforu.com", "--header", "Subject: by two nodes"); err != nil {
		t.Fatalf("submission by proxy: %v\n%s", err, out)
	}
	c := dialIMAP(t, a, "127.0.0.1")
	if err := c.Login("ajay@linuxforu.com", password).Wait(); err != nil {
		t.Fatal(err)
	}
	if box, err := c.Select("INBOX", nil).Wait(); err != nil || box.NumMessages != 1 {
		t.Fatalf("INBOX by proxy: %v %+v", err, box)
	}
	if out, err := client(t, "", nil, "curl", "-sS", "--url", "pop3://"+a.addr["pop3"]+"/1", "-u", "ajay@linuxforu.com:"+password); err != nil || !strings.Contains(out, "by two nodes") {
		t.Errorf("POP3 by proxy: %v\n%s", err, out)
	}
	// A node that stops says goodbye to those it serves by proxy.
	bye := make(chan error, 1)
	go func() { _, err := io.ReadAll(&waitBye{c}); bye <- err }()
	a.stop()
	if err := <-bye; err != nil && !errors.Is(err, io.EOF) {
		t.Logf("the session by proxy ended with %v", err)
	}
}

// waitBye reads nothing and ends with the client.
type waitBye struct{ c *imapclient.Client }

func (w *waitBye) Read([]byte) (int, error) {
	<-w.c.Closed()
	return 0, io.EOF
}

// TestNodesThatSendEachOther lets two nodes each say that the mailbox is the
// other's, and one believe the other whom it speaks for.
func TestNodesThatSendEachOther(t *testing.T) {
	t.Parallel()
	nodes := map[string]*server{}
	addr := map[string]string{"a": peertest.FreeAddress(t), "b": peertest.FreeAddress(t)}
	for name, other := range map[string]string{"a": "b", "b": "a"} {
		s := newServer(t)
		nodes[name] = s
		s.configure("imap = \"127.0.0.1:0\"", "imap = \""+addr[name]+"\"")
		s.configure("mail.linuxforu.com", name+".linuxforu.com")
		s.configure("level = \"warn\"", "level = \"info\"")
		s.configure("[log]", fmt.Sprintf("[login]\nproxy-networks = [\"127.0.0.0/8\"]\n[[host]]\nname = %q\nimap = \"imap://%s\"\ntls = \"none\"\ntell-client = true\n[log]", other+".linuxforu.com", addr[other]))
		s.start()
		s.run("account", "add", "ajay@linuxforu.com", "--mail-host", other+".linuxforu.com", "--no-password")
	}
	nodes["b"].addAccounts("anup@linuxforu.com")
	nodes["a"].run("account", "add", "anup@linuxforu.com", "--mail-host", "b.linuxforu.com", "--no-password")
	began := time.Now()
	if err := dialIMAP(t, nodes["a"], "127.0.0.1").Login("ajay@linuxforu.com", password).Wait(); !refusedWith(err, imap.ResponseCodeUnavailable) {
		t.Errorf("a mailbox that is nowhere: %v\n%s", err, nodes["a"].log)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to find out", took)
	}
	if err := dialIMAP(t, nodes["a"], "127.0.0.77").Login("anup@linuxforu.com", password).Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(nodes["b"].log.String(), "remote=127.0.0.77") {
		t.Errorf("the other node does not know the client's address:\n%s", nodes["b"].log)
	}
}

// TestManySessionsByProxy holds many sessions by proxy, TLS on both sides, and
// has each of them answer. EXPOST_PROXY_SESSIONS sets how many; the memory of the
// node in front is logged.
func TestManySessionsByProxy(t *testing.T) {
	t.Parallel()
	n, err := strconv.Atoi(os.Getenv("EXPOST_PROXY_SESSIONS"))
	if err != nil {
		n = 100
	}
	limits := "[login]\nsessions-per-account = 0\nsessions-per-address = 0\n"
	b := newServer(t)
	b.configure("mail.linuxforu.com", "b.linuxforu.com")
	b.configure("[log]", limits+"[log]")
	b.start()
	b.addAccounts("ajay@linuxforu.com")
	a := newServer(t)
	a.configure("[log]", limits+fmt.Sprintf("[[host]]\nname = \"b.linuxforu.com\"\nimap = \"imaps://%s\"\nca = %q\n[log]", b.addr["imaps"], b.dir+"/data/tls/cert.pem"))
	a.start()
	a.run("account", "add", "ajay@linuxforu.com", "--mail-host", "b.linuxforu.com", "--no-password")
	before := residentKiB(t, a)
	conns := make([]*tls.Conn, n)
	var group errgroup.Group
	group.SetLimit(16)
	for i := range n {
		group.Go(func() (err error) {
			conns[i], err = rawLogin(a.addr["imaps"])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	after := residentKiB(t, a)
	t.Logf("%d sessions by proxy: %d KiB resident before, %d after, %.1f KiB each", n, before, after, float64(after-before)/float64(n))
	for i, c := range conns {
		if _, err := io.WriteString(c, "b NOOP\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := awaitTagged(c, "b OK"); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
		c.Close()
	}
}

// rawLogin logs in as ajay with no more than is needed.
func rawLogin(addr string) (*tls.Conn, error) {
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, "a LOGIN ajay@linuxforu.com \""+password+"\"\r\n"); err != nil {
		return nil, err
	}
	return c, awaitTagged(c, "a OK")
}

// awaitTagged reads until a line begins with want.
func awaitTagged(c net.Conn, want string) error {
	_ = c.SetReadDeadline(time.Now().Add(60 * time.Second))
	var got []byte
	buf := make([]byte, 2048)
	for {
		n, err := c.Read(buf)
		if got = append(got, buf[:n]...); strings.Contains("\n"+string(got), "\n"+want) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w after %q", err, got)
		}
	}
}

// residentKiB returns the memory that a server holds.
func residentKiB(t *testing.T, s *server) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Skip(err)
	}
	var kib int
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(rest, &kib)
		}
	}
	return kib
}
