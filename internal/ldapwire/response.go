package ldapwire

import (
	"math"
	"slices"

	"expost/internal/ldap"
)

// Result is an LDAPResult (RFC 4511 §4.1.9). Matched is not parsed, so that a
// peer's answer can be shown as it came.
type Result struct {
	Code     ldap.ResultCode
	Matched  string
	Text     string
	Referral []string // URLs
}

// Response is the answer of an operation that has nothing but a result: Of is
// TagSearchDone, TagModifyResponse, TagAddResponse, TagDeleteResponse,
// TagModifyDNResponse or TagCompareResponse.
type Response struct {
	Of Tag
	Result
}

// BindResponse answers a bind (RFC 4511 §4.2.2).
type BindResponse struct {
	Result
	Credentials []byte // of SASL; nil where absent
}

// SearchEntry is one entry of a search's answer (RFC 4511 §4.5.2).
type SearchEntry struct {
	DN         string
	Attributes []ldap.Attribute
}

// SearchReference is a continuation reference (RFC 4511 §4.5.3).
type SearchReference struct{ URLs []string }

// ExtendedResponse answers an extended operation, or is a notice that nobody
// asked for, with the message ID 0 (RFC 4511 §4.12, §4.4).
type ExtendedResponse struct {
	Result
	Name  string
	Value []byte // nil where absent
}

// IntermediateResponse is a part of an answer (RFC 4511 §4.13).
type IntermediateResponse struct {
	Name  string
	Value []byte // nil where absent
}

// Context tags within responses.
const (
	tagReferral          = classContext | constructed | 3
	tagSASLCredentials   = classContext | 7
	tagResponseName      = classContext | 10
	tagResponseValue     = classContext | 11
	tagIntermediateName  = classContext
	tagIntermediateValue = classContext | 1
)

// Tag returns the operation's identifier octet.
func (r *Response) Tag() Tag { return r.Of }

// Tag returns the operation's identifier octet.
func (*BindResponse) Tag() Tag { return TagBindResponse }

// Tag returns the operation's identifier octet.
func (*SearchEntry) Tag() Tag { return TagSearchEntry }

// Tag returns the operation's identifier octet.
func (*SearchReference) Tag() Tag { return TagSearchReference }

// Tag returns the operation's identifier octet.
func (*ExtendedResponse) Tag() Tag { return TagExtendedResponse }

// Tag returns the operation's identifier octet.
func (*IntermediateResponse) Tag() Tag { return TagIntermediate }

// NoticeOfDisconnection returns the message that tells a client why the
// connection ends (RFC 4511 §4.4.1).
func NoticeOfDisconnection(code ldap.ResultCode, text string) *Message {
	return &Message{Op: &ExtendedResponse{Result: Result{Code: code, Text: text}, Name: OIDNoticeOfDisconnection}}
}

// response reads the content of the response that the tag announces.
func (d *decoder) response(tag Tag) Op {
	switch tag {
	case TagSearchDone, TagModifyResponse, TagAddResponse, TagDeleteResponse, TagModifyDNResponse, TagCompareResponse:
		return &Response{Of: tag, Result: d.result()}
	case TagBindResponse:
		r := &BindResponse{Result: d.result()}
		r.Credentials = d.optional(tagSASLCredentials)
		return r
	case TagSearchEntry:
		return &SearchEntry{DN: d.string(tagOctetString), Attributes: d.attributes()}
	case TagSearchReference:
		return &SearchReference{URLs: d.urls()}
	case TagExtendedResponse:
		r := &ExtendedResponse{Result: d.result()}
		r.Name = string(d.optional(tagResponseName))
		r.Value = d.optional(tagResponseValue)
		return r
	case TagIntermediate:
		r := &IntermediateResponse{Name: string(d.optional(tagIntermediateName))}
		r.Value = d.optional(tagIntermediateValue)
		return r
	}
	d.fail("the operation %#02x, which LDAP does not have", byte(tag))
	return nil
}

// optional returns the content of the next element if it has this tag, else nil.
func (d *decoder) optional(tag byte) []byte {
	if d.peek() != tag {
		return nil
	}
	return d.content(tag)
}

func (d *decoder) result() Result {
	r := Result{
		Code:    ldap.ResultCode(d.integer(tagEnumerated, 0, math.MaxInt32)),
		Matched: d.string(tagOctetString),
		Text:    d.string(tagOctetString),
	}
	if d.peek() == tagReferral {
		outer := d.enter(tagReferral)
		r.Referral = d.urls()
		d.leave(outer)
	}
	return r
}

// urls reads the rest of the present element as URLs.
func (d *decoder) urls() []string {
	urls := slices.Grow([]string(nil), d.count()) // nil where there is none
	for d.more() {
		urls = append(urls, d.string(tagOctetString))
	}
	return urls
}

func (r *Result) appendContent(b []byte) []byte {
	b = appendInteger(b, tagEnumerated, int64(r.Code))
	b = appendBytes(b, tagOctetString, r.Matched)
	b = appendBytes(b, tagOctetString, r.Text)
	if len(r.Referral) > 0 {
		var mark int
		b, mark = begin(b, tagReferral)
		b = end(appendURLs(b, r.Referral), mark)
	}
	return b
}

func (r *BindResponse) appendContent(b []byte) []byte {
	b = r.Result.appendContent(b)
	if r.Credentials != nil {
		b = appendBytes(b, tagSASLCredentials, r.Credentials)
	}
	return b
}

func (r *SearchEntry) appendContent(b []byte) []byte {
	return appendAttributes(appendBytes(b, tagOctetString, r.DN), r.Attributes, false)
}

func (r *SearchReference) appendContent(b []byte) []byte { return appendURLs(b, r.URLs) }

func (r *ExtendedResponse) appendContent(b []byte) []byte {
	b = r.Result.appendContent(b)
	if r.Name != "" {
		b = appendBytes(b, tagResponseName, r.Name)
	}
	if r.Value != nil {
		b = appendBytes(b, tagResponseValue, r.Value)
	}
	return b
}

func (r *IntermediateResponse) appendContent(b []byte) []byte {
	if r.Name != "" {
		b = appendBytes(b, tagIntermediateName, r.Name)
	}
	if r.Value != nil {
		b = appendBytes(b, tagIntermediateValue, r.Value)
	}
	return b
}

func appendURLs(b []byte, urls []string) []byte {
	for _, u := range urls {
		b = appendBytes(b, tagOctetString, u)
	}
	return b
}

// AppendEntry appends the message that carries one entry of a search's answer,
// straight from the directory's entry, without values if typesOnly (what is
// encoded already has none then).
func AppendEntry(b []byte, id int32, e *ldap.Entry, typesOnly bool, controls []Control) []byte {
	b, message := begin(b, tagSequence)
	b = appendInteger(b, tagInteger, int64(id))
	b, entry := begin(b, byte(TagSearchEntry))
	b = appendDN(b, tagOctetString, e.DN)
	if e.Encoded != nil {
		b = append(appendHeader(b, tagSequence, len(e.Encoded)), e.Encoded...)
	} else {
		b = appendAttributes(b, e.Attributes, typesOnly)
	}
	return end(appendControls(end(b, entry), controls), message)
}
