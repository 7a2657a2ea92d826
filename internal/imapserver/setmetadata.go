package imapserver

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"expost/internal/imapwire"
	"expost/internal/mail"
	"expost/internal/store"
)

// setMetadataCommand is SETMETADATA (RFC 5464 §4.3).
func setMetadataCommand() command {
	return command{name: "SETMETADATA", in: loggedIn, run: func(ctx context.Context, c *conn) (reply, error) {
		cmd := c.dec.SetMetadata(c.utf8())
		if err := c.dec.Err(); err != nil {
			return reply{}, err
		}
		var private, shared []store.Annotation
		for _, e := range cmd.Entries {
			a := store.Annotation{Entry: e.Name, Value: e.Value}
			if len(e.Value) > store.MaxAnnotation {
				return reply{}, no("METADATA MAXSIZE "+strconv.Itoa(store.MaxAnnotation), "an annotation is too large")
			}
			if strings.HasPrefix(e.Name, "/private/") {
				private = append(private, a)
			} else {
				shared = append(shared, a)
			}
		}
		var err error
		if cmd.Mailbox == "" {
			err = c.annotateServer(ctx, private, shared)
		} else {
			err = c.annotate(ctx, cmd.Mailbox, private, shared)
		}
		if errors.Is(err, store.ErrTooManyAnnotations) {
			return reply{}, no("METADATA TOOMANY", mail.PublicText(err))
		}
		if err != nil {
			return reply{}, err
		}
		return ok("", "done"), nil
	}}
}

// annotate sets annotations of a mailbox. What everybody sees is set by those
// who may write there.
func (c *conn) annotate(ctx context.Context, name string, private, shared []store.Annotation) error {
	p, err := c.annotated(ctx, name)
	if err != nil {
		return err
	}
	if len(shared) > 0 && !p.rights.Has(mail.RightWrite) {
		return c.refuseRights(&p)
	}
	return p.account.SetAnnotations(ctx, p.box.ID, append(private, shared...))
}

// annotateServer sets annotations of the server: the private ones at the user's
// account, the shared ones for all.
func (c *conn) annotateServer(ctx context.Context, private, shared []store.Annotation) error {
	if len(shared) > 0 && !c.isAdmin() {
		return no("NOPERM", "annotations of the server are set by its administrators")
	}
	for _, a := range append(slices.Clone(private), shared...) {
		if a.Entry == "/shared/admin" {
			return no("NOPERM", "/shared/admin is set in the configuration")
		}
		if err := c.checkFilter(&a); err != nil {
			return err
		}
	}
	if len(private) > 0 && len(shared) > 0 {
		return no("CANNOT", "private and shared annotations of the server are set one after another")
	}
	if len(shared) > 0 {
		return c.srv.cfg.Store.SetSiteAnnotations(ctx, shared)
	}
	return c.account.SetAnnotations(ctx, 0, private)
}

// isAdmin tells whether the user is one of Config.Admins.
func (c *conn) isAdmin() bool {
	return slices.ContainsFunc(c.srv.cfg.Admins, func(a mail.Address) bool {
		return a.Key() == c.user.Address.Key() || slices.ContainsFunc(c.user.Aliases, func(own mail.Address) bool { return own.Key() == a.Key() })
	})
}

// The places of stored searches (RFC 5466 §3.2).
const (
	privateFilters = "/private/filters/values/"
	sharedFilters  = "/shared/filters/values/"
)

// checkFilter refuses a stored search that is none (RFC 5466 §3.2).
func (c *conn) checkFilter(a *store.Annotation) error {
	name, is := strings.CutPrefix(a.Entry, privateFilters)
	if !is {
		name, is = strings.CutPrefix(a.Entry, sharedFilters)
	}
	if !is || a.Value == nil {
		return nil
	}
	if !imapwire.IsFilterName(name) {
		return bad("the name of a filter is an atom without a slash")
	}
	if _, err := imapwire.ParseSearch(string(a.Value), c.srv.cfg.Limits.Command); err != nil {
		return no("CANNOT", "the filter is no search: "+err.Error())
	}
	return nil
}
