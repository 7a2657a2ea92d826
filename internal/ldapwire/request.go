package ldapwire

import (
	"errors"
	"math"

	"expost/internal/ldap"
)

// BindRequest is a bind (RFC 4511 §4.2). Name is not parsed, since clients
// send logins that are no DN.
type BindRequest struct {
	Version     int
	Name        string
	Auth        AuthChoice
	Password    []byte // AuthSimple
	Mechanism   string // AuthSASL
	Credentials []byte // AuthSASL: nil where absent; AuthOther: what came
}

// AuthChoice is the way of a bind.
type AuthChoice uint8

// The ways of a bind; AuthOther is one that RFC 4511 does not have, such as
// the NTLM of old Outlooks.
const (
	AuthSimple AuthChoice = iota
	AuthSASL
	AuthOther
)

// Context tags of AuthenticationChoice; tagOtherAuth is the one that AuthOther
// is written with.
const (
	tagSimple    = classContext
	tagSASL      = classContext | constructed | 3
	tagOtherAuth = classContext | 9
)

// UnbindRequest ends the session (RFC 4511 §4.3).
type UnbindRequest struct{}

// SearchRequest is a search (RFC 4511 §4.5.1).
type SearchRequest struct{ ldap.SearchRequest }

// ModifyRequest changes an entry (RFC 4511 §4.6).
type ModifyRequest struct {
	DN      ldap.DN
	Changes []ldap.Change
}

// AddRequest adds an entry (RFC 4511 §4.7).
type AddRequest struct{ ldap.Entry }

// DeleteRequest removes an entry (RFC 4511 §4.8).
type DeleteRequest struct{ DN ldap.DN }

// ModifyDNRequest renames or moves an entry (RFC 4511 §4.9).
type ModifyDNRequest struct {
	DN           ldap.DN
	NewRDN       ldap.RDN
	DeleteOldRDN bool
	NewSuperior  ldap.DN // nil where absent
}

// CompareRequest asks whether an entry has a value (RFC 4511 §4.10).
type CompareRequest struct {
	DN    ldap.DN
	Attr  string
	Value []byte
}

// AbandonRequest asks to give up a request (RFC 4511 §4.11).
type AbandonRequest struct{ ID int32 }

// ExtendedRequest is an extended operation (RFC 4511 §4.12).
type ExtendedRequest struct {
	Name  string
	Value []byte // nil where absent
}

// Context tags of extended operations and of a new superior.
const (
	tagRequestName  = classContext
	tagRequestValue = classContext | 1
	tagNewSuperior  = classContext
)

// Tag returns the operation's identifier octet.
func (*BindRequest) Tag() Tag { return TagBindRequest }

// Tag returns the operation's identifier octet.
func (*UnbindRequest) Tag() Tag { return TagUnbindRequest }

// Tag returns the operation's identifier octet.
func (*SearchRequest) Tag() Tag { return TagSearchRequest }

// Tag returns the operation's identifier octet.
func (*ModifyRequest) Tag() Tag { return TagModifyRequest }

// Tag returns the operation's identifier octet.
func (*AddRequest) Tag() Tag { return TagAddRequest }

// Tag returns the operation's identifier octet.
func (*DeleteRequest) Tag() Tag { return TagDeleteRequest }

// Tag returns the operation's identifier octet.
func (*ModifyDNRequest) Tag() Tag { return TagModifyDNRequest }

// Tag returns the operation's identifier octet.
func (*CompareRequest) Tag() Tag { return TagCompareRequest }

// Tag returns the operation's identifier octet.
func (*AbandonRequest) Tag() Tag { return TagAbandonRequest }

// Tag returns the operation's identifier octet.
func (*ExtendedRequest) Tag() Tag { return TagExtendedRequest }

// parseDN reads a DN; one that is wrong refuses the request.
func (d *decoder) parseDN(text string) ldap.DN {
	dn, err := ldap.ParseDN(text)
	if wrong, ok := errors.AsType[*ldap.Error](err); ok {
		d.refuse(wrong)
	}
	return dn
}

func (d *decoder) dn() ldap.DN { return d.parseDN(d.string(tagOctetString)) }

func (d *decoder) bindRequest() *BindRequest {
	r := &BindRequest{
		Version: int(d.integer(tagInteger, 1, 127)),
		Name:    d.string(tagOctetString),
	}
	switch d.peek() {
	case 0:
		d.fail("a bind without a way")
	case tagSimple:
		r.Password = d.content(tagSimple)
	case tagSASL:
		r.Auth = AuthSASL
		outer := d.enter(tagSASL)
		r.Mechanism = d.string(tagOctetString)
		if d.peek() == tagOctetString {
			r.Credentials = d.content(tagOctetString)
		}
		d.leave(outer)
	default:
		r.Auth = AuthOther
		r.Credentials = d.content(d.peek())
	}
	return r
}

func (d *decoder) searchRequest() *SearchRequest {
	r := &SearchRequest{}
	r.Base = d.dn()
	r.Scope = ldap.Scope(d.integer(tagEnumerated, 0, math.MaxInt32))
	if r.Scope > ldap.ScopeSub {
		d.refuse(ldap.Errorf(ldap.ProtocolError, "invalid scope"))
	}
	r.Deref = int(d.integer(tagEnumerated, 0, math.MaxInt32))
	if r.Deref > 3 {
		d.refuse(ldap.Errorf(ldap.ProtocolError, "invalid deref"))
	}
	r.SizeLimit = int(d.integer(tagInteger, 0, math.MaxInt32))
	r.TimeLimit = int(d.integer(tagInteger, 0, math.MaxInt32))
	r.TypesOnly = d.boolean(tagBoolean)
	r.Filter = d.filter()
	outer := d.enter(tagSequence)
	if n := d.count(); n > 0 {
		r.Attributes = make([]string, 0, n)
	}
	for d.more() {
		r.Attributes = append(r.Attributes, d.string(tagOctetString))
	}
	d.leave(outer)
	return r
}

func (d *decoder) modifyRequest() *ModifyRequest {
	r := &ModifyRequest{DN: d.dn()}
	outer := d.enter(tagSequence)
	r.Changes = make([]ldap.Change, 0, d.count())
	for d.more() {
		one := d.enter(tagSequence)
		op := ldap.ChangeOp(d.integer(tagEnumerated, 0, math.MaxInt32))
		if op > ldap.ChangeIncrement {
			d.refuse(ldap.Errorf(ldap.ProtocolError, "unrecognized modify operation"))
		}
		r.Changes = append(r.Changes, ldap.Change{Op: op, Attribute: d.attribute()})
		d.leave(one)
	}
	d.leave(outer)
	return r
}

func (d *decoder) modifyDNRequest() *ModifyDNRequest {
	r := &ModifyDNRequest{DN: d.dn()}
	if rdn := d.dn(); len(rdn) == 1 {
		r.NewRDN = rdn[0]
	} else {
		d.refuse(ldap.Errorf(ldap.InvalidDNSyntax, "invalid new RDN"))
	}
	r.DeleteOldRDN = d.boolean(tagBoolean)
	if d.peek() == tagNewSuperior {
		r.NewSuperior = d.parseDN(d.string(tagNewSuperior))
	}
	return r
}

func (d *decoder) compareRequest() *CompareRequest {
	r := &CompareRequest{DN: d.dn()}
	outer := d.enter(tagSequence)
	r.Attr = d.string(tagOctetString)
	r.Value = d.content(tagOctetString)
	d.leave(outer)
	return r
}

func (d *decoder) extendedRequest() *ExtendedRequest {
	r := &ExtendedRequest{Name: d.string(tagRequestName)}
	if d.peek() == tagRequestValue {
		r.Value = d.content(tagRequestValue)
	}
	return r
}

// attributes reads a list of attributes with their values.
func (d *decoder) attributes() []ldap.Attribute {
	outer := d.enter(tagSequence)
	attrs := make([]ldap.Attribute, 0, d.count())
	for d.more() {
		attrs = append(attrs, d.attribute())
	}
	d.leave(outer)
	return attrs
}

// attribute reads a description and a set of values, which may be empty.
func (d *decoder) attribute() ldap.Attribute {
	outer := d.enter(tagSequence)
	a := ldap.Attribute{Desc: d.string(tagOctetString)}
	values := d.enter(tagSet)
	if n := d.count(); n > 0 {
		a.Values = make([][]byte, 0, n)
	}
	for d.more() {
		a.Values = append(a.Values, d.content(tagOctetString))
	}
	d.leave(values)
	d.leave(outer)
	return a
}

func (r *BindRequest) appendContent(b []byte) []byte {
	b = appendInteger(b, tagInteger, int64(r.Version))
	b = appendBytes(b, tagOctetString, r.Name)
	switch r.Auth {
	case AuthSimple:
		return appendBytes(b, tagSimple, r.Password)
	case AuthOther:
		return appendBytes(b, tagOtherAuth, r.Credentials)
	}
	b, mark := begin(b, tagSASL)
	b = appendBytes(b, tagOctetString, r.Mechanism)
	if r.Credentials != nil {
		b = appendBytes(b, tagOctetString, r.Credentials)
	}
	return end(b, mark)
}

func (*UnbindRequest) appendContent(b []byte) []byte { return b }

func (r *SearchRequest) appendContent(b []byte) []byte {
	b = appendDN(b, tagOctetString, r.Base)
	b = appendInteger(b, tagEnumerated, int64(r.Scope))
	b = appendInteger(b, tagEnumerated, int64(r.Deref))
	b = appendInteger(b, tagInteger, int64(r.SizeLimit))
	b = appendInteger(b, tagInteger, int64(r.TimeLimit))
	b = appendBoolean(b, tagBoolean, r.TypesOnly)
	b = appendFilter(b, r.Filter)
	b, mark := begin(b, tagSequence)
	for _, a := range r.Attributes {
		b = appendBytes(b, tagOctetString, a)
	}
	return end(b, mark)
}

func (r *ModifyRequest) appendContent(b []byte) []byte {
	b = appendDN(b, tagOctetString, r.DN)
	b, all := begin(b, tagSequence)
	for _, c := range r.Changes {
		var one int
		b, one = begin(b, tagSequence)
		b = appendInteger(b, tagEnumerated, int64(c.Op))
		b = appendAttribute(b, &c.Attribute, false)
		b = end(b, one)
	}
	return end(b, all)
}

func (r *AddRequest) appendContent(b []byte) []byte {
	return appendAttributes(appendDN(b, tagOctetString, r.DN), r.Attributes, false)
}

func (r *DeleteRequest) appendContent(b []byte) []byte { return r.DN.Append(b) }

func (r *ModifyDNRequest) appendContent(b []byte) []byte {
	b = appendDN(b, tagOctetString, r.DN)
	b = appendBytes(b, tagOctetString, r.NewRDN.String())
	b = appendBoolean(b, tagBoolean, r.DeleteOldRDN)
	if r.NewSuperior != nil {
		b = appendDN(b, tagNewSuperior, r.NewSuperior)
	}
	return b
}

func (r *CompareRequest) appendContent(b []byte) []byte {
	b = appendDN(b, tagOctetString, r.DN)
	b, mark := begin(b, tagSequence)
	b = appendBytes(b, tagOctetString, r.Attr)
	b = appendBytes(b, tagOctetString, r.Value)
	return end(b, mark)
}

func (r *AbandonRequest) appendContent(b []byte) []byte {
	n := len(b)
	b = appendInteger(b, tagInteger, int64(r.ID))
	return append(b[:n], b[n+2:]...) // the operation's own tag and length stand for these
}

func (r *ExtendedRequest) appendContent(b []byte) []byte {
	b = appendBytes(b, tagRequestName, r.Name)
	if r.Value != nil {
		b = appendBytes(b, tagRequestValue, r.Value)
	}
	return b
}

func appendDN(b []byte, tag byte, dn ldap.DN) []byte {
	b, mark := begin(b, tag)
	return end(dn.Append(b), mark)
}

// appendAttributes appends a list of attributes, without values if typesOnly.
func appendAttributes(b []byte, attrs []ldap.Attribute, typesOnly bool) []byte {
	b, mark := begin(b, tagSequence)
	for i := range attrs {
		b = appendAttribute(b, &attrs[i], typesOnly)
	}
	return end(b, mark)
}

func appendAttribute(b []byte, a *ldap.Attribute, typesOnly bool) []byte {
	b, mark := begin(b, tagSequence)
	b = appendBytes(b, tagOctetString, a.Desc)
	b, values := begin(b, tagSet)
	if !typesOnly {
		for _, v := range a.Values {
			b = appendBytes(b, tagOctetString, v)
		}
	}
	return end(end(b, values), mark)
}
