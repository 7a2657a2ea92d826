package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"expost/internal/peertest"

	"github.com/emersion/go-imap/v2/imapclient"
)

// program is the path of the binary under test, built once.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "expost-test")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "expost")
		build := exec.Command("go", "build", "-o", program, "expost/cmd/expost")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// needs skips the test where one of the programs is missing; in CI it fails.
func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		peertest.Lookup(t, p)
	}
}

// server is a running Expost with a data folder of its own.
type server struct {
	t      testing.TB
	dir    string
	config string
	cmd    *exec.Cmd
	log    *syncBuffer
	exited chan struct{}
	addr   map[string]string // service -> address
}

// syncBuffer is a bytes.Buffer for a process's output.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// configText is a configuration on free loopback ports; services that are not
// tested are off.
const configText = `
data = "data"
hostname = "mail.linuxforu.com"
domains = ["linuxforu.com"]
[listen]
smtp = "127.0.0.1:0"
submission = "127.0.0.1:0"
submissions = "127.0.0.1:0"
imap = "127.0.0.1:0"
imaps = "127.0.0.1:0"
ldap = "127.0.0.1:0"
ldaps = "127.0.0.1:0"
pop3 = ""
pop3s = ""
http = ""
https = ""
metrics = ""
[directory]
anonymous = ["ou=addressbook,dc=linuxforu,dc=com"]
[log]
level = "warn"
`

// newServer prepares a server in a fresh folder; start starts it.
func newServer(t testing.TB) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, dir: dir, config: filepath.Join(dir, "expost.toml"), log: new(syncBuffer)}
	if err := os.WriteFile(s.config, []byte(configText), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// start runs the server and waits until every listener is up.
func (s *server) start() {
	s.t.Helper()
	ready := filepath.Join(s.dir, "ready")
	os.Remove(ready)
	s.cmd = exec.Command(program, "serve", "--config", s.config, "--ready-file", ready)
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { cmd.Wait(); close(exited) }(s.cmd, s.exited)
	s.addr = map[string]string{}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case <-tick.C:
			b, err := os.ReadFile(ready)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			for line := range strings.Lines(string(b)) {
				if name, addr, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
					s.addr[name] = addr
				}
			}
			return
		case <-s.exited:
			s.t.Fatalf("the server ended at its start:\n%s", s.log)
		case <-deadline:
			s.t.Fatalf("the server was not ready within 30 s:\n%s", s.log)
		}
	}
}

// kill ends the server as a crash would.
func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

// stop ends the server as an administrator would.
func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(30 * time.Second):
		s.t.Errorf("the server did not stop within 30 s")
		s.kill()
	}
	if s.t.Failed() && s.log.String() != "" {
		s.t.Logf("the server's log:\n%s", s.log)
	}
}

// run carries out a command and returns its standard output; a failure ends the test.
func (s *server) run(args ...string) string {
	s.t.Helper()
	out, errs, err := s.try(context.Background(), "", args...)
	if err != nil {
		s.t.Fatalf("expost %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

// try carries out a command with this standard input.
func (s *server) try(ctx context.Context, stdin string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, program, append(args, "--config", s.config)...)
	cmd.Dir = s.dir
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// password is every test account's.
const password = "correct horse"

// addAccounts makes accounts.
func (s *server) addAccounts(addrs ...string) {
	s.t.Helper()
	for _, addr := range addrs {
		if out, errs, err := s.try(context.Background(), password+"\n", "account", "add", addr, "--password-stdin"); err != nil {
			s.t.Fatalf("adding %s: %v\n%s%s", addr, err, out, errs)
		}
	}
}

// imap returns a logged-in IMAP client.
func (s *server) imap(addr string, opts *imapclient.Options) *imapclient.Client {
	s.t.Helper()
	c, err := imapclient.DialInsecure(s.addr["imap"], opts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if err := c.Login(addr, password).Wait(); err != nil {
		s.t.Fatalf("logging in as %s: %v", addr, err)
	}
	return c
}
