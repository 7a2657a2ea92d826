// Package uidl takes the unique ids of POP3 (RFC 1939 §7) over from another
// server, so that clients that leave their mail there do not fetch all of it again
// when a mailbox has moved.
//
// Where the old server made them by a rule from UID and UIDVALIDITY, and the
// mailbox was taken over with those, the rule is kept, for new messages too. Else
// each message of the old maildrop is found here by its Message-ID, or by date,
// sender and subject, and its id is kept for it.
package uidl

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// Maildrop is the old server's, as a POP3 client sees it.
type Maildrop interface {
	// List returns the unique ids in the order of the messages.
	List(ctx context.Context) ([]string, error)
	// Header returns the header of the n-th of them, from 1 on.
	Header(ctx context.Context, n int) ([]byte, error)
}

// Formats are the rules of servers, see store.FormatUIDL.
func Formats() []string {
	return []string{
		"%08xu%08xv", "%08Xu%08Xv", // Dovecot, Expost
		"UID%u-%v", "%v-%u", // Courier
		"%v.%u", "%u", // Cyrus
		"%08Xv%08Xu", "%08xv%08xu", // UW
	}
}

// Taken says what Take has found.
type Taken struct {
	Messages int      `json:"messages"` // in the old maildrop
	Format   string   `json:"format"`   // the rule that all ids follow; empty: none
	Matched  int      `json:"matched"`  // messages that are here and have their old id now
	Missing  []string `json:"missing"`  // ids of those that are not here
}

// Take makes the INBOX of an account show the unique ids of another server's
// maildrop. It is durable when it returns, and can be done again.
func Take(ctx context.Context, account *store.Account, from Maildrop) (Taken, error) {
	ids, err := from.List(ctx)
	if err != nil {
		return Taken{}, fmt.Errorf("listing the old maildrop: %w", err)
	}
	taken := Taken{Messages: len(ids)}
	view, err := account.Examine(ctx, mail.Inbox)
	if err != nil {
		return taken, err
	}
	defer view.Close()
	snap := view.Snapshot()
	box := snap.Mailbox()
	m := matcher{ctx: ctx, account: account, snap: snap, from: from}
	format, err := m.format(ids)
	if err != nil {
		return taken, err
	}
	uidls := store.UIDLs{Format: format}
	if format != "" {
		taken.Format, taken.Matched = format, len(ids)
		return taken, account.SetUIDLs(ctx, box.ID, uidls)
	}
	if uidls.Of, err = m.match(ids); err != nil {
		return taken, err
	}
	uidls.Format = freshFormat(ids)
	kept := make(map[string]bool, len(uidls.Of))
	for _, id := range uidls.Of {
		kept[id] = true
	}
	for _, id := range ids {
		if !kept[id] {
			taken.Missing = append(taken.Missing, id)
		}
	}
	taken.Matched = len(uidls.Of)
	return taken, account.SetUIDLs(ctx, box.ID, uidls)
}

// freshFormat returns a rule for the messages that the old maildrop does not
// have, which gives none of its ids: clients would take a new message for one
// that they have.
func freshFormat(ids []string) string {
	format, length := store.DefaultUIDL, 16 // of the ids that it gives
	for slices.ContainsFunc(ids, func(id string) bool {
		return len(id) == length && strings.Trim(strings.ToLower(id), "0123456789abcdef") == ""
	}) {
		format, length = "e"+format, length+1
	}
	return format
}

// matcher finds the messages of a maildrop in a mailbox.
type matcher struct {
	ctx     context.Context
	account *store.Account
	snap    *store.Snapshot
	from    Maildrop
}

// ahead is how far beyond UIDNEXT the UIDs of messages may be that have come to
// the old maildrop, and are not here yet.
const ahead = 1000

// format returns the rule that gives the ids for the messages that are here, the
// right ones as far as samples tell; empty: there is none. Some of the maildrop's
// may not be here, because they have just come, or were set aside: the rule has to
// give their ids too, for a UID that no message has here.
func (m *matcher) format(ids []string) (string, error) {
	for _, format := range Formats() {
		have := make(map[string]mail.Message, m.snap.Len())
		for _, msg := range m.snap.Range(1, m.snap.Len()) {
			if id, err := store.FormatUIDL(format, m.snap.Mailbox().UIDValidity, msg.UID); err == nil {
				have[id] = *msg
			}
		}
		var known []int
		var unknown []string
		for i, id := range ids {
			if _, ok := have[id]; ok {
				known = append(known, i)
			} else {
				unknown = append(unknown, id)
			}
		}
		if len(known) == 0 || len(unknown) > len(known) || !m.gives(format, unknown) {
			continue
		}
		if same, err := m.sample(ids, known, have); same || err != nil {
			return format, err
		}
	}
	return "", nil
}

// gives tells whether a rule gives these ids for UIDs up to ahead of UIDNEXT.
func (m *matcher) gives(format string, ids []string) bool {
	left := make(map[string]bool, len(ids))
	for _, id := range ids {
		left[id] = true
	}
	box := m.snap.Mailbox()
	for uid := box.UIDNext + ahead; uid > 0 && len(left) > 0; uid-- {
		if id, err := store.FormatUIDL(format, box.UIDValidity, uid); err == nil {
			delete(left, id)
		}
	}
	return len(left) == 0
}

// samples is how many messages are compared before a rule is believed.
const samples = 7

// sample tells whether some messages of the maildrop, of those that are known
// here, are those that a rule says.
func (m *matcher) sample(ids []string, known []int, have map[string]mail.Message) (bool, error) {
	for k := range samples {
		i := known[k*(len(known)-1)/(samples-1)]
		theirs, err := m.from.Header(m.ctx, i+1)
		if err != nil {
			return false, fmt.Errorf("reading the header of message %d of the old maildrop: %w", i+1, err)
		}
		ours, err := m.header(have[ids[i]].Email)
		if err != nil {
			return false, fmt.Errorf("reading the header of UID %d: %w", have[ids[i]].UID, err)
		}
		if keyOf(theirs) != keyOf(ours) {
			return false, nil
		}
	}
	return true, nil
}

// match returns the ids of the messages that are here. Several of the same key
// are taken in order.
func (m *matcher) match(ids []string) (map[mail.UID]string, error) {
	here := map[string][]mail.UID{}
	for _, msg := range m.snap.Range(1, m.snap.Len()) {
		header, err := m.header(msg.Email)
		if err != nil {
			return nil, fmt.Errorf("reading the header of UID %d: %w", msg.UID, err)
		}
		key := keyOf(header)
		here[key] = append(here[key], msg.UID)
	}
	found := map[mail.UID]string{}
	for i, id := range ids {
		header, err := m.from.Header(m.ctx, i+1)
		if err != nil {
			return nil, fmt.Errorf("reading the header of message %d of the old maildrop: %w", i+1, err)
		}
		key := keyOf(header)
		if uids := here[key]; len(uids) > 0 && key != "" {
			found[uids[0]] = id
			here[key] = uids[1:]
		}
	}
	return found, nil
}

// maxHeader bounds what is read of a message for its key.
const maxHeader = 256 << 10

// header returns the header of a message here.
func (m *matcher) header(id mail.EmailID) ([]byte, error) {
	body, err := m.account.Body(m.ctx, id)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body.Section(0, min(body.Size(), maxHeader)))
}

// keyOf returns what a message is known by whatever server has made its header
// anew: the Message-ID, or else date, sender and subject; empty where it has none.
func keyOf(header []byte) string {
	p := message.NewParser(message.Limits{}, nil)
	if end := bytes.Index(header, []byte("\r\n\r\n")); end >= 0 {
		header = header[:end+4]
	}
	if _, err := p.Write(header); err != nil {
		return ""
	}
	msg := p.Finish()
	env := &msg.Envelope
	if id := strings.TrimSpace(env.MessageID); id != "" {
		return "id " + id
	}
	key := strings.Join(strings.Fields(message.DecodeHeader(env.Subject)), " ")
	for _, a := range env.From {
		key += " " + strings.ToLower(a.Mailbox+"@"+a.Host)
	}
	if at, err := message.ParseDate(env.Date); err == nil {
		key += " " + at.UTC().Format("20060102150405")
	}
	if key == "" {
		return ""
	}
	return "of " + key
}
