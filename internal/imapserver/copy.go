package imapserver

import (
	"context"
	"strconv"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// copyCommand is COPY (RFC 9051 §6.4.7) with COPYUID (RFC 4315).
func copyCommand() command {
	return command{name: "COPY", in: selected, takesNumbers: true, run: func(ctx context.Context, c *conn) (reply, error) { return c.copy(ctx, false) }}
}

// uidCopyCommand is UID COPY.
func uidCopyCommand() command {
	return command{name: "UID COPY", in: selected, run: func(ctx context.Context, c *conn) (reply, error) { return c.copy(ctx, true) }}
}

func (c *conn) copy(ctx context.Context, uids bool) (reply, error) {
	t, err := c.readTransfer(ctx, uids)
	if err != nil || t == nil {
		return ok("", "nothing to copy"), err
	}
	if count(t.spans) > c.srv.cfg.Limits.Messages {
		return reply{}, c.tooMany()
	}
	var done store.Copied
	err = c.during(func() (err error) {
		done, err = c.copyTo(ctx, uidsOf(c.sel.view.Snapshot(), t.spans), &t.to)
		return err
	})
	if err != nil {
		return reply{}, orTryCreate(err)
	}
	if len(done.Source) == 0 {
		return reply{}, allGone()
	}
	c.putIn(&t.to, done.Target...)
	return ok(copyUID(done), "copied"), nil
}

// copyTo copies messages of the selected mailbox, with the flags that the client
// may set there.
func (c *conn) copyTo(ctx context.Context, uids mail.UIDSet, to *place) (store.Copied, error) {
	strip := lacking(to.rights)
	if to.account.ID() == c.sel.account.ID() {
		return c.sel.account.Copy(ctx, c.sel.id, uids, to.box.ID, strip)
	}
	return c.sel.account.CopyTo(ctx, c.sel.view, uids, to.account, to.box.ID, strip)
}

// copyUID returns the response code of what was copied.
func copyUID(done store.Copied) string {
	code := strconv.AppendUint([]byte("COPYUID "), uint64(done.UIDValidity), 10)
	code = imapwire.AppendNumList(append(code, ' '), done.Source)
	return string(imapwire.AppendNumList(append(code, ' '), done.Target))
}
