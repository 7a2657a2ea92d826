package imapserver

import (
	"context"
	"strings"
	"sync"
)

// idleCommand is IDLE (RFC 9051 §6.3.13, RFC 2177).
func idleCommand() command {
	return command{
		name: "IDLE", in: loggedIn, caps: caps("IDLE"),
		run: func(_ context.Context, c *conn) (reply, error) {
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			c.idle = &idling{done: make(chan struct{})}
			return reply{then: c.startIdle}, nil
		},
	}
}

// idling is an IDLE under way. The loop of run waits for DONE, on a small
// stack; meanwhile another goroutine has the view and the output.
type idling struct {
	done chan struct{} // closed to end the telling
	told sync.WaitGroup
	gone error // why the telling ended by itself
}

// startIdle invites DONE and begins to tell of changes as they happen.
func (c *conn) startIdle(context.Context) error {
	c.out.Line("+ idling")
	if c.sel != nil {
		if err := c.sync(true); err != nil {
			return err
		}
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	c.out.release()
	if c.sel != nil {
		c.idle.told.Go(func() { c.idle.gone = c.tellUntil(c.idle.done) })
	}
	return nil
}

// tellUntil tells of changes as they happen, until done is closed. An error
// means the mailbox or the client is gone.
func (c *conn) tellUntil(done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return nil
		case <-c.sel.view.Changed():
		}
		c.out.take()
		err := c.sync(true)
		if err == nil {
			err = c.out.Flush()
		}
		if err != nil {
			_ = c.raw.Close() // wakes the one that waits for DONE
			return err
		}
		c.out.release()
	}
}

// endTelling takes the view and the output back.
func (c *conn) endTelling() error {
	close(c.idle.done)
	c.idle.told.Wait()
	c.out.take()
	return c.idle.gone
}

// endIdle reads the line that ends IDLE and answers the command.
func (c *conn) endIdle() error {
	c.idle = nil
	if err := c.dec.Next(c.in); err != nil {
		return err
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
