package delivery

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"expost/internal/directory"
	"expost/internal/mail"
	"expost/internal/message"
)

// Owns tells whether addr, as a sender, belongs to the account: its address, an
// alias, or a sub-address of one.
func (a *Agent) Owns(acct *directory.Account, addr mail.Address) bool {
	addr = a.unalias(addr)
	if owns(acct, addr.Key()) {
		return true
	}
	name, _, ok := strings.Cut(addr.Local(), a.cfg.Separator)
	return ok && a.cfg.Separator != "" && owns(acct, mail.Address(name+"@"+addr.Domain()).Key())
}

func owns(acct *directory.Account, key string) bool {
	if acct.Address.Key() == key {
		return true
	}
	for _, alias := range acct.Aliases {
		if alias.Key() == key {
			return true
		}
	}
	return false
}

// MaySend returns by which right an account sends from an address. The error is
// an *Error.
func (a *Agent) MaySend(ctx context.Context, acct *directory.Account, from mail.Address) (directory.SendRight, error) {
	if a.Owns(acct, from) {
		return directory.SendOwn, nil
	}
	from = a.unalias(from)
	right, err := directory.SendRightFor(ctx, a.directory, acct, from)
	if err == nil && right == directory.SendNot {
		right, err = a.maySendForList(ctx, acct, from)
	}
	if err != nil {
		return directory.SendNot, errDirectory(err)
	}
	return right, nil
}

// maySendForList returns by which right an account sends from the address of a list.
func (a *Agent) maySendForList(ctx context.Context, acct *directory.Account, from mail.Address) (directory.SendRight, error) {
	l, err := directory.ListByAddress(ctx, a.directory, from)
	switch mail.KindOf(err) {
	case mail.KindNotExist, mail.KindConflict:
		return directory.SendNot, nil
	}
	if err != nil {
		return directory.SendNot, err
	}
	for _, r := range []struct {
		who   *directory.Audience
		right directory.SendRight
	}{{&l.SendAs, directory.SendAs}, {&l.OnBehalf, directory.SendOnBehalf}} {
		ok, err := r.who.Has(ctx, a.directory, acct.Address, acct)
		if err != nil {
			return directory.SendNot, err
		}
		if ok {
			return r.right, nil
		}
	}
	return directory.SendNot, nil
}

// maxFrom bounds how many authors a message may have.
const maxFrom = 20

// checkAuthors refuses a submitted message whose From names somebody for whom
// the user may not send, and returns the fields it lacks: From where there is
// none, and Sender where the user is not the only author, or not an author but
// somebody who sends on their behalf (RFC 5322 §3.6.2). A Sender of others is
// not kept.
func (a *Agent) checkAuthors(ctx context.Context, env *Envelope, by *authors) ([]byte, error) {
	acct, err := a.lookup(ctx, env.SignedInAs)
	if err != nil {
		return nil, err
	}
	if acct == nil {
		return nil, refuse("5.7.1", mail.KindPermission, "the account %s is gone", env.SignedInAs)
	}
	switch {
	case by.fromCount == 0:
		return fmt.Appendf(nil, "From: %s<%s>\r\n", displayName(acct.Name), mail.QuotedAddress(acct.Address)), nil
	case by.fromCount > 1 || by.tooLong:
		return nil, refuse("5.6.0", mail.KindInvalid, "a message has one From field, of at most %d bytes", maxAuthors)
	}
	from := addressesIn(by.from)
	if len(from) == 0 || len(from) > maxFrom {
		return nil, refuse("5.6.0", mail.KindInvalid, "From must name 1 to %d addresses", maxFrom)
	}
	behalf := len(from) > 1
	for _, addr := range from {
		right, err := a.MaySend(ctx, acct, addr)
		if err != nil {
			return nil, err
		}
		switch right {
		case directory.SendNot:
			return nil, refuse("5.7.1", mail.KindPermission, "From: <%s> is not an address of %s, nor one that it may send for", addr, acct.Address)
		case directory.SendOnBehalf:
			behalf = true
		}
	}
	sender := a.ownSender(acct, by)
	if sender == nil && behalf {
		sender = fmt.Appendf(nil, " %s<%s>\r\n", displayName(acct.Name), mail.QuotedAddress(acct.Address))
	}
	if sender == nil {
		return nil, nil
	}
	return append([]byte("Sender:"), sender...), nil
}

// ownSender returns the value of Sender where it names the user.
func (a *Agent) ownSender(acct *directory.Account, by *authors) []byte {
	list := addressesIn(by.sender)
	if by.sendCount != 1 || by.tooLong || len(list) != 1 || !a.Owns(acct, list[0]) {
		return nil
	}
	if !bytes.HasSuffix(by.sender, []byte("\n")) {
		return append(by.sender, "\r\n"...)
	}
	return by.sender
}

// addressesIn returns the addresses of a field's value; one that is none as it
// stands, so that nobody takes it for another's.
func addressesIn(value []byte) []mail.Address {
	text := strings.NewReplacer("\r", " ", "\n", " ", "\x00", "").Replace(string(value))
	var list []mail.Address
	for _, x := range message.ParseAddressList(text) {
		if x.Host == "" && x.Mailbox == "" { // the end of a group
			continue
		}
		list = append(list, mail.Address(x.Mailbox+"@"+x.Host))
	}
	return list
}
