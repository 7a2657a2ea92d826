package imapserver

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"expost/internal/mail"
	"expost/internal/store"
)

// idleCommand is IDLE (RFC 9051 §6.3.13, RFC 2177).
func idleCommand() command {
	return command{
		name: "IDLE", in: loggedIn, caps: caps("IDLE"),
		run: func(_ context.Context, c *conn) (reply, error) {
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			return reply{then: c.startIdle}, nil
		},
	}
}

// startIdle invites DONE; the loop tells of changes while it waits for that.
func (c *conn) startIdle(ctx context.Context) error {
	c.out.Line("+ idling")
	if c.sel != nil {
		if err := c.catchUp(ctx, true); err != nil {
			return err
		}
	}
	c.idle = true
	return c.out.Flush()
}

// endIdle reads the line that ends IDLE and answers the command.
func (c *conn) endIdle() error {
	c.idle = false
	if err := c.dec.Next(c.in); err != nil {
		return err
	}
	if c.dec.Err() == nil && c.dec.AtEnd() { // an empty line, as between commands
		c.idle = true
		return nil
	}
	rep := ok("", "done idling")
	if line := c.dec.Rest(); !strings.EqualFold(line, "DONE") {
		rep = reply{status: "BAD", text: "expected DONE"}
	}
	if err := c.dec.Finish(); err != nil {
		return err
	}
	return c.end(rep)
}

// telling is what goes on while the loop waits for the client, on a small
// stack: another goroutine has the view and the output.
type telling struct {
	done chan struct{} // closed to end it
	told sync.WaitGroup
	gone error // why it ended by itself
}

// startTelling begins to tell of changes as they happen.
func (c *conn) startTelling(ctx context.Context) {
	if c.sel == nil && (c.notify == nil || c.notify.watcher == nil) {
		return
	}
	t := &telling{done: make(chan struct{})}
	c.telling = t
	t.told.Go(func() { t.gone = c.tellUntil(ctx, t.done) })
}

// endTelling takes the view and the output back.
func (c *conn) endTelling() error {
	t := c.telling
	if t == nil {
		return nil
	}
	c.telling = nil
	close(t.done)
	t.told.Wait()
	return t.gone
}

// tellUntil tells of changes as they happen, until done is closed. An error
// means the mailbox or the client is gone.
func (c *conn) tellUntil(ctx context.Context, done <-chan struct{}) error {
	expunges := c.idle || c.notify == nil || c.notify.tellsExpunges()
	for {
		var changed <-chan struct{}
		if c.sel != nil && (c.notify == nil || c.notify.selected != nil) {
			changed = c.sel.view.Changed()
		}
		var watched <-chan store.Changed
		if c.notify != nil && c.notify.watcher != nil {
			watched = c.notify.watcher.C
		}
		var err error
		select {
		case <-done:
			return nil
		case <-changed:
			c.out.take()
			err = c.catchUp(ctx, expunges)
		case ch := <-watched:
			c.out.take()
			err = c.tellWatched(ctx, ch)
		}
		if err == nil {
			err = c.out.Flush()
		}
		if err != nil {
			if !errors.Is(err, errClose) && c.out.err == nil && ctx.Err() == nil {
				if mail.KindOf(err) != mail.KindNotExist { // else the account was removed
					c.log.Error("telling a client of changes", slog.Any("error", err))
				}
				c.out.Line("* BYE [UNAVAILABLE] changes cannot be told now, connect again")
				_ = c.out.Flush()
			}
			_ = c.raw.Close() // wakes the one that waits for the client
			return errClose
		}
		c.out.release()
	}
}
