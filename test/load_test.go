package test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"expost/internal/peertest"
)

// TestTenThousand has Postfix's smtp-source hand in 10,000 messages that go on to
// its smtp-sink, none lost and none twice.
func TestTenThousand(t *testing.T) {
	t.Parallel()
	needs(t, "smtp-source", "smtp-sink")
	const n = 10000
	dir, err := os.MkdirTemp("", "sink") // nobody must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	addr := peertest.StartSMTPSink(t, "-c", "-D", filepath.Join(dir, "dump.%M"))
	s := newServer(t)
	s.configured("[policy]\nrelay-networks = [\"127.0.0.1\"]\nuser-recipients = 0\nuser-recipients-day = 0\n[queue.smarthost]\nhost = \"" + addr + "\"\n")
	s.start()
	start := time.Now()
	out, err := exec.Command("smtp-source", "-s", "16", "-m", strconv.Itoa(n), "-l", "4096", "-f", "a@linuxforu.com", "-t", "b@far.example", s.addr["smtp"]).CombinedOutput()
	if err != nil {
		t.Fatalf("smtp-source: %v\n%s", err, out)
	}
	accepted := time.Since(start)
	for deadline := time.Now().Add(time.Minute); s.run("queue", "list", "--limit", "1") != ""; <-time.After(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the queue does not become empty: %s\n%s", s.run("queue", "list", "--limit", "3"), s.run("log", "find", "--limit", "3"))
		}
	}
	t.Logf("%d messages: accepted in %v, all sent in %v", n, accepted.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	if nc, err := net.Dial("tcp", addr); err == nil { // smtp-sink writes its files when a session ends
		nc.Close()
	}
	seen := map[string]int{}
	files, _ := filepath.Glob(filepath.Join(dir, "dump.*"))
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for in := bufio.NewScanner(f); in.Scan(); {
			if id, ok := strings.CutPrefix(in.Text(), "Message-Id: "); ok {
				seen[id]++
			}
		}
		f.Close()
	}
	twice := 0
	for _, times := range seen {
		if times > 1 {
			twice++
		}
	}
	if len(seen) != n || twice > 0 {
		t.Errorf("smtp-sink has %d messages, %d of them more than once", len(seen), twice)
	}
}
