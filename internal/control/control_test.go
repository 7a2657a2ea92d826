package control

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serve runs handle behind a socket until the test ends and returns its path.
func serve(t *testing.T, handle Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, handle, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return path
}

func TestRunRelaysEverything(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789abcdef", 200_000) // more than a frame
	path := serve(t, func(_ context.Context, req Request, who Caller) int {
		in, err := io.ReadAll(who.Stdin)
		if err != nil {
			t.Errorf("reading input: %v", err)
		}
		pw, err := who.Password("Password: ")
		if err != nil {
			t.Errorf("asking: %v", err)
		}
		io.WriteString(who.Stdout, strings.Join(req.Args, ",")+"|"+req.Dir+"|"+pw+"|")
		who.Stdout.Write(in)
		io.WriteString(who.Stderr, "warned")
		return 7
	})
	conn, err := Dial(path)
	if err != nil || conn == nil {
		t.Fatalf("dialling: %v, %v", conn, err)
	}
	var out, errs bytes.Buffer
	code, err := Run(context.Background(), conn, Request{Args: []string{"account", "list"}, Dir: "/somewhere"}, Caller{
		Stdin: strings.NewReader(big), Stdout: &out, Stderr: &errs,
		Password: func(prompt string) (string, error) { return "secret for " + prompt, nil },
	})
	if err != nil || code != 7 {
		t.Fatalf("code %d, err %v", code, err)
	}
	if want := "account,list|/somewhere|secret for Password: |" + big; out.String() != want {
		t.Errorf("output of %d bytes differs from the %d wanted", out.Len(), len(want))
	}
	if errs.String() != "warned" {
		t.Errorf("stderr %q", errs.String())
	}
}

func TestCancelReachesTheCommand(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	path := serve(t, func(ctx context.Context, _ Request, who Caller) int {
		close(started)
		<-ctx.Done()
		io.WriteString(who.Stdout, "tidied up")
		return 1
	})
	conn, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-started; cancel() }()
	var out bytes.Buffer
	code, err := Run(ctx, conn, Request{}, Caller{Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard})
	if err != nil || code != 1 || out.String() != "tidied up" {
		t.Fatalf("code %d, err %v, output %q", code, err, out.String())
	}
}

func TestClientThatGoesAwayCancels(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	path := serve(t, func(ctx context.Context, _ Request, _ Caller) int {
		<-ctx.Done()
		close(ended)
		return 1
	})
	conn, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "{}\n")
	conn.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the command was not cancelled")
	}
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.sock")
	if conn, err := Dial(path); conn != nil || err != nil {
		t.Fatalf("no socket: %v, %v", conn, err)
	}
	// A socket that a crash left behind has nobody listening.
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v, %v; want 0600", fi.Mode(), err)
	}
	type keeper interface{ SetUnlinkOnClose(bool) }
	l.(keeper).SetUnlinkOnClose(false)
	l.Close()
	if conn, err := Dial(path); conn != nil || err != nil {
		t.Fatalf("stale socket: %v, %v", conn, err)
	}
	l, err = Listen(path)
	if err != nil {
		t.Fatalf("listening over a stale socket: %v", err)
	}
	l.Close()
}

func TestPasswordWithoutTerminal(t *testing.T) {
	t.Parallel()
	path := serve(t, func(_ context.Context, _ Request, who Caller) int {
		who.Password("?")
		return 0
	})
	conn, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Run(context.Background(), conn, Request{}, Caller{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "--password-stdin") {
		t.Fatalf("error %v does not say what to do", err)
	}
}
