package imap

import (
	"context"
	"fmt"
	"io"
	"strings"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	source "expost/internal/migrate/source/imap"
)

// stored is a message that the account has in a folder: COPY takes it to another.
type stored struct {
	folder string
	uid    mail.UID
	hash   migrate.Hash
}

// Hash implements migrate.Spooled.
func (s stored) Hash() migrate.Hash { return s.hash }

// Close implements migrate.Spooled.
func (s stored) Close() error { return nil }

// precedes tells whether next may be copied with the same command as s and
// before: from the same folder, and behind it, because COPY goes by UID.
func (s stored) precedes(next, before migrate.Spooled) bool {
	n, ok := next.(stored)
	b, was := before.(stored)
	return ok && was && n.folder == s.folder && n.uid > b.uid
}

// Stored implements migrate.TargetAccount.
func (a *account) Stored(ctx context.Context, folder string, hashes map[mail.UID]migrate.Hash) (map[mail.UID]migrate.Spooled, error) {
	var uids mail.UIDSet
	for uid := range hashes {
		uids.Add(uid)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var there mail.UIDSet
	err := a.do(ctx, func(c *imapclient.Client) error {
		if err := a.open(c, a.wireName(folder)); err != nil {
			return err
		}
		return sets(uids, func(set mail.UIDSet) error {
			return c.Command("UID SEARCH", func(r *imapclient.Response) error {
				if r.Name() == "SEARCH" {
					return r.Search(&there)
				}
				return nil
			}, imapclient.Raw("UID "+set.String()))
		})
	})
	if err != nil {
		return nil, fmt.Errorf("looking for messages of the mailbox: %w", err)
	}
	out := make(map[mail.UID]migrate.Spooled, len(hashes))
	for uid, hash := range hashes {
		if there.Contains(uid) {
			out[uid] = stored{folder, uid, hash}
		}
	}
	return out, nil
}

// copy copies messages of one folder, in order of UID, and gives them their flags.
func (p *appending) copy(s stored, which []int) error {
	for len(p.tags) > 0 { // the order of arrival stays that of msgs
		if err := p.answer(); err != nil {
			return err
		}
	}
	if err := p.open(p.c, p.wireName(s.folder)); err != nil {
		return err
	}
	var uids mail.UIDSet
	for _, i := range which {
		uids.Add(p.msgs[i].Body.(stored).uid)
	}
	err := p.c.Command("UID COPY", nil, imapclient.Raw(uids.String()), imapclient.Text(p.wire))
	if d, ok := source.Backoff(err); ok && status(err) != nil {
		p.later, p.pause, p.resent = append(p.later, which...), max(p.pause, d), true
		return nil
	}
	if status(err) != nil {
		return mail.WrapError(mail.KindTemporary, err, "copying messages of %q", s.folder)
	}
	if err != nil {
		return err
	}
	code := strings.Fields(p.c.Code())
	if len(code) != 4 || !strings.EqualFold(code[0], "COPYUID") {
		p.plus = false
		p.copied = append(p.copied, which...)
		return nil
	}
	to, err := imapclient.UIDs(code[3])
	if err != nil || len(to) != len(which) {
		return mail.Errorf(mail.KindTemporary, "of %d messages of %q the server copied %d", len(which), s.folder, len(to))
	}
	for n, i := range which {
		p.msgs[i].UID = to[n]
	}
	p.copied = append(p.copied, which...)
	return nil
}

// identity returns the identity of a message made ready.
func (a *account) identity(ctx context.Context, body migrate.Spooled) (id migrate.Identity, err error) {
	s, ok := body.(stored)
	if !ok {
		return body.(*migrate.Bytes).Identity, nil
	}
	var uids mail.UIDSet
	uids.Add(s.uid)
	err = a.read(ctx, s.folder, uids, func(_ mail.UID, r io.Reader) error {
		b, err := migrate.SpoolBytes(ctx, r, a.target.cfg.Dir, 0)
		if err != nil {
			return err
		}
		id = b.Identity
		return b.Close()
	})
	return id, err
}
