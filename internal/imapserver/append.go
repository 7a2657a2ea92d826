package imapserver

import (
	"context"
	"errors"
	"strconv"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// appendCommand is APPEND (RFC 9051 §6.3.12) with MULTIAPPEND (RFC 3502)
// and CATENATE (RFC 4469).
func appendCommand() command {
	return command{name: "APPEND", in: loggedIn, caps: caps("UIDPLUS", "MULTIAPPEND", "CATENATE"), run: appendMessages}
}

// appending is an APPEND under way.
type appending struct {
	c    *conn
	to   place
	msgs []store.BulkMessage
	old  *mail.Message // of the selected mailbox, which the message replaces; nil: none
}

// appendMessages reads messages one after another and puts them into the
// mailbox, all or none.
func appendMessages(ctx context.Context, c *conn) (reply, error) {
	c.dec.SP()
	name := c.dec.Mailbox(c.utf8())
	c.dec.SP()
	if err := c.dec.Err(); err != nil {
		return reply{}, err
	}
	to, err := c.lookUp(ctx, name, mail.RightInsert)
	if err != nil {
		return reply{}, orTryCreate(err)
	}
	a := &appending{c: c, to: to}
	defer a.drop()
	for {
		if int64(len(a.msgs)) >= c.srv.cfg.Limits.Messages {
			return reply{}, c.tooMany()
		}
		if err := a.message(ctx); err != nil {
			return reply{}, err
		}
		if !c.dec.TrySP() || c.dec.AtEnd() {
			break
		}
	}
	if c.dec.End(); c.dec.Err() != nil {
		return reply{}, c.dec.Err()
	}
	return a.commit(ctx)
}

// drop lets go of what no mailbox took over.
func (a *appending) drop() {
	for _, m := range a.msgs {
		if err := m.Incoming.Close(); err != nil {
			a.c.log.Warn("dropping a received message", "error", err)
		}
	}
}

// message reads one message with its flags and its date.
func (a *appending) message(ctx context.Context) error {
	d := a.c.dec
	var m store.BulkMessage
	if d.Peek() == '(' {
		flags := d.FlagList()
		m.Flags, m.Keywords = flags.Flags, mail.NewKeywords(flags.Keywords...)
		d.SP()
	}
	if d.Peek() == '"' {
		m.InternalDate = d.DateTime()
		d.SP()
	}
	if d.TryKeyword("CATENATE") {
		return a.catenated(ctx, m)
	}
	wrapped := a.c.has(utf8Names) && d.TryKeyword("UTF8") // RFC 6855 §4
	if wrapped {
		d.SP()
		d.Expect('(')
	}
	lit := d.LiteralHeader()
	if err := d.Err(); err != nil {
		return err
	}
	if err := a.refuse(ctx, lit); err != nil {
		return err
	}
	r, err := d.OpenLiteral(lit)
	if err != nil {
		return err
	}
	if m.Incoming, err = a.c.srv.cfg.Store.Spool(ctx, nil, r, a.c.limit); err != nil {
		return err
	}
	a.msgs = append(a.msgs, m)
	if err := d.CloseLiteral(); err != nil {
		return err
	}
	if wrapped {
		d.Expect(')')
	}
	return d.Err()
}

// catenated reads a message that is put together (RFC 4469).
func (a *appending) catenated(ctx context.Context, m store.BulkMessage) error {
	d := a.c.dec
	d.SP()
	d.Expect('(')
	k := &catenation{ctx: ctx, c: a.c}
	incoming, err := a.c.srv.cfg.Store.Spool(ctx, nil, k, a.c.limit)
	if closing := k.close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	m.Incoming = incoming
	a.msgs = append(a.msgs, m)
	if incoming.Size() == 0 {
		return no("CANNOT", "a message cannot be empty")
	}
	return a.overQuota(ctx, 0, 0)
}

// refuse says no before the bytes come, where that is known already.
func (a *appending) refuse(ctx context.Context, lit imapwire.Literal) error {
	if lit.Size == 0 {
		return no("CANNOT", "a message cannot be empty")
	}
	if lit.Size > a.c.limit {
		return a.c.tooBig()
	}
	return a.overQuota(ctx, lit.Size, 1)
}

// tooBig refuses a message larger than the limit.
func (c *conn) tooBig() error {
	return no("TOOBIG", "a message may be at most "+strconv.FormatInt(c.limit, 10)+" bytes")
}

// overQuota refuses what, with the messages read before, does not fit.
func (a *appending) overQuota(ctx context.Context, total, count int64) error {
	for _, m := range a.msgs {
		total += m.Incoming.Size()
		count++
	}
	quota, err := a.to.account.Quota(ctx)
	if err != nil || quota == (mail.Quota{}) {
		return err
	}
	usage, err := a.to.account.Usage(ctx)
	if err != nil {
		return err
	}
	if a.old != nil { // RFC 8508 §3.4
		total, count = total-a.old.Size, count-1
	}
	if quota.Bytes > 0 && usage.Bytes+total > quota.Bytes || quota.Messages > 0 && usage.Messages+count > quota.Messages {
		return no("OVERQUOTA", "the mailbox is full")
	}
	return nil
}

// commit puts what was read into the mailbox and answers with APPENDUID.
func (a *appending) commit(ctx context.Context) (reply, error) {
	strip := lacking(a.to.rights)
	for i := range a.msgs {
		m := &a.msgs[i]
		if m.Flags &^= strip.Flags; strip.Keywords {
			m.Keywords = mail.Keywords{}
		}
	}
	var done []store.Appended
	err := a.c.during(func() (err error) {
		if a.old != nil {
			done, err = a.to.account.Replace(ctx, a.to.box.ID, a.msgs[0], a.c.sel.id, a.old.UID)
		} else {
			done, err = a.to.account.Append(ctx, a.to.box.ID, a.msgs)
		}
		return err
	})
	if errors.Is(err, store.ErrReplaced) {
		return reply{}, allGone()
	}
	if err != nil {
		return reply{}, orTryCreate(err)
	}
	var uids []mail.UID
	for _, d := range done {
		uids = append(uids, d.UID)
	}
	a.c.putIn(&a.to, uids...)
	code := strconv.AppendUint([]byte("APPENDUID "), uint64(done[0].UIDValidity), 10)
	code = imapwire.AppendNumList(append(code, ' '), uids)
	return ok(string(code), "appended"), nil
}
