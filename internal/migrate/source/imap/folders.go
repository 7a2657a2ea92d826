package imap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
)

// listing collects what a server says of its mailboxes.
type listing struct {
	boxes      []imapclient.Listed
	subscribed map[string]bool
	status     map[string]imapclient.Status
	spaces     imapclient.Namespaces
}

// Folders implements migrate.SourceAccount.
func (a *account) Folders(ctx context.Context) ([]migrate.Folder, error) {
	l := listing{status: map[string]imapclient.Status{}} // kept over tries: a server that throttles would never let it end
	err := a.try(ctx, func() error {
		l = listing{subscribed: map[string]bool{}, status: l.status}
		return a.list(&l)
	})
	if err != nil {
		return nil, err
	}
	a.prefix, a.sep = "", ""
	if len(l.spaces.Personal) > 0 {
		a.prefix, a.sep = l.spaces.Personal[0].Prefix, l.spaces.Personal[0].Delimiter
	}
	for _, box := range l.boxes {
		if a.sep == "" {
			a.sep = box.Delimiter
		}
	}
	return l.folders(), nil
}

// Space returns what stands before the names of the user's own mailboxes, and
// between their levels, as the last Folders found it.
func (a *account) Space() (prefix, separator string) { return a.prefix, a.sep }

// Greeting returns what the server said of itself at the last connection.
func (a *account) Greeting() string { return a.greeting }

// list asks for everything, in one round trip where the server can (RFC 5258,
// RFC 5819), else with the commands of RFC 3501.
func (a *account) list(l *listing) error {
	namespace, err := a.c.Has("NAMESPACE")
	if err != nil {
		return err
	}
	if namespace {
		err := a.c.Command("NAMESPACE", l.read)
		if _, ok := refused(err); err != nil && !ok {
			return err
		}
	}
	extended, err := a.c.Has("LIST-STATUS")
	if err != nil {
		return err
	}
	if extended && !a.noStatus {
		err := a.listExtended(l)
		if _, ok := refused(err); !ok {
			return err
		}
		a.noStatus = true
		l.boxes = nil
	}
	return a.listPlain(l)
}

// statusItems returns what STATUS may be asked for.
func (a *account) statusItems() (string, error) {
	items := "(MESSAGES UIDNEXT UIDVALIDITY"
	condstore, err := a.c.Has("CONDSTORE")
	if condstore {
		items += " HIGHESTMODSEQ"
	}
	return items + ")", err
}

func (a *account) listExtended(l *listing) error {
	items, err := a.statusItems()
	if err != nil {
		return err
	}
	special, err := a.c.Has("SPECIAL-USE")
	if err != nil {
		return err
	}
	options := "RETURN (SUBSCRIBED STATUS " + items
	if special {
		options += " SPECIAL-USE"
	}
	if err := a.c.Command("LIST", l.read, imapclient.Text(""), imapclient.Text("*"), imapclient.Raw(options+")")); err != nil {
		return err
	}
	return a.listStatus(l, items) // a server may leave out what it cannot tell at once
}

// listPlain asks with LIST, LSUB and a STATUS for each mailbox.
func (a *account) listPlain(l *listing) error {
	for _, command := range []string{"LIST", "LSUB"} {
		if err := a.c.Command(command, l.read, imapclient.Text(""), imapclient.Text("*")); err != nil {
			if _, ok := refused(err); ok && command == "LSUB" {
				continue // then nothing is subscribed
			}
			return err
		}
	}
	items, err := a.statusItems()
	if err != nil {
		return err
	}
	return a.listStatus(l, items)
}

// listStatus asks for the states that are not known yet.
func (a *account) listStatus(l *listing, items string) error {
	for _, box := range l.boxes {
		if _, known := l.status[box.Name]; known || noItems(box) {
			continue
		}
		err := a.c.Command("STATUS", l.read, imapclient.Text(box.Name), imapclient.Raw(items))
		if _, known := l.status[box.Name]; err != nil || !known {
			if err := a.statusByExamine(l, box.Name, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// statusByExamine opens a mailbox whose STATUS was refused, or told nothing. One
// that cannot be opened either is looked at again when it is read.
func (a *account) statusByExamine(l *listing, name string, cause error) error {
	_, wait := throttled(cause)
	if _, ok := refused(cause); cause != nil && !ok || wait {
		return cause
	}
	s, err := a.examine(migrate.Folder{Key: name})
	if mail.KindOf(err) == mail.KindPermission || mail.KindOf(err) == mail.KindNotExist {
		return nil
	}
	l.status[name] = imapclient.Status{
		UIDValidity: s.UIDValidity, UIDNext: s.UIDNext, HighestModSeq: s.ModSeq, Messages: s.Messages, Size: -1,
	}
	return err
}

// read takes one untagged response.
func (l *listing) read(r *imapclient.Response) (err error) {
	switch r.Name() {
	case "LIST":
		var box imapclient.Listed
		if box, err = r.List(); err == nil {
			l.boxes = append(l.boxes, box)
			l.subscribed[box.Name] = l.subscribed[box.Name] || box.Is(`\Subscribed`)
		}
	case "LSUB":
		var box imapclient.Listed
		if box, err = r.List(); err == nil && !box.Is(`\Noselect`) {
			l.subscribed[box.Name] = true
		}
	case "STATUS":
		var name string
		var s imapclient.Status
		if name, s, err = r.Status(); err == nil && s.UIDValidity != 0 { // 0: Dovecot is making the mailbox's index
			l.status[name] = s
		}
	case "NAMESPACE":
		l.spaces, err = r.Namespace()
	}
	return err
}

// noItems tells whether a mailbox cannot hold messages.
func noItems(box imapclient.Listed) bool { return box.Is(`\Noselect`) || box.Is(`\NonExistent`) }

// folders returns the user's own mailboxes: INBOX first, then by name, so that
// parents come before children.
func (l *listing) folders() []migrate.Folder {
	var out []migrate.Folder
	known := map[string]bool{}
	for _, box := range l.boxes {
		if known[box.Name] || box.Name == "" || box.Is(`\NonExistent`) || l.foreign(box) {
			continue
		}
		known[box.Name] = true
		f := migrate.Folder{
			Key: box.Name, Name: l.name(box), Use: specialUse(box), Subscribed: l.subscribed[box.Name], NoItems: noItems(box),
			State: migrate.State{Messages: -1, Bytes: -1},
		}
		if s, ok := l.status[box.Name]; ok {
			f.State = migrate.State{UIDValidity: s.UIDValidity, UIDNext: s.UIDNext, ModSeq: s.HighestModSeq, Messages: s.Messages, Bytes: s.Size}
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(x, y migrate.Folder) int {
		if (x.Name == mail.Inbox) != (y.Name == mail.Inbox) {
			if x.Name == mail.Inbox {
				return -1
			}
			return 1
		}
		return strings.Compare(x.Name, y.Name)
	})
	migrate.GuessUses(out)
	return out
}

// foreign tells whether a mailbox belongs to other users.
func (l *listing) foreign(box imapclient.Listed) bool {
	return slices.ContainsFunc(l.spaces.Other, func(ns imapclient.Namespace) bool {
		return ns.Prefix != "" && (strings.HasPrefix(box.Name, ns.Prefix) || box.Name == strings.TrimSuffix(ns.Prefix, ns.Delimiter))
	})
}

// name returns a mailbox's name as people see it: without the prefix of the
// personal namespace ("INBOX." of Courier), decoded, levels separated by "/".
func (l *listing) name(box imapclient.Listed) string {
	wire := box.Name
	for _, ns := range l.spaces.Personal {
		if rest, ok := strings.CutPrefix(wire, ns.Prefix); ok && ns.Prefix != "" && rest != "" {
			wire = rest
			break
		}
	}
	name, ok := imapwire.DecodeUTF7(wire)
	if !ok {
		name = strings.ToValidUTF8(wire, "_")
	}
	if box.Delimiter != mail.Delimiter {
		name = strings.ReplaceAll(name, mail.Delimiter, "_")
		if box.Delimiter != "" {
			name = strings.ReplaceAll(name, box.Delimiter, mail.Delimiter)
		}
	}
	if strings.EqualFold(name, mail.Inbox) {
		return mail.Inbox
	}
	return name
}

// specialUse returns the role that the server gives (RFC 6154).
func specialUse(box imapclient.Listed) mail.SpecialUse {
	for _, use := range []mail.SpecialUse{
		mail.UseAll, mail.UseArchive, mail.UseDrafts, mail.UseFlagged, mail.UseJunk, mail.UseSent, mail.UseTrash,
	} {
		if box.Is(`\` + string(use)) {
			return use
		}
	}
	return mail.UseNone
}

// Larger implements migrate.LargeFinder by SEARCH LARGER.
func (a *account) Larger(ctx context.Context, f migrate.Folder, size int64) ([]migrate.Item, error) {
	var found mail.UIDSet
	err := a.try(ctx, func() (err error) {
		if _, err = a.examine(f); err == nil {
			found, err = a.search(imapclient.Raw(fmt.Sprintf("LARGER %d", size)))
		}
		return err
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	s := &scan{account: a, folder: f}
	var out []migrate.Item
	for window := range windows(found, largerAtOnce) {
		items, err := s.list(ctx, window.String())
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
	}
	return out, nil
}

// largerAtOnce is how many large messages one command asks about.
const largerAtOnce = 500

// Measure implements migrate.Measurer: STATUS=SIZE (RFC 8438) where the server
// has it, else the sum of RFC822.SIZE.
func (a *account) Measure(ctx context.Context, f migrate.Folder) (messages int, size int64, err error) {
	messages = f.State.Messages
	err = a.try(ctx, func() error {
		size = 0
		has, err := a.c.Has("STATUS=SIZE")
		if err != nil {
			return err
		}
		if has {
			return a.c.Command("STATUS", func(r *imapclient.Response) error {
				if r.Name() == "STATUS" {
					_, s, err := r.Status()
					size = s.Size
					return err
				}
				return nil
			}, imapclient.Text(f.Key), imapclient.Raw("(SIZE)"))
		}
		if _, err := a.examine(f); err != nil || f.State.Messages == 0 {
			return err
		}
		return a.c.Command("UID FETCH", func(r *imapclient.Response) error {
			if r.Name() != "FETCH" {
				return nil
			}
			m, err := r.Fetch(nil)
			size += m.Size
			return err
		}, imapclient.Raw("1:*"), imapclient.Raw("(RFC822.SIZE)"))
	})
	if err != nil {
		return messages, -1, fmt.Errorf("measuring %q: %w", f.Name, err)
	}
	return messages, size, nil
}
