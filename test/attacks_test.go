package test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"expost/internal/resolver/resolvertest"
)

// attack is a conversation that tries to have mail relayed, forged or smuggled.
type attack struct {
	name    string
	service string   // "smtp" where it is empty
	say     []string // each is sent when the one before it was answered; "*TLS" and "*AUTH" stand for that
	refused string   // what the last answer must match
}

// opening are the first steps of a session with a message to ajay.
func opening(from, to string) []string {
	return []string{"EHLO evil.example\r\n", "MAIL FROM:<" + from + ">\r\n", "RCPT TO:<" + to + ">\r\n"}
}

func rcpt(from, to string) []string { return opening(from, to) }

func message(from, to, header string) []string {
	return append(opening(from, to), "DATA\r\n", header+"Subject: evil\r\n\r\nPay.\r\n.\r\n")
}

// logged is what a user does before a message.
func logged(from string, rest ...string) []string {
	return append([]string{"EHLO x\r\n", "*AUTH", "MAIL FROM:<" + from + ">\r\n"}, rest...)
}

// relaying are attempts to use the server for mail to others.
func relaying() []attack {
	const out = "victim@far.example"
	auth := func(user, pw string) string {
		return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+pw)) + "\r\n"
	}
	return []attack{
		{"a stranger's mail for others", "", rcpt("x@evil.example", out), "^550 5.7.1"},
		{"in a user's name", "", rcpt("ajay@linuxforu.com", out), "^5"},
		{"in the name of postmaster", "", rcpt("postmaster@linuxforu.com", out), "^5"},
		{"with the null sender", "", rcpt("", out), "^550 5.7.1"},
		{"percent", "", rcpt("x@evil.example", "victim%far.example@linuxforu.com"), "^550 5.1.1"},
		{"bang path", "", rcpt("x@evil.example", "far.example!victim@linuxforu.com"), "^550 5.1.1"},
		{"source route", "", rcpt("x@evil.example", "@linuxforu.com:victim@far.example"), "^550 5.7.1"},
		{"source route of two", "", rcpt("x@evil.example", "@linuxforu.com,@mail.linuxforu.com:victim@far.example"), "^550 5.7.1"},
		{"quoted", "", rcpt("x@evil.example", `"victim@far.example"@linuxforu.com`), "^550 5.1.1"},
		{"two at signs", "", rcpt("x@evil.example", "victim@far.example@linuxforu.com"), "^501"},
		{"quoted domain of ours", "", rcpt("x@evil.example", `"ajay@linuxforu.com"@far.example`), "^550 5.7.1"},
		{"address literal", "", rcpt("x@evil.example", "victim@[192.0.2.1]"), "^550 5.7.1"},
		{"IPv6 literal", "", rcpt("x@evil.example", "victim@[IPv6:2001:db8::1]"), "^550 5.7.1"},
		{"mapped literal", "", rcpt("x@evil.example", "victim@[IPv6:::ffff:192.0.2.1]"), "^550 5.7.1"},
		{"percent at our literal", "", rcpt("x@evil.example", "victim%far.example@[127.0.0.1]"), "^550 5.1.1"},
		{"below our domain", "", rcpt("x@evil.example", "victim@far.linuxforu.com"), "^550 5.7.1"},
		{"our domain in front", "", rcpt("x@evil.example", "victim@linuxforu.com.far.example"), "^550 5.7.1"},
		{"final dot", "", rcpt("x@evil.example", "victim@far.example."), "^550 5.7.1"},
		{"two recipients in one", "", rcpt("x@evil.example", "ajay@linuxforu.com,victim@far.example"), "^501"},
		{"AUTH parameter", "", []string{"EHLO evil.example\r\n", "MAIL FROM:<> AUTH=ajay@linuxforu.com\r\n", "RCPT TO:<" + out + ">\r\n"}, "^550 5.7.1"},
		{"XCLIENT", "", []string{"EHLO evil.example\r\n", "XCLIENT ADDR=127.0.0.1 LOGIN=ajay@linuxforu.com\r\n"}, "^5"},
		{"XFORWARD", "", []string{"EHLO evil.example\r\n", "XFORWARD NAME=mail.linuxforu.com\r\n"}, "^50"},
		{"TURN", "", []string{"EHLO evil.example\r\n", "TURN\r\n"}, "^50"},
		{"ETRN", "", []string{"EHLO evil.example\r\n", "ETRN far.example\r\n"}, "^50"},
		{"an address of a forwarder, made up", "", rcpt("", "SRS0=AAAAAAAA=AA=far.example=victim@linuxforu.com"), "^550 5.1.1"},
		{"the same, twice forwarded", "", rcpt("", "SRS1=AAAAAAAA=one.example==AA=AA=far.example=victim@linuxforu.com"), "^550 5.1.1"},
		{"encapsulated address", "", rcpt("x@evil.example", "IMCEASMTP-victim+40far+2Eexample@linuxforu.com"), "^550 5.1.1"},
		{"encapsulated name of a contact", "", rcpt("x@evil.example", "IMCEAEX-_O=EXAMPLE_CN=CONTACT@linuxforu.com"), "^550 5.1.1"},
		{"bare name of a contact", "", rcpt("x@evil.example", "/o=Example/cn=contact@linuxforu.com"), "^550 5.1.1"},
		{"LMTP for others", "lmtp", []string{"LHLO evil.example\r\n", "MAIL FROM:<x@evil.example>\r\n", "RCPT TO:<" + out + ">\r\n"}, "^550 5.7.1"},
		{"submission without a login", "submission", []string{"EHLO x\r\n", "MAIL FROM:<ajay@linuxforu.com>\r\n"}, "^530"},
		{"submission over TLS without a login", "submissions", []string{"EHLO x\r\n", "MAIL FROM:<ajay@linuxforu.com>\r\n"}, "^530"},
		{"a wrong password", "submissions", []string{"EHLO x\r\n", auth("ajay@linuxforu.com", "guess")}, "^535"},
		{"an empty password", "submissions", []string{"EHLO x\r\n", auth("ajay@linuxforu.com", "")}, "^5"},
		{"a disabled account", "submissions", []string{"EHLO x\r\n", auth("gone@linuxforu.com", password)}, "^535"},
		{"login where mail comes in", "", []string{"EHLO x\r\n", auth("ajay@linuxforu.com", password)}, "^50"},
		{"a command behind a bare LF", "", []string{"EHLO evil.example\r\n", "MAIL FROM:<x@evil.example>\nRCPT TO:<victim@far.example>\r\n", "DATA\r\n"}, "^5"},
		{"a command behind a bare CR", "", []string{"EHLO evil.example\r\n", "MAIL FROM:<x@evil.example>\rRCPT TO:<victim@far.example>\r\n"}, "^5"},
		{"NUL in an address", "", []string{"EHLO evil.example\r\n", "MAIL FROM:<x@evil.example>\r\n", "RCPT TO:<victim@far.example\x00@linuxforu.com>\r\n"}, "^5"},
		{"a browser", "", []string{"POST / HTTP/1.1\r\n"}, "^421"},
	}
}

// forging are attempts to write in the name of others.
func forging() []attack {
	from := func(list string) string { return "From: " + list + "\r\n" }
	data := func(header string) []string {
		return logged("ajay@linuxforu.com", "RCPT TO:<biswajit@linuxforu.com>\r\n", "DATA\r\n", header+"Subject: evil\r\n\r\nPay.\r\n.\r\n")
	}
	return []attack{
		{"From of ours, from outside", "", message("x@evil.example", "ajay@linuxforu.com", from("biswajit@linuxforu.com")), "^550 5.7.26"},
		{"From below our domain", "", message("x@evil.example", "ajay@linuxforu.com", from("boss@board.linuxforu.com")), "^550 5.7.26"},
		{"with the null sender", "", message("", "ajay@linuxforu.com", from("biswajit@linuxforu.com")), "^550 5.7.26"},
		{"a second From", "", message("x@evil.example", "ajay@linuxforu.com", from("x@evil.example")+from("biswajit@linuxforu.com")), "^550 5.7.26"},
		{"two authors", "", message("x@evil.example", "ajay@linuxforu.com", from("x@evil.example, biswajit@linuxforu.com")), "^550 5.7.26"},
		{"two authors in a group", "", message("x@evil.example", "ajay@linuxforu.com", from("all: x@evil.example, biswajit@linuxforu.com;")), "^550 5.7.26"},
		{"From in a folded line", "", message("x@evil.example", "ajay@linuxforu.com", "From:\r\n biswajit@linuxforu.com\r\n"), "^550 5.7.26"},
		{"From with a space", "", message("x@evil.example", "ajay@linuxforu.com", "From : biswajit@linuxforu.com\r\n"), "^550 5.7.26"},
		{"From in other letters", "", message("x@evil.example", "ajay@linuxforu.com", "fRoM: <BISWAJIT@LinuxForU.com>\r\n"), "^550 5.7.26"},
		{"a forged verdict", "", message("x@evil.example", "ajay@linuxforu.com", "Authentication-Results: mail.linuxforu.com; dmarc=pass\r\n"+from("biswajit@linuxforu.com")), "^550 5.7.26"},
		{"a signature of another domain", "", message("x@evil.example", "ajay@linuxforu.com", "DKIM-Signature: v=1; a=rsa-sha256; d=evil.example; s=s; h=from; bh=AAAA; b=AAAA\r\n"+from("biswajit@linuxforu.com")), "^550 5.7.26"},
		{"a member of a list", "", rcpt("biswajit@linuxforu.com", "members@linuxforu.com"), "^550 5.7.1"},
		{"a list for those who log in", "", rcpt("x@evil.example", "internal@linuxforu.com"), "^550 5.7.1"},
		{"a moderator's decision, guessed", "", rcpt("biswajit@linuxforu.com", "news-approve-aaaaaaaaaaaaaaaaaaaaaaaaaa@linuxforu.com"), "^550 5.1.1"},
		{"a decision that is a path", "", rcpt("biswajit@linuxforu.com", "news-approve-../../../../etc/passwd@linuxforu.com"), "^550 5.1.1"},
		{"a user with another's envelope", "submissions", logged("biswajit@linuxforu.com"), "^553 5.7.1"},
		{"a user with an envelope from elsewhere", "submissions", logged("ajay@far.example"), "^553 5.7.1"},
		{"a user with another's From", "submissions", data(from("biswajit@linuxforu.com")), "^550 5.7.1"},
		{"a user with From from elsewhere", "submissions", data(from("boss@far.example")), "^550 5.7.1"},
		{"a user with another author beside", "submissions", data(from("ajay@linuxforu.com, biswajit@linuxforu.com")), "^550 5.7.1"},
		{"a user with two From", "submissions", data(from("ajay@linuxforu.com") + from("biswajit@linuxforu.com")), "^5"},
		{"a user with a group", "submissions", data(from("us: ajay@linuxforu.com, biswajit@linuxforu.com;")), "^550 5.7.1"},
		{"a user with the own address as a name", "submissions", data(from(`"ajay@linuxforu.com" <biswajit@linuxforu.com>`)), "^550 5.7.1"},
		{"a user who resends in another's name", "submissions", data(from("biswajit@linuxforu.com") + "Resent-From: ajay@linuxforu.com\r\n"), "^550 5.7.1"},
		{"a field in ORCPT", "", []string{"EHLO evil.example\r\n", "MAIL FROM:<x@evil.example>\r\n", "RCPT TO:<ajay@linuxforu.com> ORCPT=rfc822;x+0D+0ASubject:evil\r\n"}, "^501"},
		{"a field in ENVID", "", []string{"EHLO evil.example\r\n", "MAIL FROM:<x@evil.example> ENVID=a+0D+0ASubject:evil\r\n"}, "^501"},
	}
}

// smuggling are attempts to hide a message, or a command, in another. Where the
// outer message is an honest one it may be taken; what is in it must not be a
// message of its own.
func smuggling() []attack {
	inner := "MAIL FROM:<boss@linuxforu.com>\r\nRCPT TO:<ajay@linuxforu.com>\r\nDATA\r\nFrom: boss@linuxforu.com\r\nSubject: evil\r\n\r\nPay.\r\n.\r\n"
	var list []attack
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n\n.\r\n", "\r\n.\x00\r\n", "\r\n\x00.\r\n", "\r\r\n.\r\r\n", "\r\n.\r\r\n", "\r\n. \r\n", "\r\n..\r\n"} {
		say := append(opening("x@evil.example", "ajay@linuxforu.com"), "DATA\r\n", "From: x@evil.example\r\nSubject: outer\r\n\r\nbody"+end+inner)
		list = append(list, attack{fmt.Sprintf("behind %q", end), "", say, `^(250 2\.6\.0|5)`})
	}
	return append(list,
		attack{"behind STARTTLS", "", []string{"EHLO evil.example\r\n", "STARTTLS\r\nEHLO evil.example\r\n" + inner, "*TLS", "MAIL FROM:<x@evil.example>\r\n"}, "^503|^$"},
		attack{"behind a chunk", "", append(opening("x@evil.example", "ajay@linuxforu.com"), "BDAT 20 LAST\r\nFrom: x@evil.exampleBDAT 5\r\n"+inner), "^5|^250"},
		attack{"in a chunk that says less", "", append(opening("x@evil.example", "ajay@linuxforu.com"), "BDAT 2 LAST\r\nx\n.\r\n", "RSET\r\n"), "^5"},
		attack{"a chunk without a size", "", append(opening("x@evil.example", "ajay@linuxforu.com"), "BDAT LAST\r\n"), "^501"},
		attack{"a chunk of a negative size", "", append(opening("x@evil.example", "ajay@linuxforu.com"), "BDAT -1 LAST\r\n"), "^501"},
		attack{"DATA within BDAT", "", append(opening("x@evil.example", "ajay@linuxforu.com"), "BDAT 3\r\nx\r\n", "DATA\r\n"), "^503"},
		attack{"the message before DATA is allowed", "", []string{"EHLO evil.example\r\n", "MAIL FROM:<x@evil.example>\r\nRCPT TO:<victim@far.example>\r\nDATA\r\nSubject: evil\r\n\r\n.\r\n", "RSET\r\n"}, "^5"},
		attack{"a size that is a lie", "", []string{"EHLO evil.example\r\n", "MAIL FROM:<x@evil.example> SIZE=99999999999\r\n"}, "^552"},
		attack{"a line without an end", "", []string{"EHLO " + strings.Repeat("x", 100_000) + "\r\n"}, "^500|^501"},
	)
}

// stage is a server with everything that can be attacked.
func stage(t *testing.T) *server {
	t.Helper()
	dns := resolvertest.Serve(t, `evil.example. TXT "v=spf1 +all"`, `linuxforu.com. TXT "v=spf1 ip4:192.0.2.1 -all"`, `_dmarc.linuxforu.com. TXT "v=DMARC1; p=reject"`)
	s := newServer(t)
	s.configured("[dns]\nserver = \""+dns.Addr+"\"\n[mailauth]\ntrusted = []\n", "[listen]\n", "[listen]\nlmtp = \"127.0.0.1:0\"\n")
	s.start()
	s.addAccounts("ajay@linuxforu.com", "biswajit@linuxforu.com", "gone@linuxforu.com")
	s.run("account", "set", "gone@linuxforu.com", "--status", "disabled")
	const ldif = "dn: cn=%[1]s,ou=people,dc=linuxforu,dc=com\nobjectClass: groupOfNames\nobjectClass: expostGroup\ncn: %[1]s\nmail: %[1]s@linuxforu.com\nmember: uid=biswajit@linuxforu.com,ou=people,dc=linuxforu,dc=com\n%[2]s\n\n"
	s.addEntries(fmt.Sprintf(ldif, "members", "membersonly: TRUE") + fmt.Sprintf(ldif, "internal", "msExchRequireAuthToSendTo: TRUE") +
		fmt.Sprintf(ldif, "news", "rfc822moderator: biswajit@linuxforu.com") +
		"dn: cn=contact,ou=people,dc=linuxforu,dc=com\nobjectClass: inetOrgPerson\nobjectClass: expostPerson\ncn: contact\nsn: c\nmail: contact@far.example\nlegacyExchangeDN: /o=Example/cn=contact\n")
	return s
}

// carryOut has the conversation and returns the last answer.
func (a *attack) carryOut(s *server) (last string, err error) {
	service := a.service
	if service == "" {
		service = "smtp"
	}
	var conn net.Conn
	if conn, err = net.Dial("tcp", s.addr[service]); err != nil {
		return "", err
	}
	defer func() { conn.Close() }()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if service == "submissions" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	in := bufio.NewReader(conn)
	if _, err = answerOf(in); err != nil {
		return "", err
	}
	for _, line := range a.say {
		switch line {
		case "*TLS":
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			in = bufio.NewReader(conn)
			continue
		case "*AUTH":
			line = "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00ajay@linuxforu.com\x00"+password)) + "\r\n"
		}
		if _, err = io.WriteString(conn, line); err != nil {
			return "", nil // closed: nothing more is accepted
		}
		if last, err = answerOf(in); err != nil {
			return "", nil
		}
	}
	return last, nil
}

// answerOf reads one answer and returns its last line.
func answerOf(in *bufio.Reader) (string, error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimSpace(line), nil
		}
	}
}

// TestAttacks has every attempt refused: by the answer it gets, and by what is
// in the mailboxes and in the queue afterwards.
func TestAttacks(t *testing.T) {
	t.Parallel()
	needs(t, "ldapadd")
	s := stage(t)
	table := append(append(relaying(), forging()...), smuggling()...)
	if len(table) < 40 {
		t.Fatalf("only %d attempts", len(table))
	}
	for _, a := range table {
		last, err := a.carryOut(s)
		if err != nil {
			t.Errorf("%s: %v", a.name, err)
			continue
		}
		if !regexp.MustCompile(a.refused).MatchString(last) {
			t.Errorf("%s: the last answer is %q, want %s", a.name, last, a.refused)
		}
	}
	for _, user := range []string{"ajay@linuxforu.com", "biswajit@linuxforu.com"} {
		c := s.imap(user, nil)
		for _, box := range []string{"INBOX", "Junk"} {
			data, err := c.Select(box, nil).Wait()
			if err != nil {
				t.Fatal(err)
			}
			if data.NumMessages == 0 {
				continue
			}
			msgs, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{Envelope: true}).Collect()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range msgs {
				if m.Envelope.Subject == "evil" {
					t.Errorf("%s of %s has a message of an attack", box, user)
				}
			}
		}
	}
	if queued := s.run("queue", "list"); queued != "" {
		t.Errorf("the queue has %s", queued)
	}
	if held := s.run("moderation", "list"); held != "" {
		t.Errorf("for a decision waits %s", held)
	}
}
