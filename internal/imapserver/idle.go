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
			c.out.Line("+ idling")
			if c.sel == nil {
				return c.awaitDone()
			}
			// While this goroutine waits for DONE, a second one has the view and the output.
			if err := c.sync(true); err != nil {
				return reply{}, err
			}
			if err := c.out.Flush(); err != nil {
				return reply{}, err
			}
			c.out.release()
			var told sync.WaitGroup
			var gone error
			done := make(chan struct{})
			told.Go(func() { gone = c.tellUntil(done) })
			err := c.awaitLine()
			close(done)
			told.Wait()
			c.out.take()
			if gone != nil || err != nil {
				return reply{}, firstOf(gone, err)
			}
			return c.readDone()
		},
	}
}

// firstOf returns the first error that is one.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
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

// awaitDone waits for DONE while no mailbox is selected.
func (c *conn) awaitDone() (reply, error) {
	if err := c.out.Flush(); err != nil {
		return reply{}, err
	}
	c.out.release()
	err := c.awaitLine()
	c.out.take()
	if err != nil {
		return reply{}, err
	}
	return c.readDone()
}

// awaitLine waits for bytes without holding buffers. It leaves the output alone.
func (c *conn) awaitLine() error {
	if c.in.Buffered() > 0 {
		return nil
	}
	c.releaseInput()
	return c.awaitInput()
}

// readDone reads the line that ends IDLE.
func (c *conn) readDone() (reply, error) {
	if err := c.dec.Next(c.in); err != nil {
		return reply{}, err
	}
	if line := c.dec.Rest(); !strings.EqualFold(line, "DONE") {
		return reply{}, bad("expected DONE")
	}
	return ok("", "done idling"), nil
}
