// Package ldap is the vocabulary of the directory: distinguished names (RFC
// 4514), filters (RFC 4515), entries, changes and result codes (RFC 4511). It
// knows no BER, no socket and no storage.
package ldap

import (
	"errors"
	"fmt"
	"strings"
)

// AVA is an attribute type and value of an RDN.
type AVA struct{ Type, Value string }

// RDN is a relative distinguished name: one AVA, or several joined by "+".
type RDN []AVA

// DN is a distinguished name, the entry's own RDN first. The empty DN is the root.
type DN []RDN

// Attribute is an attribute description with options ("userCertificate;binary")
// and its values in their LDAP-specific encoding.
type Attribute struct {
	Desc   string
	Values [][]byte
}

// Entry is an entry as a search returns it. It is read-only once published.
type Entry struct {
	DN         DN
	Attributes []Attribute

	// Encoded, where a SearchRequest allows it and it is not nil, stands for
	// Attributes: the elements of a PartialAttributeList in BER (RFC 4511 §4.5.2).
	Encoded []byte
}

// Attribute returns the attribute of a description, in any case of letters, or
// nil. Aliases and subtypes are the schema's matter.
func (e *Entry) Attribute(desc string) *Attribute {
	for i := range e.Attributes {
		if strings.EqualFold(e.Attributes[i].Desc, desc) {
			return &e.Attributes[i]
		}
	}
	return nil
}

// Value returns the first value of an attribute as text, or "".
func (e *Entry) Value(desc string) string {
	if a := e.Attribute(desc); a != nil && len(a.Values) > 0 {
		return string(a.Values[0])
	}
	return ""
}

// Values returns the values of an attribute as text.
func (e *Entry) Values(desc string) []string {
	a := e.Attribute(desc)
	if a == nil {
		return nil
	}
	values := make([]string, len(a.Values))
	for i, v := range a.Values {
		values[i] = string(v)
	}
	return values
}

// NewAttribute returns an attribute with text values.
func NewAttribute(desc string, values ...string) Attribute {
	a := Attribute{Desc: desc, Values: make([][]byte, len(values))}
	for i, v := range values {
		a.Values[i] = []byte(v)
	}
	return a
}

// Scope of a search (RFC 4511 §4.5.1.2).
type Scope int

// The scopes.
const (
	ScopeBase Scope = iota
	ScopeOne
	ScopeSub
)

// FilterOp is the kind of a filter; the values are the context tags of RFC 4511 §4.5.1.
type FilterOp int

// The kinds of filter.
const (
	FilterAnd FilterOp = iota
	FilterOr
	FilterNot
	FilterEqual
	FilterSubstrings
	FilterGreaterOrEqual
	FilterLessOrEqual
	FilterPresent
	FilterApprox
	FilterExtensible
)

// Filter is a search filter (RFC 4511 §4.5.1.7).
type Filter struct {
	Op           FilterOp
	Subs         []*Filter // And, Or; Not has one
	Attr         string    // attribute description
	Value        []byte    // assertion value
	Initial      []byte    // Substrings: nil where absent
	Any          [][]byte
	Final        []byte
	Rule         string // Extensible: matching rule
	DNAttributes bool   // Extensible
}

// SearchRequest is a search (RFC 4511 §4.5.1).
type SearchRequest struct {
	Base       DN
	Scope      Scope
	Deref      int // 0 never .. 3 always
	SizeLimit  int // entries; 0: none asked
	TimeLimit  int // seconds; 0: none asked
	TypesOnly  bool
	Filter     *Filter
	Attributes []string

	// Transient says, within this program, that who asks keeps no entry for longer
	// than the call that hands it over: the next may be made in its place.
	Transient bool

	// Encode, if not nil, lets entries come with Encoded for their attributes; it
	// needs Transient. It appends one attribute to b; values stand one behind the
	// other, each behind its length as an uvarint.
	Encode func(b []byte, desc string, values []byte) []byte
}

// ChangeOp is what a Change does (RFC 4511 §4.6, RFC 4525).
type ChangeOp int

// The kinds of change.
const (
	ChangeAdd ChangeOp = iota
	ChangeDelete
	ChangeReplace
	ChangeIncrement
)

// Change is one modification of a modify request.
type Change struct {
	Op        ChangeOp
	Attribute Attribute
}

// ResultCode is the code of an LDAPResult (RFC 4511 §4.1.9).
type ResultCode int

// The result codes in use.
const (
	Success                   ResultCode = 0
	OperationsError           ResultCode = 1
	ProtocolError             ResultCode = 2
	TimeLimitExceeded         ResultCode = 3
	SizeLimitExceeded         ResultCode = 4
	CompareFalse              ResultCode = 5
	CompareTrue               ResultCode = 6
	AuthMethodNotSupported    ResultCode = 7
	StrongerAuthRequired      ResultCode = 8
	Referral                  ResultCode = 10
	AdminLimitExceeded        ResultCode = 11
	UnavailableCriticalExt    ResultCode = 12
	ConfidentialityRequired   ResultCode = 13
	SASLBindInProgress        ResultCode = 14
	NoSuchAttribute           ResultCode = 16
	UndefinedAttributeType    ResultCode = 17
	InappropriateMatching     ResultCode = 18
	ConstraintViolation       ResultCode = 19
	AttributeOrValueExists    ResultCode = 20
	InvalidAttributeSyntax    ResultCode = 21
	NoSuchObject              ResultCode = 32
	AliasProblem              ResultCode = 33
	InvalidDNSyntax           ResultCode = 34
	AliasDereferencingProblem ResultCode = 36
	InappropriateAuth         ResultCode = 48
	InvalidCredentials        ResultCode = 49
	InsufficientAccessRights  ResultCode = 50
	Busy                      ResultCode = 51
	Unavailable               ResultCode = 52
	UnwillingToPerform        ResultCode = 53
	LoopDetect                ResultCode = 54
	SortControlMissing        ResultCode = 60 // virtual list view
	OffsetRangeError          ResultCode = 61
	NamingViolation           ResultCode = 64
	ObjectClassViolation      ResultCode = 65
	NotAllowedOnNonLeaf       ResultCode = 66
	NotAllowedOnRDN           ResultCode = 67
	EntryAlreadyExists        ResultCode = 68
	ObjectClassModsProhibited ResultCode = 69
	AffectsMultipleDSAs       ResultCode = 71
	Other                     ResultCode = 80
	Canceled                  ResultCode = 118 // RFC 3909
	NoSuchOperation           ResultCode = 119
	TooLate                   ResultCode = 120
	CannotCancel              ResultCode = 121
	AssertionFailed           ResultCode = 122  // RFC 4528
	AuthorizationDenied       ResultCode = 123  // RFC 4370
	SyncRefreshRequired       ResultCode = 4096 // RFC 4533
)

// Error is a result that is not success.
type Error struct {
	Code    ResultCode
	Matched DN // the nearest entry that exists, with NoSuchObject
	Text    string

	Referral []string // URLs of servers to ask, with Referral
}

// Error returns the text with the code.
func (e *Error) Error() string { return fmt.Sprintf("%s (LDAP result %d)", e.Text, int(e.Code)) }

// CodeOf returns the result code of the first *Error in err's chain, and Other
// where there is none.
func CodeOf(err error) ResultCode {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Other
}

// Errorf returns an *Error with a formatted text.
func Errorf(code ResultCode, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}
