package imapserver

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"expost/internal/directory"
	"expost/internal/gate"
	"expost/internal/login"
	"expost/internal/mail"
	"expost/internal/store"
)

// loginCommand is LOGIN (RFC 9051 §6.2.3).
func loginCommand() command {
	return command{
		name: "LOGIN", in: notAuthenticated,
		caps: []capability{{name: "LOGINDISABLED", in: notAuthenticated, when: func(c *conn) bool { return !c.plaintextOK() }}},
		run: func(ctx context.Context, c *conn) (reply, error) {
			c.dec.SP()
			name := c.dec.AString()
			c.dec.SP()
			password := c.dec.AString()
			if c.dec.End(); c.dec.Err() != nil {
				return reply{}, c.dec.Err()
			}
			return c.login(ctx, name, password)
		},
	}
}

// login checks a name and a password and opens the account.
func (c *conn) login(ctx context.Context, name, password string) (reply, error) {
	if !c.plaintextOK() {
		return reply{}, errPrivacy()
	}
	e, err := c.srv.cfg.Login.Password(ctx, c.client(), name, password)
	if err != nil {
		return reply{}, c.loginFailed(err)
	}
	return c.enter(ctx, e)
}

// enter opens the account of somebody who was let in.
func (c *conn) enter(ctx context.Context, e *login.Entry) (reply, error) {
	if e.Far != nil {
		c.stay(e)
		c.trust()
		rep := ok("CAPABILITY "+e.Far.Greeting, "logged in")
		rep.then = func(context.Context) error { return c.splice(e) }
		return rep, nil
	}
	if !c.srv.servedHere(e.Account.Host) {
		e.Leave()
		return reply{}, no("UNAVAILABLE", "the mailbox is on "+e.Account.Host)
	}
	if err := c.open(ctx, e.Account); err != nil {
		e.Leave()
		return reply{}, err
	}
	c.stay(e)
	return ok(c.capabilityCode(), "logged in"), nil
}

// stay keeps an entry until the session ends; a frozen account ends it.
func (c *conn) stay(e *login.Entry) {
	forget := context.AfterFunc(e.Inside, func() {
		if errors.Is(context.Cause(e.Inside), gate.ErrFrozen) {
			c.frozen.Store(true)
			c.Stop()
		}
	})
	c.leave = func() {
		forget()
		e.Leave()
	}
	c.traced, c.out.traced = e.Trace, e.Trace
}

// countLogin refuses a login, and ends a connection that guesses.
func (c *conn) countLogin() error {
	c.logins++
	if c.logins < c.srv.cfg.Limits.Logins {
		return no("AUTHENTICATIONFAILED", "login or password is wrong")
	}
	c.out.Line("* BYE [AUTHENTICATIONFAILED] too many failed logins")
	_ = c.out.Flush()
	return errClose
}

// open opens the account in the store, making it at the first login.
func (c *conn) open(ctx context.Context, owner *directory.Account) error {
	st := c.srv.cfg.Store
	acct, err := st.Open(ctx, owner.ID)
	if err != nil && mail.KindOf(err) == mail.KindNotExist {
		if err = st.Create(ctx, owner.ID); err == nil {
			acct, err = st.Open(ctx, owner.ID)
		}
	}
	if err != nil {
		return err
	}
	if quota, err := acct.Quota(ctx); err != nil || quota != owner.Quota {
		if err == nil {
			err = acct.SetQuota(ctx, owner.Quota)
		}
		if err != nil {
			acct.Release()
			return err
		}
	}
	c.user, c.whoAt = owner, time.Time{}
	c.who = store.Principal{ID: owner.ID, Identifiers: []string{owner.Address.Key()}}
	c.account, c.owner, c.state = acct.Access(c.who, store.PersonalNone), string(owner.Address), authenticated
	c.limit = c.srv.cfg.Limits.MessageSize
	if owner.MaxMessage > 0 && owner.MaxMessage < c.limit {
		c.limit = owner.MaxMessage
	}
	c.log = c.srv.log.With(slog.Uint64("cid", c.id), slog.String("user", c.owner))
	c.dec.SetLimits(c.srv.cfg.Limits.Command)
	c.trust()
	return nil
}
