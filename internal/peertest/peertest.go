// Package peertest runs the programs of other projects that tests talk to: on
// loopback, at free ports, from a configuration of their own, for the length of
// a test.
package peertest

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// limit is how long a program may take to listen, or to end.
const limit = 30 * time.Second

// Lookup returns the path of a program. Where it is not installed the test is
// skipped, or with CI=true fails.
func Lookup(t testing.TB, program string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/usr/bin/"} {
		if path, err := exec.LookPath(dir + program); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
	return ""
}

// FreeAddress returns an address of loopback at which nobody listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// FreePort returns a TCP port of loopback at which nobody listens.
func FreePort(t testing.TB) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(FreeAddress(t))
	return port
}

// Process is a running program.
type Process struct {
	t     testing.TB
	cmd   *exec.Cmd
	said  bytes.Buffer
	ended chan struct{}
}

// Start runs a program and waits until it listens at addr, of network "tcp" or
// "unix". The end of the test ends it, with what it has started.
func Start(t testing.TB, network, addr, program string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(Lookup(t, program), args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.ended) }()
	t.Cleanup(p.Stop)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if nc, err := net.Dial(network, addr); err == nil {
			nc.Close()
			return p
		}
		select {
		case <-p.ended:
			t.Fatalf("%s ended at its start:\n%s", program, p.said.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen at %s", program, addr)
	return nil
}

// Stop ends the program in good order, and by force where it takes too long.
func (p *Process) Stop() {
	group := -p.cmd.Process.Pid
	if err := syscall.Kill(group, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.t.Errorf("ending %s: %v", p.cmd.Path, err)
	}
	select {
	case <-p.ended:
	case <-time.After(limit):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-p.ended
	}
}

// StartSMTPSink starts Postfix's smtp-sink, which throws away what it gets, and
// returns its address.
func StartSMTPSink(t testing.TB, args ...string) string {
	t.Helper()
	addr := FreeAddress(t)
	if os.Geteuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	Start(t, "tcp", addr, "smtp-sink", append(args, addr, "1000")...)
	return addr
}
