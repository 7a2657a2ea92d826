package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"expost/internal/peertest"
)

// dovecot is a running Dovecot with users of its own.
type dovecot struct {
	t      *testing.T
	dir    string
	ca     string // its certificate
	imap   string // host:port, with STARTTLS
	imaps  string
	pop3   string
	pop3s  string
	lmtp   string
	cmd    *exec.Cmd
	exited chan struct{}
}

// newDovecot starts one with these users and passwords, and the master user
// "master" whose password is "master secret".
func newDovecot(t *testing.T, users map[string]string) *dovecot {
	t.Helper()
	needs(t, "dovecot")
	if os.Getuid() != 0 {
		t.Skip("Dovecot needs root")
	}
	dir, err := os.MkdirTemp("", "dovecot") // a short path: its sockets have one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &dovecot{t: t, dir: dir, ca: filepath.Join(dir, "cert.pem")}
	key := filepath.Join(dir, "key.pem")
	selfSigned(t, d.ca, key)
	for _, addr := range []*string{&d.imap, &d.imaps, &d.pop3, &d.pop3s, &d.lmtp} {
		*addr = peertest.FreeAddress(t)
	}
	var passwords strings.Builder
	for user, pw := range users {
		fmt.Fprintf(&passwords, "%s:{PLAIN.b64}%s\n", user, base64.StdEncoding.EncodeToString([]byte(pw)))
	}
	for name, text := range map[string]string{
		"users": passwords.String(), "master": "master:{PLAIN}master secret\n", "dovecot.conf": d.config(key),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "mail")} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "mail"), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	d.start()
	t.Cleanup(d.stop)
	return d
}

// config returns dovecot.conf.
func (d *dovecot) config(key string) string {
	port := func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	return fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <%[1]s/cert.pem
ssl_key = <%[2]s
auth_mechanisms = plain login
auth_username_format = %%Lu
auth_master_user_separator = *
auth_cache_size = 0
auth_failure_delay = 0
login_trusted_networks = 127.0.0.0/8
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
mail_home = %[1]s/mail/%%u
mail_location = maildir:~/Maildir
passdb {
  driver = passwd-file
  master = yes
  args = %[1]s/master
}
passdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%[1]s/mail/%%u allow_all_users=yes
}
protocol lmtp {
  auth_username_format = %%Ln
}
service lmtp {
  inet_listener lmtp {
    port = %[7]s
  }
}
namespace inbox {
  inbox = yes
  separator = /
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  inet_listener imap {
    port = %[3]s
  }
  inet_listener imaps {
    port = %[4]s
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = %[5]s
  }
  inet_listener pop3s {
    port = %[6]s
    ssl = yes
  }
}
`, d.dir, key, port(d.imap), port(d.imaps), port(d.pop3), port(d.pop3s), port(d.lmtp))
}

// start runs it and waits until it answers.
func (d *dovecot) start() {
	d.t.Helper()
	d.cmd = exec.Command("dovecot", "-F", "-c", filepath.Join(d.dir, "dovecot.conf"))
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { _ = cmd.Wait(); close(exited) }(d.cmd, d.exited)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); ; {
		select {
		case <-tick.C:
			if nc, err := net.Dial("tcp", d.pop3s); err == nil {
				nc.Close()
				return
			}
		case <-d.exited:
			d.t.Fatalf("Dovecot ended at its start:\n%s", d.log())
		case <-deadline:
			d.t.Fatalf("Dovecot does not answer:\n%s", d.log())
		}
	}
}

// stop ends it.
func (d *dovecot) stop() {
	select {
	case <-d.exited:
		return
	default:
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	<-d.exited
}

// log returns what it has logged.
func (d *dovecot) log() string {
	b, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(b)
}

// selfSigned writes a certificate for localhost and its key.
func selfSigned(t *testing.T, cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost", "exchange.linuxforu.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", pkcs8)
}
