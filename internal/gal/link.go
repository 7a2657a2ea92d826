package gal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"expost/internal/directory"
	"expost/internal/ldap"
)

// Link is another entry that an entry names by an attribute of its own:
// delegates, who may write to a group, where mail is forwarded to.
type Link struct {
	Kind LinkKind
	DN   string // in the source, or "sid:S-1-5-…"
	Line int
}

// LinkKind is what a link is for.
type LinkKind string

// The kinds of links, and the attribute of the directory that each becomes.
const (
	LinkForward    LinkKind = "mailForwardingAddress" // altRecipient
	LinkOnBehalf   LinkKind = "publicDelegates"
	LinkSendAs     LinkKind = "mailSendAs"
	LinkFullAccess LinkKind = "msExchDelegateListLink" // reported: rights are on mailboxes, not in the directory
	LinkAuthor     LinkKind = "authOrig"
	LinkSubmit     LinkKind = "dLMemSubmitPerms"
	LinkManagedBy  LinkKind = "managedBy"
)

// linkAttributes are the attributes of Active Directory that are links.
func linkAttributes() map[string]LinkKind {
	return map[string]LinkKind{
		"altrecipient": LinkForward, "publicdelegates": LinkOnBehalf, "msexchdelegatelistlink": LinkFullAccess,
		"authorig": LinkAuthor, "dlmemsubmitperms": LinkSubmit, "managedby": LinkManagedBy,
	}
}

// link takes the value of an attribute that names another entry. Exchange
// writes some with a prefix: "S:4:name:CN=…".
func (a *attributes) link(v attribute) bool {
	kind, ok := linkAttributes()[v.name]
	text := strings.TrimSpace(string(v.data))
	if !ok || text == "" {
		return ok
	}
	if rest, ok := strings.CutPrefix(text, "S:"); ok {
		if parts := strings.SplitN(rest, ":", 3); len(parts) == 3 {
			text = parts[2]
		}
	}
	a.r.Links = append(a.r.Links, Link{kind, text, v.line})
	return true
}

// setting takes a value that says how a mailbox is set up.
func (a *attributes) setting(v attribute) bool {
	text := strings.TrimSpace(string(v.data))
	kilobytes := func(f Field) {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 && n < 1<<40 {
			a.r.Add(f, strconv.FormatInt(n<<10, 10), v.line)
		}
	}
	switch v.name {
	case "mdboverhardquotalimit":
		kilobytes(QuotaBytes)
	case "mdbusedefaults":
		a.storeQuota = isTrue(text)
	case "delivcontlength":
		kilobytes(MaxMessage)
	case "deliverandredirect":
		if isTrue(text) {
			a.r.Add(KeepsCopy, "true", v.line)
		}
	case "msexchrequireauthtosendto":
		if isTrue(text) {
			a.r.Add(MembersOnly, "true", v.line)
		}
	default:
		return false
	}
	return true
}

// settings are the fields that only a mailbox or a group has.
func settings() []Field { return []Field{QuotaBytes, MaxMessage, KeepsCopy, MembersOnly, SharedBox} }

// mailboxAttributes are those that only an account of ours may have.
func mailboxAttributes() []string {
	return []string{"mailQuotaSize", "mailSizeMax", "mailForwardingAddress", "deliveryMode", "accountStatus", "mailboxType", "mailSendAs", "publicDelegates"}
}

// mailboxSettings puts what an account takes over from its mailbox.
func (b *builder) mailboxSettings() {
	if !b.opts.Mailboxes {
		for _, l := range b.r.Links {
			if l.Kind == LinkForward {
				b.describe("Forward", nameOfDN(l.DN))
			}
		}
		return
	}
	put := func(attr, text string) {
		if text != "" {
			b.put(attr, []byte(text))
		}
	}
	put("mailQuotaSize", b.r.Get(QuotaBytes))
	put("mailSizeMax", b.r.Get(MaxMessage))
	if b.r.Get(SharedBox) != "" || b.r.Kind == Room || b.r.Kind == Equipment {
		b.class("expostMailbox")
		put("mailboxType", "shared")
	} else if b.r.Get(DisabledAcc) != "" {
		put("accountStatus", string(directory.StatusNoAccess))
	}
	b.forwarding()
	for _, l := range b.r.Links {
		switch l.Kind {
		case LinkOnBehalf, LinkSendAs:
			if other := b.linked(l); other != nil {
				b.class("expostMailbox")
				put(string(l.Kind), b.dn(other).String())
			}
		case LinkFullAccess:
			if other := b.linked(l); other != nil {
				b.issue(l.Line, Info, string(l.Kind), fmt.Sprintf("%q may open the mailbox of %q", other.Name(), b.r.Name()),
					fmt.Sprintf("once both are here: expost account share %s --with %s", b.r.Get(Email), other.Get(Email)))
			}
		}
	}
}

// forwarding puts where the mail of a mailbox goes.
func (b *builder) forwarding() {
	var to []string
	for _, l := range b.r.Links {
		if l.Kind != LinkForward {
			continue
		}
		if other := b.linked(l); other != nil && other.Get(Email) != "" {
			to = append(to, other.Get(Email))
		}
	}
	for _, a := range to {
		b.put("mailForwardingAddress", []byte(a))
	}
	if len(to) > 0 && b.r.Get(KeepsCopy) == "" {
		b.put("deliveryMode", []byte("nolocal"))
	}
}

// linked finds the entry that a link names, and reports one that is not in the
// list. Names of Windows itself (SYSTEM, Administrators) are passed over.
func (b *builder) linked(l Link) *Recipient {
	if other := b.index.find(Member{DN: l.DN, Name: l.DN}); other != nil {
		return other
	}
	if !strings.HasPrefix(l.DN, "sid:") || strings.HasPrefix(l.DN, "sid:S-1-5-21-") {
		b.issue(l.Line, Warning, string(l.Kind), fmt.Sprintf("%q of %q is not in the list", clip(l.DN), b.r.Name()), "left out")
	}
	return nil
}

// groupSettings puts who may write to a group.
func (b *builder) groupSettings() {
	if !b.opts.Extended {
		return
	}
	if b.r.Get(MembersOnly) != "" {
		b.putOurs("msExchRequireAuthToSendTo", "TRUE")
	}
	for _, l := range b.r.Links {
		if l.Kind == LinkAuthor || l.Kind == LinkSubmit || l.Kind == LinkManagedBy {
			if other := b.linked(l); other != nil {
				b.putOurs(string(l.Kind), b.dn(other).String())
			}
		}
	}
}

// withoutMailbox returns an entry without what only an account may have.
func withoutMailbox(e *ldap.Entry) *ldap.Entry {
	out := &ldap.Entry{DN: e.DN}
	for _, a := range e.Attributes {
		if slices.ContainsFunc(mailboxAttributes(), func(name string) bool { return strings.EqualFold(name, a.Desc) }) {
			continue
		}
		if strings.EqualFold(a.Desc, "objectClass") {
			a.Values = slices.DeleteFunc(slices.Clone(a.Values), func(v []byte) bool { return string(v) == "expostMailbox" })
		}
		out.Attributes = append(out.Attributes, a)
	}
	return out
}
