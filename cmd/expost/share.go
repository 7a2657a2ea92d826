package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"expost/internal/config"
	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/store"
)

// personalFlags returns which flags are each reader's own.
func personalFlags(c config.IMAP) store.Personal {
	return map[string]store.Personal{"seen": store.PersonalSeen, "all": store.PersonalAll, "none": store.PersonalNone}[c.PersonalFlags]
}

// adminsOf returns the addresses of those who administer by IMAP.
func adminsOf(c config.IMAP) []mail.Address {
	admins := make([]mail.Address, len(c.Admins))
	for i, a := range c.Admins {
		admins[i] = mail.Address(a)
	}
	return admins
}

// shareOptions are what share is told.
type shareOptions struct {
	with, sendAs, onBehalf []string
	mailbox, rights        string
	below, all, remove     bool
}

// accountShareCommand gives others rights in an account's mailboxes.
func accountShareCommand(a *app) *cobra.Command {
	var o shareOptions
	cmd := nodeCommand(a, cobra.Command{
		Use:   "share ADDR",
		Short: "Give others rights in an account's mailboxes, and to send for it",
		Long: `Give others rights in the mailboxes of an account, take them, or, with no flag,
list them. Who has rights finds the mailboxes in his mail program, below "Other
Users", or below "Shared" where the account is a shared mailbox (expost account
add --shared).

--with names an account by its address or login, a group of the directory by its
address or as group:NAME, or anyone. A "-" before it takes rights away from whom
another entry gives them to.

Rights are read (lrs), write (lrswit and e), full (all of them), or the letters of
RFC 4314: l see, r read, s keep \Seen, w other flags, i insert, p post, k make
folders, x delete the folder, t and e delete messages, a give rights to others.

--send-as lets somebody write the account's address into From as if it were his
own; --on-behalf lets him do so with his own address in Sender.`,
		Example: `  expost account share info@example.org --with ajay@example.org --rights full --all
  expost account share boss@example.org --mailbox Calendar --with group:staff --rights read
  expost account share boss@example.org --send-as ajay@example.org
  expost account share boss@example.org
  expost account share boss@example.org --remove --with group:staff --mailbox Calendar`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeAccounts(a),
	}, func(ctx context.Context, n *node, args []string) error {
		acct, err := lookUp(ctx, n, args[0])
		if err != nil {
			return err
		}
		if len(o.with)+len(o.sendAs)+len(o.onBehalf) == 0 {
			if o.remove {
				return usageError{fmt.Errorf("say from whom the rights are to be taken: --with, --send-as or --on-behalf")}
			}
			return a.listShares(ctx, n, acct)
		}
		if err := o.delegate(ctx, n, acct); err != nil || len(o.with) == 0 {
			return err
		}
		return o.share(ctx, n, acct)
	})
	f := cmd.Flags()
	f.StringSliceVar(&o.with, "with", nil, "who gets the rights: accounts, groups, anyone; a `list`")
	f.StringVar(&o.mailbox, "mailbox", mail.Inbox, "in which mailbox: its `name`")
	f.BoolVar(&o.below, "below", false, "and in all mailboxes below it")
	f.BoolVar(&o.all, "all", false, "in every mailbox of the account")
	f.StringVar(&o.rights, "rights", "read", "which `rights`: read, write, full, or letters")
	f.StringSliceVar(&o.sendAs, "send-as", nil, "who may send as the account: a `list`")
	f.StringSliceVar(&o.onBehalf, "on-behalf", nil, "who may send on its behalf: a `list`")
	f.BoolVar(&o.remove, "remove", false, "take the rights instead")
	cmd.MarkFlagsMutuallyExclusive("all", "mailbox")
	return cmd
}

// parseRights reads a name of rights, or letters.
func parseRights(s string) (mail.Rights, error) {
	letters := map[string]string{"read": "lrs", "write": "lrswite", "full": "lrswipkxtea"}[s]
	if letters == "" {
		letters = s
	}
	rights, known := mail.ParseRights(letters)
	if !known || rights == 0 {
		return 0, usageError{fmt.Errorf("%q is none of read, write, full, and no letters of rights (%s)", s, mail.Rights(mail.AllRights))}
	}
	return rights, nil
}

// delegate gives or takes the rights to send.
func (o *shareOptions) delegate(ctx context.Context, n *node, acct *directory.Account) error {
	for attr, names := range map[directory.DelegateAttr][]string{directory.SendAsAttr: o.sendAs, directory.OnBehalfAttr: o.onBehalf} {
		for _, name := range names {
			dn, err := delegateOf(ctx, n, name)
			if err != nil {
				return err
			}
			if err := directory.SetDelegate(ctx, n.Directory, acct.DN, attr, dn, !o.remove); err != nil {
				return fmt.Errorf("changing who may send as %s: %w", acct.Address, err)
			}
		}
	}
	return nil
}

// delegateOf returns the entry of an account or group.
func delegateOf(ctx context.Context, n *node, name string) (ldap.DN, error) {
	if acct, err := n.Directory.Lookup(ctx, name); err == nil {
		return acct.DN, nil
	} else if mail.KindOf(err) != mail.KindNotExist {
		return nil, err
	}
	g, err := directory.GroupByName(ctx, n.Directory, strings.TrimPrefix(name, directory.GroupPrefix))
	if err != nil {
		return nil, mail.Errorf(mail.KindNotExist, "there is no account or group %s", name)
	}
	return g.DN, nil
}

// share gives or takes rights in mailboxes.
func (o *shareOptions) share(ctx context.Context, n *node, acct *directory.Account) error {
	rights, err := parseRights(o.rights)
	if err != nil {
		return err
	}
	if o.remove {
		rights = 0
	}
	sa, err := n.Store.Open(ctx, acct.ID)
	if err != nil {
		return err
	}
	defer sa.Release()
	boxes, err := o.mailboxes(ctx, sa)
	if err != nil {
		return err
	}
	for _, name := range o.with {
		who, err := directory.People{Directory: n.Directory}.Identifier(ctx, name)
		if mail.KindOf(err) == mail.KindNotExist && err != nil && o.remove {
			who, err = strings.ToLower(name), nil // of somebody who is gone
		}
		if err != nil {
			return err
		}
		if who == acct.Address.Key() {
			return mail.Errorf(mail.KindInvalid, "%s has every right in the own mailboxes, always", acct.Address)
		}
		for _, box := range boxes {
			if err := sa.SetACL(ctx, box.ID, store.ACLSet, store.ACLEntry{Identifier: who, Rights: rights}); err != nil {
				return fmt.Errorf("sharing mailbox %q of %s: %w", box.Name, acct.Address, err)
			}
		}
	}
	return nil
}

// mailboxes returns the mailboxes that are meant.
func (o *shareOptions) mailboxes(ctx context.Context, sa *store.Account) ([]mail.Mailbox, error) {
	if !o.all && !o.below {
		box, err := sa.Mailbox(ctx, o.mailbox)
		return []mail.Mailbox{box}, err
	}
	boxes, err := sa.Mailboxes(ctx)
	if err != nil || o.all {
		return boxes, err
	}
	var below []mail.Mailbox
	for _, box := range boxes {
		if box.Name == o.mailbox || strings.HasPrefix(box.Name, o.mailbox+mail.Delimiter) {
			below = append(below, box)
		}
	}
	if len(below) == 0 {
		return nil, mail.Errorf(mail.KindNotExist, "there is no mailbox %q", o.mailbox)
	}
	return below, nil
}

// shareJSON is what share lists, as --json prints it.
type shareJSON struct {
	Address   mail.Address `json:"address"`
	Shared    bool         `json:"shared,omitempty"`
	SendAs    []string     `json:"sendAs,omitempty"`
	OnBehalf  []string     `json:"onBehalf,omitempty"`
	Mailboxes []entryJSON  `json:"mailboxes"`
}

// entryJSON is one entry of an access control list.
type entryJSON struct {
	Mailbox string `json:"mailbox"`
	With    string `json:"with"`
	Rights  string `json:"rights"`
}

// listShares prints who has which rights.
func (a *app) listShares(ctx context.Context, n *node, acct *directory.Account) error {
	list := shareJSON{Address: acct.Address, Shared: acct.Shared, Mailboxes: []entryJSON{}}
	for _, dn := range acct.SendAs {
		list.SendAs = append(list.SendAs, dn.String())
	}
	for _, dn := range acct.OnBehalf {
		list.OnBehalf = append(list.OnBehalf, dn.String())
	}
	sa, err := n.Store.Open(ctx, acct.ID)
	if err != nil {
		return err
	}
	defer sa.Release()
	boxes, err := sa.Mailboxes(ctx)
	if err != nil {
		return err
	}
	for _, box := range boxes {
		acl, err := sa.ACL(ctx, box.ID)
		if err != nil {
			return err
		}
		for _, e := range acl {
			list.Mailboxes = append(list.Mailboxes, entryJSON{box.Name, e.Identifier, e.Rights.String()})
		}
	}
	if a.json {
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	for _, e := range list.Mailboxes {
		fmt.Fprintf(w, "%s\t%s\t%s\n", e.Mailbox, e.With, e.Rights)
	}
	for _, dn := range list.SendAs {
		fmt.Fprintf(w, "send as\t%s\n", dn)
	}
	for _, dn := range list.OnBehalf {
		fmt.Fprintf(w, "send on behalf\t%s\n", dn)
	}
	return w.Flush()
}

// forgetAccount takes the rights of an account that is removed, or is new, out of
// the mailboxes of others. It must be in the directory, whose groups count.
func forgetAccount(ctx context.Context, n *node, acct *directory.Account) error {
	groups, err := directory.People{Directory: n.Directory}.Groups(ctx, acct)
	if err != nil {
		return err
	}
	who := store.Principal{ID: acct.ID, Identifiers: []string{acct.Address.Key()}}
	for _, alias := range acct.Aliases {
		who.Identifiers = append(who.Identifiers, alias.Key())
	}
	if err := n.Store.Forget(ctx, who, groups); err != nil {
		return fmt.Errorf("taking the rights of %s in others' mailboxes: %w", acct.Address, err)
	}
	return nil
}
