package imap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
)

// Move implements migrate.Organizer by MOVE (RFC 6851), or by COPY and EXPUNGE.
// A COPY is not tried again where its answer was lost: it may have been made.
func (a *account) Move(ctx context.Context, from string, uids mail.UIDSet, to string) (map[mail.UID]mail.UID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	got := map[mail.UID]mail.UID{}
	source, target := a.wireName(from), a.wireName(to)
	err := a.do(ctx, func(c *imapclient.Client) error {
		if err := a.open(c, source); err != nil {
			return err
		}
		moves, err := c.Has("MOVE")
		if err != nil {
			return err
		}
		return sets(uids, func(set mail.UIDSet) error {
			if moves {
				return c.Command("UID MOVE", copied(got), imapclient.Raw(set.String()), imapclient.Text(target))
			}
			if err := c.Command("UID COPY", nil, imapclient.Raw(set.String()), imapclient.Text(target)); err != nil {
				return fmt.Errorf("copying: %w", final(err))
			}
			if name, value, _ := strings.Cut(c.Code(), " "); strings.EqualFold(name, "COPYUID") {
				pair(got, value)
			}
			return expunge(c, set)
		})
	})
	return got, err
}

// errUnsure is an error of a command that may have been carried out, and must
// not be carried out twice.
var errUnsure = errors.New("the connection was lost: the next try will see whether it was done")

// final makes an error of a connection one behind which nothing is tried again.
func final(err error) error {
	if status(err) != nil {
		return err
	}
	return errors.Join(errUnsure, err)
}

// copied reads the UIDs of a MOVE, whose response is untagged.
func copied(got map[mail.UID]mail.UID) func(*imapclient.Response) error {
	return func(r *imapclient.Response) error {
		if name, value := r.Code(); strings.EqualFold(name, "COPYUID") {
			pair(got, value)
		}
		return nil
	}
}

// pair adds the UIDs of a COPYUID (RFC 4315 §3) to got. What cannot be read
// says nothing.
func pair(got map[mail.UID]mail.UID, value string) {
	f := strings.Fields(value)
	if len(f) != 3 {
		return
	}
	from, err1 := imapclient.UIDs(f[1])
	to, err2 := imapclient.UIDs(f[2])
	if err1 != nil || err2 != nil || len(from) != len(to) {
		return
	}
	for i, uid := range from {
		got[uid] = to[i]
	}
}

// Rename implements migrate.Organizer.
func (a *account) Rename(ctx context.Context, from, to string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := strings.LastIndex(to, mail.Delimiter); i > 0 {
		if err := a.create(ctx, migrate.Folder{Name: to[:i]}); err != nil {
			return err
		}
	}
	before, err := a.folders(ctx)
	if err != nil {
		return err
	}
	source, target, wire := a.wireName(from), a.wireName(to), maps.Clone(a.wire)
	if _, taken := a.wire[to]; taken {
		return mail.Errorf(mail.KindExist, "a mailbox %q is there", to)
	}
	err = a.do(ctx, func(c *imapclient.Client) error {
		if err := a.leave(c); err != nil {
			return err
		}
		return c.Command("RENAME", nil, imapclient.Text(source), imapclient.Text(target))
	})
	if err != nil {
		return err
	}
	if _, err := a.folders(ctx); err != nil { // those below have other names too
		return err
	}
	subscribed := func(command, name string) error {
		return a.do(ctx, func(c *imapclient.Client) error { return c.Command(command, nil, imapclient.Text(name)) })
	}
	for _, f := range before { // to some servers a subscription is one of the name
		rest, ok := strings.CutPrefix(f.Name+mail.Delimiter, from+mail.Delimiter)
		if !ok || !f.Subscribed {
			continue
		}
		if err := subscribed("SUBSCRIBE", a.wireName(strings.TrimSuffix(to+mail.Delimiter+rest, mail.Delimiter))); err != nil {
			return err
		}
		if err := subscribed("UNSUBSCRIBE", wire[f.Name]); err != nil && status(err) == nil {
			return err
		}
	}
	return nil
}

// leave leaves the mailbox that is open: some servers do not let it be renamed
// or removed, and Courier's STATUS of it is that of when it was opened. A CLOSE
// would expunge it, unless it was opened for reading.
func (a *account) leave(c *imapclient.Client) error {
	if a.selected == "" {
		return nil
	}
	a.selected = ""
	if err := c.Command("EXAMINE", nil, imapclient.Text(mail.Inbox)); err != nil {
		return err
	}
	return c.Command("CLOSE", nil)
}

// Discard implements migrate.Organizer.
func (a *account) Discard(ctx context.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.folders(ctx); err != nil {
		return err
	}
	wire, ok := a.wire[name]
	if !ok {
		return nil
	}
	for other := range a.wire {
		if strings.HasPrefix(other, name+mail.Delimiter) {
			return mail.Errorf(mail.KindConflict, "%q has folders below it", name)
		}
	}
	if err := a.do(ctx, a.leave); err != nil {
		return err
	}
	s, err := a.state(ctx, wire)
	if err != nil {
		return err
	}
	if s.Messages != 0 {
		return mail.Errorf(mail.KindConflict, "%q has messages", name)
	}
	return a.do(ctx, func(c *imapclient.Client) error {
		if err := c.Command("UNSUBSCRIBE", nil, imapclient.Text(wire)); err != nil && status(err) == nil {
			return err
		}
		if err := c.Command("DELETE", nil, imapclient.Text(wire)); err != nil {
			return err
		}
		delete(a.wire, name)
		return nil
	})
}
