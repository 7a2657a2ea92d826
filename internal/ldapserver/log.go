package ldapserver

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"expost/internal/ldapwire"
)

// logOperation writes one line about an operation that has ended. Passwords
// and values are never part of it.
func (c *conn) logOperation(ctx context.Context, o *operation, answer ldapwire.Op, took time.Duration) {
	if !c.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := append(describe(o.m.Op), slog.Int("op", int(o.m.ID)))
	if r, ok := resultIn(answer); ok {
		attrs = append(attrs, slog.Int("result", int(r.Code)))
		if r.Text != "" {
			attrs = append(attrs, slog.String("text", r.Text))
		}
	}
	attrs = append(attrs, slog.Int("entries", o.entries), slog.Duration("etime", took))
	if o.abandoned.Load() {
		attrs = append(attrs, slog.Bool("abandoned", true))
	}
	c.log.LogAttrs(ctx, slog.LevelDebug, "operation", attrs...)
}

// traceOperation shows an operation to whoever watches the account that is bound.
func (c *conn) traceOperation(o *operation, answer ldapwire.Op) {
	c.traced.Say("C:", func() string {
		var b strings.Builder
		fmt.Fprintf(&b, "%d", o.m.ID)
		for _, a := range describe(o.m.Op) {
			value := a.Value.String()
			if a.Key == "filter" && strings.Contains(strings.ToLower(value), "password") {
				value = "<not shown>"
			}
			fmt.Fprintf(&b, " %s=%q", a.Key, value)
		}
		return b.String()
	})
	c.traced.Say("S:", func() string {
		text := fmt.Sprintf("%d entries=%d", o.m.ID, o.entries)
		if r, ok := resultIn(answer); ok {
			text += fmt.Sprintf(" result=%d %s", r.Code, r.Text)
		}
		return text
	})
}

// resultIn returns the LDAPResult of an answer.
func resultIn(answer ldapwire.Op) (ldapwire.Result, bool) {
	switch a := answer.(type) {
	case *ldapwire.BindResponse:
		return a.Result, true
	case *ldapwire.ExtendedResponse:
		return a.Result, true
	case *ldapwire.Response:
		return a.Result, true
	}
	return ldapwire.Result{}, false
}

// describe returns what the log says of a request.
func describe(op ldapwire.Op) []slog.Attr {
	switch r := op.(type) {
	case *ldapwire.BindRequest:
		return []slog.Attr{slog.String("request", "bind"), slog.String("name", r.Name), slog.Int("version", r.Version), slog.String("mechanism", r.Mechanism)}
	case *ldapwire.SearchRequest:
		return []slog.Attr{slog.String("request", "search"), slog.String("base", r.Base.String()), slog.Int("scope", int(r.Scope)),
			slog.String("filter", r.Filter.String()), slog.Any("attributes", r.Attributes),
			slog.Int("sizelimit", r.SizeLimit), slog.Int("timelimit", r.TimeLimit)}
	case *ldapwire.CompareRequest:
		return []slog.Attr{slog.String("request", "compare"), slog.String("dn", r.DN.String()), slog.String("attribute", r.Attr)}
	case *ldapwire.AddRequest:
		return []slog.Attr{slog.String("request", "add"), slog.String("dn", r.DN.String())}
	case *ldapwire.ModifyRequest:
		return []slog.Attr{slog.String("request", "modify"), slog.String("dn", r.DN.String()), slog.Int("changes", len(r.Changes))}
	case *ldapwire.DeleteRequest:
		return []slog.Attr{slog.String("request", "delete"), slog.String("dn", r.DN.String())}
	case *ldapwire.ModifyDNRequest:
		return []slog.Attr{slog.String("request", "modifydn"), slog.String("dn", r.DN.String()),
			slog.String("newrdn", r.NewRDN.String()), slog.String("newsuperior", r.NewSuperior.String())}
	case *ldapwire.ExtendedRequest:
		return []slog.Attr{slog.String("request", "extended"), slog.String("name", r.Name)}
	}
	return nil
}
