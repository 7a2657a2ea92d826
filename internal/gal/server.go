package gal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"expost/internal/ldap"
	"expost/internal/ldapclient"
	"expost/internal/ldapwire"
)

// ServerOptions say what of a directory server is read.
type ServerOptions struct {
	Base   string       // "": what the server names as its own
	Filter *ldap.Filter // nil: everybody with an address, and groups
	Report Reporter     // nil: nobody listens
}

// capabilityAD marks Active Directory in the root DSE ([MS-ADTS] 3.1.1.3.4.3).
const capabilityAD = "1.2.840.113556.1.4.800"

// oidSDFlags is the control that asks for a part of security descriptors
// ([MS-ADTS] 3.1.1.3.4.1.11).
const oidSDFlags = "1.2.840.113556.1.4.801"

// serverPage is how many entries are asked for at once: Active Directory gives
// no more than 1,000.
const serverPage = 500

// server is a ReadServer under way.
type server struct {
	*reader
	conn  *ldapclient.Conn
	base  ldap.DN
	ad    bool
	later []*ldap.Entry // groups that need further searches
}

// ReadServer reads the address list of a directory server over LDAP: Active
// Directory with Exchange, Exchange 5.5, OpenLDAP. It calls yield with each
// entry; its origin is its DN. Members of large groups, which Active Directory
// gives in ranges, are fetched, and dynamic groups get the members that their
// filter finds now.
func ReadServer(ctx context.Context, conn *ldapclient.Conn, opts ServerOptions, yield func(*Recipient) error) (Source, error) {
	if opts.Report == nil {
		opts.Report = func(Issue) {}
	}
	s := &server{conn: conn, reader: &reader{opts: Options{Report: opts.Report}, yield: yield}}
	s.src.Format = FormatServer
	if err := s.findBase(ctx, opts.Base); err != nil {
		return s.src, err
	}
	req := &ldap.SearchRequest{Base: s.base, Scope: ldap.ScopeSub, Filter: opts.Filter, Attributes: s.attributes()}
	if req.Filter == nil {
		req.Filter = s.everybody()
	}
	var controls []ldapclient.Control
	if s.ad {
		const daclOnly = "\x30\x03\x02\x01\x04"
		controls = append(controls, ldapclient.Control{OID: oidSDFlags, Value: []byte(daclOnly)})
	}
	err := conn.SearchPages(ctx, req, serverPage, controls, func(e *ldap.Entry) error {
		if needsSearch(e) {
			s.later = append(s.later, e)
			return nil
		}
		return s.entry(e)
	})
	if err != nil {
		return s.src, fmt.Errorf("reading the address list below %q after %d entries: %w", s.base, s.src.Recipients, err)
	}
	for _, e := range s.later {
		if err := s.group(ctx, e); err != nil {
			return s.src, err
		}
	}
	if s.src.Recipients == 0 {
		return s.src, fmt.Errorf("nobody with an address is below %q: is the base right, and may this login read it?", s.base)
	}
	return s.src, nil
}

// findBase reads the root DSE, which tells what the server is and, where the
// caller does not, where its entries are.
func (s *server) findBase(ctx context.Context, base string) error {
	var root *ldap.Entry
	_, err := s.conn.Search(ctx, &ldap.SearchRequest{Scope: ldap.ScopeBase, Filter: present("objectClass"), Attributes: []string{"*", "+", "supportedCapabilities", "defaultNamingContext", "namingContexts"}}, nil,
		func(e *ldap.Entry) error { root = e; return nil })
	if err != nil && base == "" {
		return fmt.Errorf("reading what the server is (its root DSE): %w", err)
	}
	if root != nil {
		s.ad = slices.Contains(root.Values("supportedCapabilities"), capabilityAD)
		s.src.Program = "LDAP"
		if s.ad {
			s.src.Program = "Active Directory"
		}
		if base == "" {
			base = root.Value("defaultNamingContext")
		}
		for _, c := range root.Values("namingContexts") {
			if base == "" && !strings.HasPrefix(strings.ToLower(c), "cn=") {
				base = c
			}
		}
	}
	if base == "" {
		return errors.New("the server does not say where its entries are: name the base in the URL, ldap://host/dc=example,dc=org")
	}
	s.base, err = ldap.ParseDN(base)
	return err
}

func present(attr string) *ldap.Filter { return &ldap.Filter{Op: ldap.FilterPresent, Attr: attr} }

// everybody finds whoever has an address, and groups.
func (s *server) everybody() *ldap.Filter {
	any := &ldap.Filter{Op: ldap.FilterOr}
	for _, attr := range []string{"mail", "proxyAddresses", "mailNickname"} {
		any.Subs = append(any.Subs, present(attr))
	}
	if s.ad {
		return any
	}
	for _, attr := range []string{"otherMailbox", "textEncodedORAddress"} { // Exchange 5.5
		any.Subs = append(any.Subs, present(attr))
	}
	for _, class := range []string{"groupOfNames", "groupOfUniqueNames", "inetOrgPerson"} {
		any.Subs = append(any.Subs, &ldap.Filter{Op: ldap.FilterEqual, Attr: "objectClass", Value: []byte(class)})
	}
	return any
}

// attributes returns what is asked for. Of Active Directory, whose entries have
// a hundred attributes of its own, only those that are understood.
func (s *server) attributes() []string {
	if !s.ad {
		return nil
	}
	list := []string{"objectClass", "mail", "proxyAddresses", "targetAddress", "legacyExchangeDN", "msExchHideFromAddressLists", "msExchRecipientTypeDetails",
		"userAccountControl", "member", "manager", "secretary", "thumbnailPhoto", "jpegPhoto", "userCertificate", "userSMIMECertificate", "objectSid", "nTSecurityDescriptor",
		"mDBOverHardQuotaLimit", "mDBUseDefaults", "delivContLength", "deliverAndRedirect", "msExchRequireAuthToSendTo", "msExchDynamicDLFilter", "msExchDynamicDLBaseDN"}
	for name := range attributeFields() {
		list = append(list, name)
	}
	for name := range linkAttributes() {
		list = append(list, name)
	}
	slices.Sort(list)
	return slices.CompactFunc(list, strings.EqualFold)
}

// needsSearch tells a group whose members are not all in its entry.
func needsSearch(e *ldap.Entry) bool {
	if e.Value("msExchDynamicDLFilter") != "" {
		return true
	}
	_, _, _, ok := memberRange(e)
	return ok
}

// memberRange finds "member;range=0-1499" ([MS-ADTS] 3.1.1.3.1.3.3) and returns
// where the next range begins. last is true where it was the last.
func memberRange(e *ldap.Entry) (values [][]byte, next int, last, ok bool) {
	for _, a := range e.Attributes {
		rest, found := strings.CutPrefix(strings.ToLower(a.Desc), "member;range=")
		if !found {
			continue
		}
		_, upper, _ := strings.Cut(rest, "-")
		if upper == "*" {
			return a.Values, 0, true, true
		}
		n, err := strconv.Atoi(upper)
		return a.Values, n + 1, err != nil, true
	}
	return nil, 0, true, false
}

// group completes the members of a group and makes a recipient of it.
func (s *server) group(ctx context.Context, e *ldap.Entry) error {
	full := &ldap.Entry{DN: e.DN, Attributes: slices.Clone(e.Attributes)}
	members, err := s.members(ctx, e)
	if err != nil {
		s.report(e, Error, "member", err.Error(), "the group has the members that were read")
	}
	full.Attributes = append(full.Attributes, ldap.Attribute{Desc: "member", Values: members})
	return s.entry(full)
}

// members fetches the members of a large group, or those of a dynamic one.
func (s *server) members(ctx context.Context, e *ldap.Entry) ([][]byte, error) {
	if text := e.Value("msExchDynamicDLFilter"); text != "" {
		return s.dynamic(ctx, e, text)
	}
	all, next, last, _ := memberRange(e)
	for !last {
		var part *ldap.Entry
		_, err := s.conn.Search(ctx, &ldap.SearchRequest{Base: e.DN, Scope: ldap.ScopeBase, Filter: present("objectClass"), Attributes: []string{fmt.Sprintf("member;range=%d-*", next)}}, nil,
			func(found *ldap.Entry) error { part = found; return nil })
		if err != nil {
			return all, fmt.Errorf("reading members from the %dth on: %w", next+1, err)
		}
		if part == nil {
			return all, fmt.Errorf("the server gave no members from the %dth on", next+1)
		}
		values, following, end, ok := memberRange(part)
		if !ok || !end && following <= next {
			return all, fmt.Errorf("the server gave no members from the %dth on", next+1)
		}
		all, next, last = append(all, values...), following, end
	}
	return all, nil
}

// dynamic finds who is in a dynamic group now.
func (s *server) dynamic(ctx context.Context, e *ldap.Entry, text string) ([][]byte, error) {
	filter, err := ldap.ParseFilter(text)
	if err != nil {
		return nil, fmt.Errorf("the filter of the dynamic group is not understood: %w", err)
	}
	base := s.base
	if dn, err := ldap.ParseDN(e.Value("msExchDynamicDLBaseDN")); err == nil && len(dn) > 0 {
		base = dn
	}
	var members [][]byte
	err = s.conn.SearchPages(ctx, &ldap.SearchRequest{Base: base, Scope: ldap.ScopeSub, Filter: filter, Attributes: []string{"1.1"}}, serverPage, nil, func(found *ldap.Entry) error {
		members = append(members, []byte(found.DN.String()))
		return nil
	})
	if err != nil {
		return members, fmt.Errorf("finding the members of the dynamic group: %w", err)
	}
	s.report(e, Info, "msExchDynamicDLFilter", fmt.Sprintf("%q is a dynamic group, %s", e.Value("cn"), text), fmt.Sprintf("it becomes a group of its %d members of now", len(members)))
	return members, nil
}

// report reports about an entry of the server.
func (s *server) report(e *ldap.Entry, sev Severity, column, what, did string) {
	s.opts.Report(Issue{File: e.DN.String(), Severity: sev, Column: column, What: what, Did: did})
}

// entry makes a recipient of an entry.
func (s *server) entry(e *ldap.Entry) error {
	var list []attribute
	var sd []byte
	if isExchange55(e) && !s.ad {
		s.src.Program = "Exchange 5.5"
		s.reader.opts.File = e.DN.String()
		if r := s.recipient(e.DN.String(), 0, from55(e)); r != nil {
			return s.emit(r)
		}
		return nil
	}
	for _, a := range e.Attributes {
		name, option, _ := strings.Cut(strings.ToLower(a.Desc), ";")
		switch {
		case name == "ntsecuritydescriptor" && len(a.Values) > 0:
			sd = a.Values[0]
			continue
		case strings.HasPrefix(option, "range="), strings.HasPrefix(name, "msexchdynamicdl"):
			continue
		}
		for _, v := range a.Values {
			list = append(list, attribute{name: name, data: v})
		}
	}
	s.reader.opts.File = e.DN.String()
	r := s.recipient(e.DN.String(), 0, list)
	if r == nil {
		return nil
	}
	for _, sid := range sendAs(sd) {
		r.Links = append(r.Links, Link{Kind: LinkSendAs, DN: "sid:" + sid})
	}
	return s.emit(r)
}

// WriteServer brings entries to a directory server over LDAP: those it has not
// are added, of the others what differs is replaced. An entry that the server
// refuses is given to step with its error and does not stop the rest.
func WriteServer(ctx context.Context, conn *ldapclient.Conn, entries []*ldap.Entry, step func(e *ldap.Entry, a Action, err error)) error {
	for _, e := range entries {
		action, err := writeEntry(ctx, conn, e)
		if away, ok := errors.AsType[*ldapclient.NetError](err); ok {
			return fmt.Errorf("writing %q: %w", e.DN, away)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		step(e, action, err)
	}
	return nil
}

// writeEntry adds an entry or changes what differs.
func writeEntry(ctx context.Context, conn *ldapclient.Conn, e *ldap.Entry) (Action, error) {
	err := conn.Add(ctx, e)
	le, ok := errors.AsType[*ldap.Error](err)
	if !ok || le.Code != ldap.EntryAlreadyExists {
		return ActionAdd, err
	}
	var have *ldap.Entry
	_, err = conn.Search(ctx, &ldap.SearchRequest{Base: e.DN, Scope: ldap.ScopeBase, Filter: present("objectClass")}, []ldapwire.Control{}, func(found *ldap.Entry) error {
		have = found
		return nil
	})
	if err != nil {
		return ActionModify, err
	}
	if have == nil {
		return ActionModify, errors.New("the server has an entry of this name and does not show it to this login")
	}
	changes := newImporter(nil, ImportOptions{}).diff(have, e)
	if len(changes) == 0 {
		return ActionUnchanged, nil
	}
	return ActionModify, conn.Modify(ctx, e.DN, changes)
}
