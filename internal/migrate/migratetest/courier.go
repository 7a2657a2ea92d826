package migratetest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// courierProgram is where test/peers.sh unpacks Courier's IMAP server, which
// cannot be installed beside Dovecot's.
const courierProgram = "/opt/expost-peers/courier/usr/bin/imapd"

// Courier is a real Courier-IMAP on one Maildir++, whose sessions are logged in
// from the start (PREAUTH).
type Courier struct{ Address string }

// StartCourier starts Courier for the length of the test, on maildir, which is
// made where it is missing.
func StartCourier(t testing.TB, maildir string) *Courier {
	t.Helper()
	if _, err := os.Stat(courierProgram); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("Courier is not unpacked: %v", err)
		}
		t.Skipf("Courier is not unpacked (test/peers.sh does it): %v", err)
	}
	for _, dir := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(maildir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() { serveCourier(t, maildir, conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		sessions.Wait()
	})
	return &Courier{l.Addr().String()}
}

// serveCourier runs one session, as inetd does.
func serveCourier(t testing.TB, maildir string, conn net.Conn) {
	defer conn.Close()
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	cmd := exec.Command(courierProgram, filepath.Base(maildir))
	cmd.Dir = filepath.Dir(maildir)
	cmd.Stdin, cmd.Stdout = file, file
	cmd.Env = append(os.Environ(), "AUTHENTICATED=ajay", "IMAP_KEYWORDS=1", "IMAP_OBSOLETE_CLIENT=0", "IMAP_USELOCKS=1",
		"IMAP_CAPABILITY=IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=REFERENCES SORT QUOTA IDLE")
	cmd.Run() // its exit status tells how the client left
}
