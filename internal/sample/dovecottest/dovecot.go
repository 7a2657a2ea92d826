// Package dovecottest runs a real Dovecot for tests: one IMAP process that is
// logged in already, on a Maildir.
package dovecottest

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"expost/internal/peertest"
)

// nobody is the user that Dovecot runs as where the test is root, which it
// refuses to be.
const nobody = 65534

// Dial starts Dovecot's imap on the Maildir++ in dir and returns a connection
// to it, whose greeting is PREAUTH. It ends with the test. Where Dovecot is not
// installed the test is skipped, or with CI=true fails.
func Dial(t testing.TB, dir string) net.Conn {
	t.Helper()
	doveadm := peertest.Lookup(t, "doveadm")
	home := t.TempDir()
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = nobody, nobody
		give(t, home, uid, gid)
		give(t, dir, uid, gid)
	}
	config := filepath.Join(home, "dovecot.conf")
	text := fmt.Sprintf("base_dir = %[1]s\nstate_dir = %[1]s\nlog_path = %[1]s/dovecot.log\nssl = no\nmail_home = %[1]s\nmail_location = maildir:%[2]s\n"+
		"mail_uid = %[3]d\nmail_gid = %[4]d\nfirst_valid_uid = 1\nfirst_valid_gid = 1\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n", home, dir, uid, gid)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	cmd := exec.Command(doveadm, "-c", config, "exec", "imap")
	cmd.Env = []string{"USER=ajay", "HOME=" + home, "PATH=" + os.Getenv("PATH"), "TZ=UTC"}
	cmd.Dir = home
	cmd.Stdin, cmd.Stdout, cmd.Stderr = server, server, nil
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return client
}

// give makes a user the owner of dir with everything in it, and lets that user
// come there.
func give(t testing.TB, dir string, uid, gid int) {
	t.Helper()
	for parent := filepath.Dir(dir); parent != filepath.Dir(parent) && parent != os.TempDir(); parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	})
	if err != nil {
		t.Fatal(err)
	}
}
