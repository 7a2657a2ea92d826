package ldapwire

import (
	"math"

	"expost/internal/ldap"
)

// Names of controls.
const (
	OIDManageDsaIT   = "2.16.840.1.113730.3.4.2"  // RFC 3296
	OIDVLVRequest    = "2.16.840.1.113730.3.4.9"  // draft-ietf-ldapext-ldapv3-vlv
	OIDVLVResponse   = "2.16.840.1.113730.3.4.10" //
	OIDProxiedAuth   = "2.16.840.1.113730.3.4.18" // RFC 4370
	OIDPaged         = "1.2.840.113556.1.4.319"   // RFC 2696
	OIDSortRequest   = "1.2.840.113556.1.4.473"   // RFC 2891
	OIDSortResponse  = "1.2.840.113556.1.4.474"   //
	OIDMatchedValues = "1.2.826.0.1.3344810.2.3"  // RFC 3876
	OIDSubentries    = "1.3.6.1.4.1.4203.1.10.1"  // RFC 3672
	OIDAssertion     = "1.3.6.1.1.12"             // RFC 4528
	OIDPreRead       = "1.3.6.1.1.13.1"           // RFC 4527
	OIDPostRead      = "1.3.6.1.1.13.2"           //
)

// PagedControl is the value of the paged results control of a request and of
// an answer (RFC 2696 §2).
type PagedControl struct {
	Size   int // of a request: entries wanted; of an answer: how many there are, 0 if not known
	Cookie []byte
}

// SortKey is a key of the sort request control (RFC 2891 §1.1).
type SortKey struct {
	Attr    string
	Rule    string // empty where absent
	Reverse bool
}

// SortResult is the value of the sort response control (RFC 2891 §1.2).
type SortResult struct {
	Code ldap.ResultCode
	Attr string // which key was wrong; empty where absent
}

// VLVRequest is the value of the virtual list view request control.
type VLVRequest struct {
	Before, After int
	ByValue       bool
	Offset, Count int    // unless ByValue
	Value         []byte // with ByValue
}

// VLVResponse is the value of the virtual list view response control.
type VLVResponse struct {
	Target, Count int
	Code          ldap.ResultCode
}

// PasswordModify is the value of the Password Modify request (RFC 3062 §2); nil
// where absent.
type PasswordModify struct{ User, Old, New []byte }

// Context tags within the values of controls and extended requests.
const (
	tagSortRule    = classContext
	tagSortReverse = classContext | 1
	tagSortAttr    = classContext
	tagVLVOffset   = classContext | constructed
	tagVLVValue    = classContext | 1
	tagUser        = classContext
	tagOldPassword = classContext | 1
	tagNewPassword = classContext | 2
	tagGenPassword = classContext
)

// decodeValue reads the one element that a control's value is. Its errors are
// *ldap.Error of ProtocolError, or what refuses the value.
func decodeValue[T any](value []byte, what string, read func(d *decoder) T) (T, error) {
	d := &decoder{b: value, end: len(value)}
	v := read(d)
	if d.syntax == nil && d.pos != d.end {
		d.fail("text behind the value")
	}
	var none T
	switch {
	case d.syntax != nil:
		return none, ldap.Errorf(ldap.ProtocolError, "%s: %v", what, d.syntax)
	case d.refused != nil:
		return none, d.refused
	}
	return v, nil
}

// DecodePaged reads the value of a paged results control.
func DecodePaged(value []byte) (PagedControl, error) {
	return decodeValue(value, "paged results control", func(d *decoder) PagedControl {
		outer := d.enter(tagSequence)
		p := PagedControl{Size: int(d.integer(tagInteger, 0, math.MaxInt32)), Cookie: d.content(tagOctetString)}
		d.leave(outer)
		return p
	})
}

// Control returns the control with p as its value.
func (p PagedControl) Control() Control {
	b, mark := begin(nil, tagSequence)
	b = appendInteger(b, tagInteger, int64(p.Size))
	b = appendBytes(b, tagOctetString, p.Cookie)
	return Control{OID: OIDPaged, Value: end(b, mark)}
}

// maxSortKeys bounds the keys of a sort control.
const maxSortKeys = 16

// DecodeSort reads the value of a sort request control.
func DecodeSort(value []byte) ([]SortKey, error) {
	return decodeValue(value, "server-side sort control", func(d *decoder) []SortKey {
		outer := d.enter(tagSequence)
		var keys []SortKey
		for d.more() {
			one := d.enter(tagSequence)
			k := SortKey{Attr: d.string(tagOctetString)}
			k.Rule = string(d.optional(tagSortRule))
			if d.peek() == tagSortReverse {
				k.Reverse = d.boolean(tagSortReverse)
			}
			d.leave(one)
			if keys = append(keys, k); len(keys) > maxSortKeys {
				d.fail("more than %d sort keys", maxSortKeys)
			}
		}
		d.leave(outer)
		if len(keys) == 0 {
			d.fail("no sort key")
		}
		return keys
	})
}

// Control returns the control with r as its value.
func (r SortResult) Control() Control {
	b, mark := begin(nil, tagSequence)
	b = appendInteger(b, tagEnumerated, int64(r.Code))
	if r.Attr != "" {
		b = appendBytes(b, tagSortAttr, r.Attr)
	}
	return Control{OID: OIDSortResponse, Value: end(b, mark)}
}

// DecodeVLV reads the value of a virtual list view request control. The
// contextID is for servers that keep something for a client, and not read.
func DecodeVLV(value []byte) (VLVRequest, error) {
	return decodeValue(value, "virtual list view control", func(d *decoder) VLVRequest {
		outer := d.enter(tagSequence)
		v := VLVRequest{Before: int(d.integer(tagInteger, 0, math.MaxInt32)), After: int(d.integer(tagInteger, 0, math.MaxInt32))}
		if d.peek() == tagVLVValue {
			v.ByValue, v.Value = true, d.content(tagVLVValue)
		} else {
			target := d.enter(tagVLVOffset)
			v.Offset = int(d.integer(tagInteger, 0, math.MaxInt32))
			v.Count = int(d.integer(tagInteger, 0, math.MaxInt32))
			d.leave(target)
		}
		d.leave(outer)
		return v
	})
}

// Control returns the control with v as its value.
func (v VLVResponse) Control() Control {
	b, mark := begin(nil, tagSequence)
	b = appendInteger(b, tagInteger, int64(v.Target))
	b = appendInteger(b, tagInteger, int64(v.Count))
	b = appendInteger(b, tagEnumerated, int64(v.Code))
	return Control{OID: OIDVLVResponse, Value: end(b, mark)}
}

// DecodeFilter reads the value of an assertion control (RFC 4528 §3).
func DecodeFilter(value []byte) (*ldap.Filter, error) {
	return decodeValue(value, "assertion control", (*decoder).filter)
}

// DecodeValuesFilter reads the value of a matched values control (RFC 3876 §2).
func DecodeValuesFilter(value []byte) ([]*ldap.Filter, error) {
	return decodeValue(value, "matched values control", func(d *decoder) []*ldap.Filter {
		outer := d.enter(tagSequence)
		var list []*ldap.Filter
		for d.more() && d.refused == nil {
			f := d.filter()
			if f == nil {
				break
			}
			if f.Op <= ldap.FilterNot || f.DNAttributes {
				d.fail("a filter that is not about values")
			}
			list = append(list, f)
		}
		d.leave(outer)
		return list
	})
}

// DecodeAttributes reads the value of a pre-read or post-read control (RFC 4527
// §3). It is never nil.
func DecodeAttributes(value []byte) ([]string, error) {
	return decodeValue(value, "read entry control", func(d *decoder) []string {
		outer := d.enter(tagSequence)
		names := make([]string, 0, d.count())
		for d.more() {
			names = append(names, d.string(tagOctetString))
		}
		d.leave(outer)
		return names
	})
}

// EntryControl returns the pre-read or post-read response control.
func EntryControl(oid string, e *ldap.Entry) Control {
	b, mark := begin(nil, tagSequence)
	b = appendDN(b, tagOctetString, e.DN)
	b = appendAttributes(b, e.Attributes, false)
	return Control{OID: oid, Value: end(b, mark)}
}

// DecodeSubentries reads the value of a subentries control (RFC 3672 §3).
func DecodeSubentries(value []byte) (bool, error) {
	return decodeValue(value, "subentries control", func(d *decoder) bool { return d.boolean(tagBoolean) })
}

// SubentriesControl returns the subentries control (RFC 3672 §3).
func SubentriesControl(only bool) Control {
	value := []byte{byte(tagBoolean), 1, 0}
	if only {
		value[2] = 0xff
	}
	return Control{OID: OIDSubentries, Critical: true, Value: value}
}

// DecodeCancel reads the value of a Cancel request (RFC 3909 §2.1).
func DecodeCancel(value []byte) (int32, error) {
	return decodeValue(value, "cancel", func(d *decoder) int32 {
		outer := d.enter(tagSequence)
		id := int32(d.integer(tagInteger, 0, math.MaxInt32))
		d.leave(outer)
		return id
	})
}

// DecodePasswordModify reads the value of a Password Modify request.
func DecodePasswordModify(value []byte) (PasswordModify, error) {
	return decodeValue(value, "password modify", func(d *decoder) PasswordModify {
		if len(value) == 0 {
			return PasswordModify{}
		}
		outer := d.enter(tagSequence)
		p := PasswordModify{User: d.optional(tagUser), Old: d.optional(tagOldPassword), New: d.optional(tagNewPassword)}
		d.leave(outer)
		return p
	})
}

// GeneratedPassword returns the value of a Password Modify response.
func GeneratedPassword(password string) []byte {
	b, mark := begin(nil, tagSequence)
	return end(appendBytes(b, tagGenPassword, password), mark)
}
