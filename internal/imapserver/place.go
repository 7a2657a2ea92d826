package imapserver

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"expost/internal/directory"
	"expost/internal/gate"
	"expost/internal/mail"
	"expost/internal/store"
)

// People answers what sharing asks of the directory; directory.People is one.
type People interface {
	// Resolve returns the account that owns an address; mail.KindNotExist.
	Resolve(ctx context.Context, addr mail.Address) (*directory.Account, error)
	// ByStore returns the account whose mailbox has an id; mail.KindNotExist.
	ByStore(ctx context.Context, id mail.AccountID) (*directory.Account, error)
	// Groups returns the identifiers of the groups an account is in.
	Groups(ctx context.Context, a *directory.Account) ([]string, error)
	// Identifier returns the form in which an access control list names whom a
	// text names: an address, a login, "group:" and a group; mail.KindNotExist.
	Identifier(ctx context.Context, text string) (string, error)
	// SetQuota changes what an account may hold.
	SetQuota(ctx context.Context, a *directory.Account, q mail.Quota) error
}

// The namespaces of others' mailboxes (RFC 2342): those of people, and those of
// accounts that are shared mailboxes.
const (
	otherUsers  = "Other Users"
	sharedBoxes = "Shared"
)

// groupsAge is how long a session believes in which groups its user is.
const groupsAge = time.Minute

// place is a mailbox as a client names it.
type place struct {
	account *store.Access // of its owner
	prefix  string        // what stands before its name in the client's names; empty: the client's own
	name    string        // in the account
	box     mail.Mailbox  // with the client's name
	rights  mail.Rights
}

// own tells whether the place is in the client's own account.
func (p *place) own() bool { return p.prefix == "" }

// errMissing is the error of a mailbox that is not there, or that the client may
// not know of.
func errMissing(name string) error {
	return mail.Errorf(mail.KindNotExist, "there is no mailbox %q", name)
}

// locate returns where a name leads, whether there is a mailbox or not. Names of
// the client's own mailboxes go before the namespaces.
func (c *conn) locate(ctx context.Context, name string) (place, error) {
	p := place{account: c.account, name: name}
	space, owner, inner := splitShared(name)
	if space == "" || c.srv.cfg.People == nil {
		return p, nil
	}
	if _, err := c.account.Mailbox(ctx, name); err == nil {
		return p, nil
	}
	if inner == "" {
		return place{}, errMissing(name)
	}
	acct, err := c.srv.cfg.People.Resolve(ctx, ownerOf(owner))
	if err != nil && mail.KindOf(err) != mail.KindNotExist {
		return place{}, err
	}
	if err != nil || acct.ID == c.account.ID() || acct.Shared != (space == sharedBoxes) || !c.srv.servedHere(acct.Host) {
		return place{}, errMissing(name)
	}
	leave, err := c.enterAccount(ctx, acct.ID)
	if err != nil {
		return place{}, err
	}
	// While it waited the mailbox may have moved.
	if acct, err = c.srv.cfg.People.ByStore(ctx, acct.ID); err == nil && !c.srv.servedHere(acct.Host) {
		err = errMissing(name)
	}
	if err != nil {
		leave()
		return place{}, err
	}
	access, err := c.borrow(ctx, acct.ID, leave)
	if err != nil {
		if mail.KindOf(err) == mail.KindNotExist {
			err = errMissing(name)
		}
		return place{}, err
	}
	return place{account: access, prefix: prefixOf(acct), name: inner}, nil
}

// splitShared cuts a name in a namespace of others into namespace, owner and
// name; the namespace is empty where the name is in none.
func splitShared(name string) (space, owner, inner string) {
	space, rest, _ := strings.Cut(name, mail.Delimiter)
	if space != otherUsers && space != sharedBoxes {
		return "", "", ""
	}
	owner, inner, _ = strings.Cut(rest, mail.Delimiter)
	return space, owner, inner
}

// prefixOf returns what stands before the names of an account's mailboxes.
func prefixOf(acct *directory.Account) string {
	space := otherUsers
	if acct.Shared {
		space = sharedBoxes
	}
	return space + mail.Delimiter + levelOf(acct.Address) + mail.Delimiter
}

// levelOf returns an address as a level of a name; ownerOf is its inverse.
func levelOf(a mail.Address) string {
	return strings.NewReplacer("=", "=3D", "/", "=2F", "*", "=2A", "%", "=25").Replace(string(a))
}

func ownerOf(level string) mail.Address {
	return mail.Address(strings.NewReplacer("=3D", "=", "=2F", "/", "=2A", "*", "=25", "%").Replace(level))
}

// loan is another's account that a command uses.
type loan struct {
	account *store.Account
	leave   func() // lets it go; nil: it was only looked into
}

// enterAccount admits the session to another's account. One that is frozen, because it
// changes its place, ends the session as it ends those of its owner.
func (c *conn) enterAccount(ctx context.Context, id mail.AccountID) (func(), error) {
	if c.srv.cfg.Gate == nil {
		return func() {}, nil
	}
	inside, leave, err := c.srv.cfg.Gate.Enter(ctx, id)
	if err != nil {
		return nil, err
	}
	forget := context.AfterFunc(inside, func() {
		if errors.Is(context.Cause(inside), gate.ErrFrozen) {
			c.frozen.Store(true)
			c.Stop()
		}
	})
	return func() {
		forget()
		leave()
	}, nil
}

// borrow opens another's account until the command under way ends. leave, where
// not nil, is called then.
func (c *conn) borrow(ctx context.Context, id mail.AccountID, leave func()) (*store.Access, error) {
	a, err := c.srv.cfg.Store.Open(ctx, id)
	if err != nil {
		if leave != nil {
			leave()
		}
		return nil, err
	}
	c.borrowed = append(c.borrowed, loan{a, leave})
	return a.Access(c.principal(ctx), c.srv.cfg.Personal), nil
}

// giveBack releases what was borrowed.
func (c *conn) giveBack() {
	for _, l := range c.borrowed {
		l.account.Release()
		if l.leave != nil {
			l.leave()
		}
	}
	clear(c.borrowed)
	c.borrowed = c.borrowed[:0]
}

// stayIn keeps the session in an account that was entered, beyond the command.
func (c *conn) stayIn(id mail.AccountID) (leave func()) {
	for i := range c.borrowed {
		if l := &c.borrowed[i]; l.account.ID() == id && l.leave != nil {
			leave, l.leave = l.leave, nil
			return leave
		}
	}
	return nil
}

// principal returns by which names access control lists know the user.
func (c *conn) principal(ctx context.Context) store.Principal {
	if c.srv.cfg.People == nil || time.Since(c.whoAt) < groupsAge {
		return c.who
	}
	who := store.Principal{ID: c.user.ID, Identifiers: []string{c.user.Address.Key()}}
	for _, alias := range c.user.Aliases {
		who.Identifiers = append(who.Identifiers, alias.Key())
	}
	groups, err := c.srv.cfg.People.Groups(ctx, c.user)
	if err != nil {
		c.log.Warn("looking up the groups of a user", slog.Any("error", err))
		who.GroupsUnknown = true
	}
	who.Identifiers = append(who.Identifiers, groups...)
	c.who, c.whoAt = who, time.Now()
	return who
}

// lookUp returns the mailbox of a name, in which the client needs rights. What
// it may not know of is not there (RFC 4314 §6).
func (c *conn) lookUp(ctx context.Context, name string, need mail.Rights) (place, error) {
	p, err := c.visit(ctx, name)
	if err != nil || p.rights.Has(need) {
		return p, err
	}
	return place{}, c.refuseRights(&p)
}

// refuseRights returns why a mailbox cannot be used.
func (c *conn) refuseRights(p *place) error {
	if !p.rights.Has(mail.RightLookup) {
		return errMissing(p.box.Name)
	}
	return mail.Errorf(mail.KindPermission, "you do not have the right to do that in %q", p.box.Name)
}

// visit returns the mailbox of a name and the rights there, be they none.
func (c *conn) visit(ctx context.Context, name string) (place, error) {
	p, err := c.locate(ctx, name)
	if err != nil {
		return place{}, err
	}
	if p.box, err = p.account.Mailbox(ctx, p.name); err != nil {
		if mail.KindOf(err) == mail.KindNotExist {
			err = errMissing(name)
		}
		return place{}, err
	}
	p.name = p.box.Name
	p.rights = p.account.Rights(p.box.ID)
	p.box.Name = p.prefix + p.box.Name
	return p, nil
}

// places returns the mailboxes that the client may see: its own, and behind them
// those of others.
func (c *conn) places(ctx context.Context) ([]place, error) {
	boxes, err := c.account.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]place, len(boxes))
	own := make(map[string]bool)
	for i := range boxes {
		all[i] = place{account: c.account, name: boxes[i].Name, box: boxes[i], rights: mail.AllRights}
		own[boxes[i].Name] = true
	}
	for _, p := range c.othersPlaces(ctx) {
		if !own[p.box.Name] {
			all = append(all, p)
		}
	}
	return all, nil
}

// othersPlaces returns the mailboxes of others that the client may see. What
// cannot be looked up is left out and logged: the client's own are not at stake.
func (c *conn) othersPlaces(ctx context.Context) []place {
	if c.srv.cfg.People == nil {
		return nil
	}
	owners, err := c.srv.cfg.Store.Sharers(ctx, c.principal(ctx))
	if err != nil {
		c.log.Error("looking for shared mailboxes", slog.Any("error", err))
		return nil
	}
	var all []place
	for _, id := range owners {
		acct, err := c.srv.cfg.People.ByStore(ctx, id)
		if err == nil && c.srv.servedHere(acct.Host) {
			var found []place
			found, err = c.placesOf(ctx, acct)
			all = append(all, found...)
		}
		if err != nil && mail.KindOf(err) != mail.KindNotExist {
			c.log.Error("looking into another's account", slog.Any("account", id), slog.Any("error", err))
		}
	}
	return all
}

// placesOf returns the mailboxes of another's account that the client may see.
func (c *conn) placesOf(ctx context.Context, acct *directory.Account) ([]place, error) {
	access, err := c.borrow(ctx, acct.ID, nil)
	if err != nil {
		return nil, err
	}
	boxes, err := access.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	prefix := prefixOf(acct)
	var found []place
	for _, box := range boxes {
		rights := access.Rights(box.ID)
		if !rights.Has(mail.RightLookup) {
			continue
		}
		name := box.Name
		box.Name, box.SpecialUse = prefix+name, mail.UseNone // the role is the owner's
		found = append(found, place{access, prefix, name, box, rights})
	}
	return found, nil
}

// view opens the mailbox.
func (p *place) view(ctx context.Context, readOnly bool) (*store.View, error) {
	if readOnly {
		return p.account.Examine(ctx, p.name)
	}
	return p.account.Select(ctx, p.name)
}

// lacking returns the flags that may not be changed with rights (RFC 4314 §4).
func lacking(rights mail.Rights) store.FlagMask {
	var mask store.FlagMask
	if !rights.Has(mail.RightSeen) {
		mask.Flags |= mail.Seen
	}
	if !rights.Has(mail.RightDeleteMessages) {
		mask.Flags |= mail.Deleted
	}
	if !rights.Has(mail.RightWrite) {
		mask.Flags |= mail.Answered | mail.Flagged | mail.Draft
		mask.Keywords = true
	}
	return mask
}

// ownPlace returns a mailbox of the client's own account.
func (c *conn) ownPlace(box *mail.Mailbox) *place {
	return &place{account: c.account, name: box.Name, box: *box, rights: mail.AllRights}
}

// beside returns another mailbox of the same account.
func (p *place) beside(box *mail.Mailbox) place {
	out := place{account: p.account, prefix: p.prefix, name: box.Name, box: *box, rights: p.account.Rights(box.ID)}
	if out.box.Name = p.prefix + box.Name; !p.own() {
		out.box.SpecialUse, out.box.Subscribed = mail.UseNone, false
	}
	return out
}

// rights returns the client's rights in the selected mailbox now.
func (c *conn) rights() mail.Rights { return c.sel.account.Rights(c.sel.id) }

// needs refuses what the client has no right to do in the selected mailbox, or
// may not do because it was selected with EXAMINE.
func (c *conn) needs(need mail.Rights) error {
	if c.sel.readOnly {
		return no("READ-ONLY", "the mailbox was selected with EXAMINE")
	}
	if !c.rights().Has(need) {
		return no("NOPERM", "you do not have the right to do that in this mailbox")
	}
	return nil
}
