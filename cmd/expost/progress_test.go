package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/config"
	"expost/internal/mail"
	"expost/internal/migrate"
)

// awaySource is a source that is away.
type awaySource struct{}

// Open fails as a server that is away does.
func (awaySource) Open(context.Context, migrate.User) (migrate.SourceAccount, error) {
	return nil, mail.Errorf(mail.KindUnavailable, "the source is away")
}

// stopping is a terminal whose user stops the run at the first line.
type stopping struct {
	bytes.Buffer
	stop func()
}

// Write takes a line.
func (s *stopping) Write(b []byte) (int, error) {
	s.stop()
	return s.Buffer.Write(b)
}

// Who waits for a run inside a running server sees why, and so does its log.
func TestRunSaysWhyItWaits(t *testing.T) {
	t.Parallel()
	var served bytes.Buffer
	dir := t.TempDir()
	c, err := config.Load("")
	if err != nil {
		t.Fatal(err)
	}
	c.Data = filepath.Join(dir, "data")
	if err := os.Mkdir(c.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	n, err := openNode(t.Context(), c, newLogger(&served, config.Log{Level: "warn"}))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	shown := &stopping{stop: stop}
	add := &app{live: n, stdout: io.Discard, stderr: io.Discard, dir: dir}
	if status := add.run(ctx, []string{"account", "add", "ajay@example.org", "--no-password"}); status != exitDone {
		t.Fatal("the account was not made")
	}
	a := &app{live: n, stderr: shown, dir: dir}
	err = a.runEngine(ctx, awaySource{}, storeTarget(n), filepath.Join(dir, "l.ledger"), migrate.Options{}, func(e *migrate.Engine) error {
		_, err := e.Run(ctx, []migrate.User{{Source: "ajay@example.org", Target: "ajay@example.org"}})
		return err
	})
	if err == nil {
		t.Error("a run that was stopped has ended well")
	}
	for name, out := range map[string]string{"the server's log": served.String(), "the terminal": shown.String()} {
		if !strings.Contains(out, "trying the account again") || !strings.Contains(out, "the source is away") {
			t.Errorf("%s does not say why the run waits: %q", name, out)
		}
	}
}
