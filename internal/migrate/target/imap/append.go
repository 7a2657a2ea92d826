package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	source "expost/internal/migrate/source/imap"
)

// window is how many APPENDs are on their way at once; more might fill the
// buffers of both directions.
const window = 64

// errOther is what a message made ready for another target gives.
var errOther = errors.New("the message was made ready for another target")

// Append implements migrate.TargetAccount.
func (a *account) Append(ctx context.Context, folder string, msgs []migrate.Message) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	wire := a.wireName(folder)
	before, err := a.state(ctx, wire) // also makes the connection
	if err != nil {
		return err
	}
	p := &appending{account: a, c: a.c, wire: wire, msgs: msgs, plus: true}
	for i := range msgs {
		p.later = append(p.later, i)
	}
	for waits := 0; ; waits++ {
		err := p.run()
		if err == nil && len(p.later) > 0 && waits < maxWaits {
			err = source.Wait(ctx, p.pause)
		} else if err == nil && len(p.later) > 0 {
			err = mail.Errorf(mail.KindTemporary, "the server throttles and throttles")
		}
		if err != nil {
			if status(err) == nil || len(p.tags) > 0 { // or answers are on their way that nobody reads
				a.drop()
			}
			return fmt.Errorf("appending: %w", err)
		}
		if len(p.later) == 0 {
			break
		}
	}
	for _, i := range p.refused {
		if err := p.mend(ctx, i); err != nil {
			return err
		}
	}
	if !p.plus {
		if err := a.findUIDs(ctx, folder, before.UIDNext, msgs, !p.resent); err != nil {
			return err
		}
	}
	if len(p.copied) == 0 {
		return nil
	}
	items := make([]migrate.Item, len(p.copied))
	for n, i := range p.copied {
		items[n] = msgs[i].Item
	}
	return a.update(ctx, folder, items)
}

// appending is an Append on its way.
type appending struct {
	*account
	c       *imapclient.Client
	wire    string
	msgs    []migrate.Message
	plus    bool // the server says which UIDs it gives
	refused []int
	copied  []int         // messages of other folders, which still have the flags that they had there
	later   []int         // to be sent, at first all; then those that the server throttled
	pause   time.Duration // how long it asked to wait
	resent  bool          // the order of arrival is not that of msgs
	tags    []string
	waiting []int // indexes of messages whose answers have not been read
}

// run sends all messages, several of them at once where the server lets us.
func (p *appending) run() error {
	if _, err := p.c.Has("APPENDLIMIT"); err != nil { // asks where the login told nothing
		return err
	}
	limit, _ := strconv.ParseInt(p.c.Value("APPENDLIMIT"), 10, 64)
	now := p.later
	p.later, p.pause = nil, 0
	for n := 0; n < len(now); n++ {
		i := now[n]
		if s, ok := p.msgs[i].Body.(stored); ok {
			end := n + 1
			for end < len(now) && end-n < maxSet && s.precedes(p.msgs[now[end]].Body, p.msgs[now[end-1]].Body) {
				end++
			}
			if err := p.copy(s, now[n:end]); err != nil {
				return err
			}
			n = end - 1
			continue
		}
		if body, ok := p.msgs[i].Body.(*migrate.Bytes); !ok {
			return errOther
		} else if limit > 0 && body.Size > limit {
			p.msgs[i].Err = mail.Errorf(mail.KindTooBig, "the server takes messages of up to %d bytes, this one has %d", limit, body.Size)
			continue
		}
		if err := p.send(i); err != nil {
			return err
		}
		if len(p.tags) >= window {
			if err := p.answer(); err != nil {
				return err
			}
		}
	}
	for len(p.tags) > 0 {
		if err := p.answer(); err != nil {
			return err
		}
	}
	return nil
}

// send sends one message.
func (p *appending) send(i int) error {
	free, err := p.c.Has("LITERAL+")
	if err != nil {
		return err
	}
	for !free && len(p.tags) > 0 { // the leave for the next comes behind the answer to the last
		if err := p.answer(); err != nil {
			return err
		}
	}
	m := &p.msgs[i]
	body := m.Body.(*migrate.Bytes)
	if p.cyrus {
		if munged, err := eightBitHeader(body); err != nil {
			return err
		} else if munged { // Cyrus would take it, and write an X for each of these bytes
			p.refused = append(p.refused, i)
			p.msgs[i].Err = mail.Errorf(mail.KindInvalid, "the server changes 8-bit bytes in headers")
			return nil
		}
	}
	r, err := body.Open()
	if err != nil {
		return err
	}
	tag, err := p.c.Append(imapclient.Append{
		Mailbox: p.wire, Flags: m.Flags, Keywords: m.Keywords, Date: m.Date, Size: body.Size, Body: r,
	})
	if status(err) != nil { // refused before it was sent
		return p.refuse(i, err)
	}
	if err != nil {
		return err
	}
	p.tags, p.waiting = append(p.tags, tag), append(p.waiting, i)
	return nil
}

// answer reads the oldest answer.
func (p *appending) answer() error {
	tag, i := p.tags[0], p.waiting[0]
	p.tags, p.waiting = p.tags[1:], p.waiting[1:]
	if err := p.c.Wait(tag, nil); err != nil {
		return p.refuse(i, err)
	}
	f := strings.Fields(p.c.Code())
	if len(f) != 3 || !strings.EqualFold(f[0], "APPENDUID") {
		p.plus = false
		return nil
	}
	uid, err := strconv.ParseUint(f[2], 10, 32)
	if err != nil {
		p.plus = false
	}
	p.msgs[i].UID = mail.UID(uid)
	return nil
}

// refuse deals with a NO or BAD: to this message, or to all of them.
func (p *appending) refuse(i int, err error) error {
	s := status(err)
	if s == nil {
		return err
	}
	if d, ok := source.Backoff(err); ok {
		p.later, p.pause, p.resent = append(p.later, i), max(p.pause, d), true
		return nil
	}
	code, _, _ := strings.Cut(strings.ToUpper(s.Code), " ")
	if (code == "" || code == "ALERT") && strings.Contains(strings.ToLower(s.Text), "quota") { // Cyrus, Courier
		code = "OVERQUOTA"
	}
	switch code {
	case "OVERQUOTA":
		return mail.WrapError(mail.KindQuota, err, "the target's mailbox is full")
	case "TRYCREATE", "NONEXISTENT":
		return mail.WrapError(mail.KindConflict, err, "the target's mailbox is gone")
	case "UNAVAILABLE", "SERVERBUG", "INUSE", "THROTTLED", "CONTACTADMIN", "NOPERM":
		return mail.WrapError(mail.KindTemporary, err, "the target does not take mail now")
	case "TOOBIG", "LIMIT":
		p.msgs[i].Err = mail.WrapError(mail.KindTooBig, err, "the message is too large")
		return nil
	}
	p.msgs[i].Err = mail.WrapError(mail.KindInvalid, err, "the message is refused")
	p.refused = append(p.refused, i)
	return nil
}

// mend sends a copy that every server takes in the place of a message that was
// refused, where the message is one that servers may refuse.
func (p *appending) mend(ctx context.Context, i int) error {
	body := p.msgs[i].Body.(*migrate.Bytes)
	r, err := body.Open()
	if err != nil {
		return err
	}
	mended, why, err := Mend(ctx, r, p.target.cfg.Dir)
	if err != nil || mended == nil {
		return err
	}
	defer mended.Close()
	one := []migrate.Message{p.msgs[i]}
	one[0].Body, one[0].Err = mended, nil
	again := &appending{account: p.account, c: p.c, wire: p.wire, msgs: one, plus: true, later: []int{0}}
	if err := again.run(); err != nil || one[0].Err != nil || len(again.later) > 0 {
		return err
	}
	p.resent = true
	p.target.cfg.Log.Warn("a message was mended: the original is attached to its copy", "target", p.user.Target, "because", why)
	p.plus = p.plus && again.plus
	p.msgs[i].UID, p.msgs[i].Err = one[0].UID, nil
	return nil
}

// findUIDs finds the UIDs of messages just appended, at a server without
// UIDPLUS: they stand behind next in the order of sending; where something else
// came in meanwhile, their headers tell.
func (a *account) findUIDs(ctx context.Context, folder string, next mail.UID, msgs []migrate.Message, inOrder bool) error {
	var fresh mail.UIDSet
	_, err := a.reader.Scan(ctx, a.readFolder(folder), migrate.State{}, func(items []migrate.Item) error {
		for _, it := range items {
			if it.UID >= next {
				fresh.Add(it.UID)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for what was appended: %w", err)
	}
	var waiting []*migrate.Message
	for i := range msgs {
		if msgs[i].Err == nil {
			waiting = append(waiting, &msgs[i])
		}
	}
	if inOrder && fresh.Len() == len(waiting) {
		i := 0
		for uid := range fresh.All() {
			waiting[i].UID = uid
			i++
		}
		return nil
	}
	byHeader := map[migrate.Identity][]mail.UID{}
	err = a.read(ctx, folder, fresh, func(uid mail.UID, r io.Reader) error {
		b, err := migrate.SpoolBytes(ctx, r, a.target.cfg.Dir, 0)
		if err != nil {
			return err
		}
		byHeader[b.Identity] = append(byHeader[b.Identity], uid)
		return b.Close()
	})
	if err != nil {
		return fmt.Errorf("looking for what was appended: %w", err)
	}
	for _, m := range waiting {
		id, err := a.identity(ctx, m.Body)
		if err != nil {
			return err
		}
		found := byHeader[id]
		if _, ok := m.Body.(stored); ok && len(found) == 0 {
			return mail.Errorf(mail.KindTemporary, "a message that was copied is not in the mailbox")
		}
		if len(found) == 0 {
			return mail.Errorf(mail.KindConflict, "a message that was appended is not in the mailbox")
		}
		m.UID, byHeader[id] = found[0], found[1:]
	}
	return nil
}

// Since implements migrate.Finder.
func (a *account) Since(ctx context.Context, folder string, from mail.UID, fn func(mail.UID, migrate.Hash, migrate.Identity) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	wire := a.wireName(folder)
	var found, uids mail.UIDSet
	err := a.do(ctx, func(c *imapclient.Client) error {
		if err := a.open(c, wire); err != nil {
			return err
		}
		return c.Command("UID SEARCH", func(r *imapclient.Response) error {
			if r.Name() == "SEARCH" {
				return r.Search(&found)
			}
			return nil
		}, imapclient.Raw(fmt.Sprintf("UID %d:*", max(from, 1))))
	})
	for uid := range found.All() {
		if uid >= from { // "*" is the last one, whatever its UID
			uids.Add(uid)
		}
	}
	if err != nil || len(uids) == 0 {
		return err
	}
	return a.read(ctx, folder, uids, func(uid mail.UID, r io.Reader) error {
		b, err := migrate.SpoolBytes(ctx, r, a.target.cfg.Dir, 0)
		if err != nil {
			return err
		}
		return errors.Join(fn(uid, b.Hash(), b.Identity), b.Close())
	})
}
