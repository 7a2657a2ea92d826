package store

import (
	"context"
	"slices"
	"strings"

	"expost/internal/mail"
)

// ACLEntry is what an access control list gives one identifier (RFC 4314 §2):
// the primary address of an account, "group:" and the address or name of a
// group, or Anyone. With a "-" before it, the rights are taken away from whom
// it names.
type ACLEntry struct {
	Identifier string // in lower case
	Rights     mail.Rights
}

// Anyone is the identifier of everybody who logs in.
const Anyone = "anyone"

// The limits of a mailbox's access control list.
const (
	maxACL        = 256 // entries
	maxIdentifier = 320 // bytes
)

// Principal is somebody who looks at accounts.
type Principal struct {
	ID          mail.AccountID
	Identifiers []string // that name him, in lower case; Anyone does as well

	// GroupsUnknown is set where it could not be looked up in which groups he is:
	// what is taken from any group counts as taken from him.
	GroupsUnknown bool
}

// groupPrefix starts the identifier of a group.
const groupPrefix = "group:"

// names tells whether an identifier without its "-" names the principal.
func (p *Principal) names(identifier string) bool {
	return identifier == Anyone || slices.Contains(p.Identifiers, identifier)
}

// rightsOf returns the rights that a list gives a principal: what any entry
// gives and none takes away (RFC 4314 §2).
func rightsOf(acl []ACLEntry, p *Principal) mail.Rights {
	given, taken := sumOf(acl, p)
	return given &^ taken
}

// sumOf returns what a list gives a principal and what it takes from him.
func sumOf(acl []ACLEntry, p *Principal) (given, taken mail.Rights) {
	for _, e := range acl {
		name, negative := strings.CutPrefix(e.Identifier, "-")
		switch {
		case negative && (p.names(name) || p.GroupsUnknown && strings.HasPrefix(name, groupPrefix)):
			taken |= e.Rights
		case !negative && p.names(name):
			given |= e.Rights
		}
	}
	return given, taken
}

// MayPost tells whether a mailbox takes mail to its sub-address from a sender; the
// zero Principal is somebody nobody knows. It takes it from all but those from
// whom its list takes "p" away. An account posts to its own mailboxes.
func (a *Account) MayPost(id mail.MailboxID, sender Principal) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	row := a.mailboxes[id]
	if row == nil || sender.ID == a.id {
		return true
	}
	_, taken := sumOf(row.ACL, &sender)
	return !taken.Has(mail.RightPost)
}

// ACLOp is what SetACL does with the rights of an identifier.
type ACLOp uint8

// The forms of SETACL (RFC 4314 §3.1). Without rights an entry goes.
const (
	ACLSet ACLOp = iota
	ACLAdd
	ACLRemove
)

// ACL returns a mailbox's access control list, in order of identifier;
// mail.KindNotExist.
func (a *Account) ACL(ctx context.Context, id mail.MailboxID) ([]ACLEntry, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if err := a.check(); err != nil {
		return nil, err
	}
	row := a.mailboxes[id]
	if row == nil {
		return nil, errGone()
	}
	return slices.Clone(row.ACL), nil
}

// errGone is the error of a mailbox id that is not there.
func errGone() error { return mail.Errorf(mail.KindNotExist, "the mailbox is gone") }

// SetACL changes what a mailbox's access control list gives an identifier.
// mail.KindNotExist; mail.KindInvalid for an identifier that cannot be, or a
// list that is full.
func (a *Account) SetACL(ctx context.Context, id mail.MailboxID, op ACLOp, e ACLEntry) error {
	e.Identifier = strings.ToLower(e.Identifier)
	if name := strings.TrimPrefix(e.Identifier, "-"); name == "" || len(name) > maxIdentifier || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return mail.Errorf(mail.KindInvalid, "%q cannot be an identifier", e.Identifier)
	}
	return a.store.shares.change(ctx, a, []string{e.Identifier}, func() error {
		return a.change(ctx, func(b *batch) error { return b.setACL(id, op, e) })
	})
}

// setACL is SetACL in a batch.
func (b *batch) setACL(id mail.MailboxID, op ACLOp, e ACLEntry) error {
	box, err := b.edit(id)
	if err != nil {
		return err
	}
	at, found := slices.BinarySearchFunc(box.row.ACL, e.Identifier, compareACL)
	have := ACLEntry{Identifier: e.Identifier}
	if found {
		have = box.row.ACL[at]
	}
	rights := e.Rights
	switch op {
	case ACLAdd:
		rights = have.Rights | e.Rights
	case ACLRemove:
		rights = have.Rights &^ e.Rights
	}
	switch {
	case rights == have.Rights:
		return nil
	case !found && len(box.row.ACL) >= maxACL:
		return mail.Errorf(mail.KindInvalid, "a mailbox can be shared with at most %d identifiers; use a group", maxACL)
	}
	b.touch(box)
	acl := slices.Clone(box.row.ACL)
	switch {
	case rights == 0:
		acl = slices.Delete(acl, at, at+1)
	case found:
		acl[at].Rights = rights
	default:
		acl = slices.Insert(acl, at, ACLEntry{e.Identifier, rights})
	}
	box.row.ACL = acl
	return nil
}

func compareACL(e ACLEntry, identifier string) int { return strings.Compare(e.Identifier, identifier) }

// Forget takes every right, every flag and every private annotation of somebody
// who is no more out of the account.
func (a *Account) Forget(ctx context.Context, p Principal) error {
	var names []string
	for _, name := range p.Identifiers {
		names = append(names, name, "-"+name)
	}
	return a.store.shares.change(ctx, a, names, func() error {
		return a.change(ctx, func(b *batch) error {
			for _, id := range b.nameMap() {
				for _, name := range names {
					if err := b.setACL(id, ACLSet, ACLEntry{Identifier: name}); err != nil {
						return err
					}
				}
			}
			return b.forgetReader(p.ID)
		})
	})
}

// identifiers returns the identifiers, without "-", that the account gives
// rights to.
func (a *Account) identifiers() map[string]bool {
	names := make(map[string]bool)
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, row := range a.mailboxes {
		for _, e := range row.ACL {
			if !strings.HasPrefix(e.Identifier, "-") {
				names[e.Identifier] = true
			}
		}
	}
	return names
}

// MarshalACL returns the text of a list, an entry a line: identifier, tab, rights.
func MarshalACL(acl []ACLEntry) string {
	var b strings.Builder
	for _, e := range acl {
		b.WriteString(e.Identifier)
		b.WriteByte('\t')
		b.WriteString(e.Rights.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// UnmarshalACL reads what MarshalACL wrote; mail.KindCorrupt.
func UnmarshalACL(s string) ([]ACLEntry, error) {
	var acl []ACLEntry
	for line := range strings.Lines(s) {
		name, letters, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		rights, known := mail.ParseRights(letters)
		if !ok || !known || name == "" || len(acl) > 0 && acl[len(acl)-1].Identifier >= name {
			return nil, mail.Errorf(mail.KindCorrupt, "an access control list is damaged at %q", line)
		}
		acl = append(acl, ACLEntry{name, rights})
	}
	return acl, nil
}
