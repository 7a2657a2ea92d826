package imapserver

import (
	"context"
	"strconv"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// getMetadataCommand is GETMETADATA (RFC 5464 §4.2).
func getMetadataCommand() command {
	return command{
		name: "GETMETADATA", in: loggedIn, caps: caps("METADATA", "METADATA-SERVER"),
		run: func(ctx context.Context, c *conn) (reply, error) {
			cmd := c.dec.GetMetadata(c.utf8())
			if err := c.dec.Err(); err != nil {
				return reply{}, err
			}
			var p *place
			if cmd.Mailbox != "" {
				found, err := c.annotated(ctx, cmd.Mailbox)
				if err != nil {
					return reply{}, err
				}
				p = &found
			}
			have, err := c.annotations(ctx, p)
			if err != nil {
				return reply{}, err
			}
			longest := c.writeMetadata(cmd.Mailbox, matchEntries(have, &cmd), cmd.MaxSize)
			if longest > 0 {
				return ok("METADATA LONGENTRIES "+strconv.Itoa(longest), "some are larger than that"), nil
			}
			return ok("", "done"), nil
		},
	}
}

// annotated returns a mailbox whose annotations the client may see (RFC 5464 §3.3).
func (c *conn) annotated(ctx context.Context, name string) (place, error) {
	p, err := c.lookUp(ctx, name, mail.RightLookup)
	if err == nil && !mayAnnotate(p.rights) {
		err = c.refuseRights(&p)
	}
	return p, err
}

// mayAnnotate tells whether rights, beside that to look a mailbox up, let a
// client see its annotations.
func mayAnnotate(rights mail.Rights) bool {
	return rights.Any(mail.RightRead | mail.RightSeen | mail.RightWrite | mail.RightInsert | mail.RightPost)
}

// annotations returns what the client may see at a mailbox, or with nil at the
// server, where it has its own account's for private ones.
func (c *conn) annotations(ctx context.Context, p *place) ([]store.Annotation, error) {
	if p != nil {
		return p.account.Annotations(ctx, p.box.ID)
	}
	private, err := c.account.Annotations(ctx, 0)
	if err != nil {
		return nil, err
	}
	shared, err := c.srv.cfg.Store.SiteAnnotations(ctx)
	if err != nil {
		return nil, err
	}
	if c.srv.cfg.Contact != "" {
		shared = append(shared, store.Annotation{Entry: "/shared/admin", Value: []byte(c.srv.cfg.Contact)})
	}
	return append(private, shared...), nil
}

// matchEntries returns the annotations that a command asks for, and one without
// a value for each that it names and that is not there.
func matchEntries(have []store.Annotation, cmd *imapwire.GetMetadataCommand) []store.Annotation {
	var found []store.Annotation
	taken := make(map[string]bool)
	for _, entry := range cmd.Entries {
		at := len(found)
		for _, a := range have {
			below, is := strings.CutPrefix(a.Entry, entry)
			is = is && (below == "" || below[0] == '/' && (cmd.Depth < 0 || cmd.Depth == 1 && strings.Count(below, "/") == 1))
			if is && !taken[a.Entry] {
				taken[a.Entry] = true
				found = append(found, a)
			}
		}
		if len(found) == at && strings.Count(entry, "/") > 1 && !taken[entry] {
			taken[entry] = true
			found = append(found, store.Annotation{Entry: entry})
		}
	}
	return found
}

// writeMetadata writes the METADATA response of those annotations that are not
// larger than limit (-1: none), and returns the size of the largest of the others.
func (c *conn) writeMetadata(name string, list []store.Annotation, limit int64) (longest int) {
	opened := false
	for _, a := range list {
		if limit >= 0 && int64(len(a.Value)) > limit {
			longest = max(longest, len(a.Value))
			continue
		}
		if !opened {
			opened = true
			c.out.Text("* METADATA ")
			c.out.b = imapwire.AppendMailbox(c.out.b, name, c.utf8())
			c.out.Text(" (")
		} else {
			c.out.Text(" ")
		}
		c.out.b = imapwire.AppendAString(c.out.b, a.Entry)
		c.out.Text(" ")
		c.out.b = appendValue(c.out.b, a.Value)
	}
	if opened {
		c.out.Line(")")
	}
	return longest
}

// appendValue appends the value of an annotation: NIL, a string, or where it
// holds NUL a literal8 (RFC 5464 §5).
func appendValue(b, value []byte) []byte {
	switch text := string(value); {
	case value == nil:
		return append(b, "NIL"...)
	case strings.Contains(text, "\x00"):
		return append(imapwire.AppendLiteral(append(b, '~'), int64(len(value))), value...)
	default:
		return imapwire.AppendString(b, text, false)
	}
}
