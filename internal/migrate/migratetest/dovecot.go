// Package migratetest is what tests of a migration stand on: the contracts that
// every source and target must pass, a real Dovecot, and an IMAP server that
// does what it is told, also wrong.
package migratetest

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"expost/internal/peertest"
)

// nobody is the user that Dovecot runs as where the test is root.
const nobody = 65534

// Dovecot is a running Dovecot. Every login with Password is let in; the mail
// of a login is the Maildir++ Dir/login/Maildir.
type Dovecot struct {
	Address  string // of IMAP without TLS
	Dir      string
	Password string
}

// StartDovecot starts Dovecot for the length of the test. fill writes the
// mailboxes into dir before it starts.
func StartDovecot(t testing.TB, fill func(dir string)) *Dovecot {
	t.Helper()
	program := peertest.Lookup(t, "dovecot")
	base := t.TempDir()
	for dir := base; dir != filepath.Dir(dir) && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d := &Dovecot{Address: peertest.FreeAddress(t), Dir: filepath.Join(base, "mail"), Password: "secret"}
	if err := os.Mkdir(d.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if fill != nil {
		fill(d.Dir)
	}
	own(t, d.Dir)
	config := filepath.Join(base, "dovecot.conf")
	if err := os.WriteFile(config, []byte(d.config(base)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-F", "-c", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(base, "dovecot.log"))
			t.Logf("dovecot says:\n%s", log)
		}
	})
	d.await(t, base)
	return d
}

// config is Dovecot's configuration.
func (d *Dovecot) config(base string) string {
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = nobody, nobody
	}
	_, port, _ := net.SplitHostPort(d.Address)
	return fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/run
log_path = %[1]s/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_username_format = %%Ln
mail_home = %[2]s/%%Ln
mail_location = maildir:~/Maildir
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 0
auth_failure_delay = 0 secs
default_login_user = nobody
default_internal_user = nobody
passdb {
  driver = static
  args = password=%[3]s
}
userdb {
  driver = static
  args = uid=%[4]d gid=%[5]d home=%[2]s/%%Ln
}
namespace inbox {
  inbox = yes
  separator = /
}
service imap-login {
  chroot =
  inet_listener imap {
    port = %[6]s
  }
  inet_listener imaps {
    port = 0
  }
  service_count = 0
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap {
  service_count = 100
}
`, base, d.Dir, d.Password, uid, gid, port)
}

// await waits until Dovecot answers.
func (d *Dovecot) await(t testing.TB, base string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		conn, err := net.DialTimeout("tcp", d.Address, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(base, "dovecot.log"))
	t.Fatalf("dovecot does not listen on %s:\n%s", d.Address, log)
}

// own makes the user that Dovecot runs as the owner of dir.
func own(t testing.TB, dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	})
	if err != nil {
		t.Fatal(err)
	}
}
