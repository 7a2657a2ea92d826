package migratetest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"expost/internal/peertest"
)

// cyrusRoot is where test/peers.sh unpacks Cyrus, which cannot be installed beside
// Dovecot.
const cyrusRoot = "/opt/expost-peers/cyrus"

// Cyrus is a running Cyrus IMAP. Every login with Password is let in, and has a
// mailbox from its first one. The logins "cyrus", an administrator, and "migration"
// act for others (authzid).
type Cyrus struct {
	Address  string // of IMAP without TLS
	POP3     string
	Password string
}

// StartCyrus starts Cyrus for the length of the test, as the administrators of
// most sites have it: "/" between levels, mailboxes beside INBOX. With below, they
// are below INBOX, and "." is between levels. Lines are added to imapd.conf.
func StartCyrus(t testing.TB, below bool, lines ...string) *Cyrus {
	t.Helper()
	program := filepath.Join(cyrusRoot, "usr/lib/cyrus/bin/master")
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("Cyrus is not unpacked: %v", err)
		}
		t.Skipf("Cyrus is not unpacked (test/peers.sh does it): %v", err)
	}
	if os.Getuid() != 0 {
		t.Skip("Cyrus is started by root only")
	}
	base, err := os.MkdirTemp("", "cyrus") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	c := &Cyrus{Address: peertest.FreeAddress(t), POP3: peertest.FreeAddress(t), Password: "secret"}
	for _, dir := range []string{"conf/socket", "conf/proc", "conf/db", "conf/log", "conf/msg", "spool"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"imapd.conf": c.config(base, below) + strings.Join(lines, "\n") + "\n", "cyrus.conf": c.services(base)} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	own(t, base)
	c.checkPasswords(t, filepath.Join(base, "mux"))
	peertest.Start(t, "tcp", c.Address, "env", "LD_LIBRARY_PATH="+filepath.Join(cyrusRoot, "usr/lib/x86_64-linux-gnu"),
		program, "-D", "-C", filepath.Join(base, "imapd.conf"), "-M", filepath.Join(base, "cyrus.conf"), "-p", filepath.Join(base, "pid"))
	return c
}

// config is imapd.conf.
func (c *Cyrus) config(base string, below bool) string {
	yes := map[bool]string{true: "yes", false: "no"}
	return fmt.Sprintf(`configdirectory: %[1]s/conf
partition-default: %[1]s/spool
defaultpartition: default
proc_path: %[1]s/conf/proc
mboxname_lockpath: %[1]s/conf/lock
cyrus_user: nobody
cyrus_group: nogroup
admins: cyrus
proxyservers: cyrus migration
allowplaintext: yes
sasl_mech_list: PLAIN
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: %[1]s/mux
altnamespace: %[2]s
unixhierarchysep: %[2]s
autocreate_quota: 0
autocreate_post: yes
conversations: no
`, base, yes[!below])
}

// services is cyrus.conf.
func (c *Cyrus) services(base string) string {
	bin := filepath.Join(cyrusRoot, "usr/lib/cyrus/bin")
	return fmt.Sprintf(`START {
}
SERVICES {
  imap cmd="%[1]s/imapd -C %[2]s/imapd.conf" listen="%[3]s" prefork=0
  pop3 cmd="%[1]s/pop3d -C %[2]s/imapd.conf" listen="%[4]s" prefork=0
}
EVENTS {
}
`, bin, base, c.Address, c.POP3)
}

// checkPasswords answers Cyrus' questions for passwords at a socket, as saslauthd
// does: login, password, service and realm come with a length of two bytes each.
func (c *Cyrus) checkPasswords(t testing.TB, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	var questions sync.WaitGroup
	questions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			questions.Go(func() {
				defer conn.Close()
				answer := "NO"
				var fields [4]string
				for i := range fields {
					var n uint16
					if binary.Read(conn, binary.BigEndian, &n) != nil {
						return
					}
					b := make([]byte, n)
					if _, err := io.ReadFull(conn, b); err != nil {
						return
					}
					fields[i] = string(b)
				}
				if fields[1] == c.Password {
					answer = "OK"
				}
				conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)) // who asked may have gone
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		questions.Wait()
	})
}
