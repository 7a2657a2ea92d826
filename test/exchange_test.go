package test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"expost/internal/peertest"
	"expost/internal/resolver/resolvertest"
)

// sharedPort returns a port that is free on several loopback addresses.
func sharedPort(t *testing.T, ips ...string) string {
	t.Helper()
	for range 100 {
		port, free := peertest.FreePort(t), true
		for _, ip := range ips {
			ln, err := net.Listen("tcp", ip+":"+port)
			if err != nil {
				free = false
				break
			}
			ln.Close()
		}
		if free {
			return port
		}
	}
	t.Skip("the addresses 127.0.0.2 and on cannot be used here")
	return ""
}

// postfix starts a Postfix that takes mail for p.example and hands it on as
// aliases say; what it sends goes where routes say.
func postfix(t *testing.T, ip, port string, aliases, routes map[string]string) {
	t.Helper()
	needs(t, "postfix")
	owner, err := user.Lookup("postfix")
	if err != nil || os.Geteuid() != 0 {
		t.Skipf("Postfix needs root and its user: %v", err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	dir, err := os.MkdirTemp("", "postfix") // its sockets have a path of little length
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, sub := range []string{"", "etc", "queue", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "data"), uid, -1); err != nil {
		t.Fatal(err)
	}
	inline := func(m map[string]string) string {
		var list []string
		for k, v := range m {
			list = append(list, "{"+k+" = "+v+"}")
		}
		return "inline:{ " + strings.Join(list, ", ") + " }"
	}
	etc := filepath.Join(dir, "etc")
	peerFile(t, etc, "main.cf", fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
myhostname = mx.p.example
mydestination =
inet_interfaces = 127.0.0.1
mynetworks = 192.0.2.0/24
virtual_alias_domains = p.example
virtual_alias_maps = %[2]s
transport_maps = %[3]s
smtp_dns_support_level = disabled
alias_maps =
alias_database =
inet_protocols = ipv4
smtpd_peername_lookup = no
smtp_bind_address = %[4]s
`, dir, inline(aliases), inline(routes), ip))
	text := ip + ":" + port + " inet n - n - - smtpd\n"
	for _, service := range []string{"pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr",
		"rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce",
		"tlsmgr unix - - n 1000? 1 tlsmgr", "proxymap unix - - n - - proxymap", "smtp unix - - n - - smtp", "relay unix - - n - - smtp",
		"error unix - - n - - error", "retry unix - - n - - error", "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache",
		"flush unix n - n 1000? 0 flush", "showq unix n - n - - showq", "verify unix - - n - 1 verify", "postlog unix-dgram n - n - 1 postlogd"} {
		text += service + "\n"
	}
	peerFile(t, etc, "master.cf", text)
	for _, f := range []string{"main.cf", "master.cf"} {
		if err := os.Chmod(filepath.Join(etc, f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("postfix", "-c", etc, "start").CombinedOutput(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		t.Fatalf("starting Postfix: %v\n%s%s", err, out, log)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("Postfix's log:\n%s", log)
		}
		if out, err := exec.Command("postfix", "-c", etc, "stop").CombinedOutput(); err != nil {
			t.Errorf("stopping Postfix: %v\n%s", err, out)
		}
	})
}

// story waits until the story of the mail for somebody has a word, and returns it.
func (s *server) story(to, word string) string {
	s.t.Helper()
	story := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		if story = s.run("log", "find", "--to", to); strings.Contains(story, word) {
			return story
		}
	}
	s.t.Fatalf("the story of the mail for %s has no %q:\n%s\nand the queue has\n%s", to, word, story, s.run("queue", "list"))
	return ""
}

// TestExchange has two Expost servers and a Postfix exchange mail, which find one
// another by DNS: by MX records in their order, past a host that is dead, with
// SPF, DKIM and DMARC.
func TestExchange(t *testing.T) {
	t.Parallel()
	needs(t, "swaks", "postfix")
	const ipA, ipB, ipP = "127.0.0.2", "127.0.0.3", "127.0.0.4"
	port := sharedPort(t, ipA, ipB, ipP)
	dns := resolvertest.Serve(t,
		`a.example. MX 10 mx.a.example.`, `mx.a.example. A `+ipA, `a.example. TXT "v=spf1 mx -all"`, `_dmarc.a.example. TXT "v=DMARC1; p=reject"`,
		`b.example. MX 10 dead.b.example.`, `b.example. MX 20 mx.b.example.`, `b.example. MX 30 mx.a.example.`, // the last one would say no
		`dead.b.example. A 127.0.0.9`, `mx.b.example. A `+ipB, `b.example. TXT "v=spf1 ip4:`+ipB+` ip4:`+ipP+` -all"`,
		`p.example. A `+ipP, // no MX
		`null.example. MX 0 .`, `null.example. A `+ipP,
	)
	node := func(name, ip string) *server {
		s := newServer(t)
		s.configured(fmt.Sprintf("[dns]\nserver = %q\n[mailauth]\ntrusted = []\n[queue]\nport = %s\nsource-address = [%q]\n", dns.Addr, port, ip),
			"mail.linuxforu.com", "mx."+name, `domains = ["linuxforu.com"]`, fmt.Sprintf("domains = [%q]", name),
			`smtp = "127.0.0.1:0"`, fmt.Sprintf("smtp = %q", ip+":"+port))
		s.start()
		return s
	}
	a, b := node("a.example", ipA), node("b.example", ipB)
	a.addAccounts("ann@a.example")
	b.addAccounts("bob@b.example")
	postfix(t, ipP, port, map[string]string{"echo@p.example": "bob@b.example", "back@p.example": "ann@a.example"},
		map[string]string{"b.example": "smtp:[" + ipB + "]:" + port, "a.example": "smtp:[" + ipA + "]:" + port})
	for _, line := range regexp.MustCompile(`(?m)^[^;\s].*TXT.*$`).FindAllString(a.run("dkim", "add", "a.example"), -1) {
		dns.Add(t, line)
	}

	send := func(s *server, from, to string, more ...string) {
		t.Helper()
		args := append([]string{"--tls-on-connect", "--auth", "PLAIN", "--auth-user", from, "--auth-password", password, "--from", from, "--to", to}, more...)
		if out, err := s.swaks("submissions", args...); err != nil {
			t.Fatalf("from %s to %s: %v\n%s", from, to, err, out)
		}
	}
	send(a, "ann@a.example", "bob@b.example")
	b.messages("bob@b.example", 1)
	got := b.header("bob@b.example", "INBOX")
	for _, want := range []string{"spf=pass", "dkim=pass", "dmarc=pass", "DKIM-Signature:"} {
		if !strings.Contains(got, want) {
			t.Errorf("bob's message has no %s:\n%s", want, got)
		}
	}
	if story := a.story("bob@b.example", "via mx.b.example"); strings.Contains(story, "deferred") {
		t.Errorf("past the dead host: %s", story)
	}
	send(a, "ann@a.example", "echo@p.example") // through Postfix to b
	b.messages("bob@b.example", 2)
	send(b, "bob@b.example", "back@p.example") // and to a
	a.messages("ann@a.example", 1)
	send(a, "ann@a.example", "nobody@p.example") // Postfix says no
	a.messages("ann@a.example", 2)
	send(a, "ann@a.example", "x@null.example")
	send(a, "ann@a.example", "x@missing.example")
	a.messages("ann@a.example", 4)
	if all := a.run("log", "find", "--from", "ann@a.example", "--json"); !strings.Contains(all, "5.1.10") || !strings.Contains(all, "5.1.2") || !strings.Contains(all, "5.1.1") {
		t.Errorf("the returned messages: %s", all)
	}
	out, err := exec.CommandContext(context.Background(), "swaks", "--server", ipB, "--port", port, "--local-interface", "127.0.0.5",
		"--from", "ann@a.example", "--to", "bob@b.example", "--ehlo", "evil.example").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "<** 550 5.7.") {
		t.Errorf("a forged message: %v\n%s", err, out)
	}

	b.stop()
	send(a, "ann@a.example", "bob@b.example")
	a.story("bob@b.example", "deferred")
	b.start()
	a.run("queue", "retry", "--hop", "b.example")
	b.messages("bob@b.example", 3)
}
