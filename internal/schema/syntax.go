package schema

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"expost/internal/ldap"
)

// Syntax says what values look like (RFC 4517 §3.3).
type Syntax struct {
	OID  string
	Name string

	valid func(v []byte) bool
}

// Valid tells whether v is a value of the syntax.
func (x *Syntax) Valid(v []byte) bool { return x.valid(v) }

// maxIntegerDigits bounds the work that one integer can make.
const maxIntegerDigits = 128

// addSyntaxes defines the syntaxes.
func (s *Schema) addSyntaxes() {
	const rfc4517 = "1.3.6.1.4.1.1466.115.121.1."
	for _, x := range []*Syntax{
		{rfc4517 + "3", "Attribute Type Description", isText},
		{rfc4517 + "4", "Audio", anything},
		{rfc4517 + "5", "Binary", anything},
		{rfc4517 + "6", "Bit String", isBitString},
		{rfc4517 + "7", "Boolean", isBoolean},
		{rfc4517 + "8", "Certificate", isDER},
		{rfc4517 + "9", "Certificate List", isDER},
		{rfc4517 + "10", "Certificate Pair", isDER},
		{rfc4517 + "11", "Country String", isCountry},
		{rfc4517 + "12", "Distinguished Name", s.isDN},
		{rfc4517 + "14", "Delivery Method", isText},
		{rfc4517 + "15", "Directory String", isText},
		{rfc4517 + "21", "Enhanced Guide", isText},
		{rfc4517 + "22", "Facsimile Telephone Number", isPrintable},
		{rfc4517 + "23", "Fax", anything},
		{rfc4517 + "24", "Generalized Time", isTime},
		{rfc4517 + "25", "Guide", isText},
		{rfc4517 + "26", "IA5 String", isIA5},
		{rfc4517 + "27", "Integer", isInteger},
		{rfc4517 + "28", "JPEG", anything},
		{rfc4517 + "30", "Matching Rule Description", isText},
		{rfc4517 + "31", "Matching Rule Use Description", isText},
		{rfc4517 + "34", "Name And Optional UID", s.isUniqueMember},
		{rfc4517 + "36", "Numeric String", isNumeric},
		{rfc4517 + "37", "Object Class Description", isText},
		{rfc4517 + "38", "OID", func(v []byte) bool { return isOID(string(v)) }},
		{rfc4517 + "39", "Other Mailbox", isIA5},
		{rfc4517 + "40", "Octet String", anything},
		{rfc4517 + "41", "Postal Address", isText},
		{rfc4517 + "44", "Printable String", isPrintable},
		{rfc4517 + "45", "Subtree Specification", isText},
		{rfc4517 + "49", "Supported Algorithm", isDER},
		{rfc4517 + "50", "Telephone Number", isPrintable},
		{rfc4517 + "51", "Teletex Terminal Identifier", isText},
		{rfc4517 + "52", "Telex Number", isPrintable},
		{rfc4517 + "53", "UTC Time", isPrintable},
		{rfc4517 + "54", "LDAP Syntax Description", isText},
		{"1.3.6.1.1.16.1", "UUID", isUUID},
		{"1.3.6.1.1.1.0.0", "NIS Netgroup Triple", isIA5},
		{"1.3.6.1.1.1.0.1", "Boot Parameter", isIA5},
		{"1.3.6.1.4.1.4203.666.11.2.1", "CSN", isPrintableOrHash},
	} {
		s.syntaxList = append(s.syntaxList, x)
		s.syntaxes[x.OID] = x
	}
}

// syntax returns the syntax of an OID. One that nobody knows takes any value:
// files of other servers name their own.
func (s *Schema) syntax(oid string) *Syntax {
	x := s.syntaxes[oid]
	if x == nil {
		x = &Syntax{OID: oid, Name: oid, valid: anything}
		s.syntaxes[oid] = x
		s.syntaxList = append(s.syntaxList, x)
	}
	return x
}

func anything([]byte) bool { return true }

// isText takes UTF-8 that is not empty (RFC 4517 §3.3.6).
func isText(v []byte) bool { return len(v) > 0 && utf8.Valid(v) }

func isIA5(v []byte) bool {
	for _, c := range v {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isPrintable takes the characters of PrintableString (RFC 4517 §3.2), at
// least one of them not a space.
func isPrintable(v []byte) bool {
	for _, c := range v {
		if !isAlphanumeric(c) && strings.IndexByte("'()+,-.=/:? ", c) < 0 {
			return false
		}
	}
	return len(bytes.TrimSpace(v)) > 0
}

func isPrintableOrHash(v []byte) bool {
	return isPrintable(bytes.ReplaceAll(v, []byte("#"), []byte("-")))
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isNumeric(v []byte) bool {
	for _, c := range v {
		if (c < '0' || c > '9') && c != ' ' {
			return false
		}
	}
	return len(v) > 0
}

func isInteger(v []byte) bool {
	digits := bytes.TrimPrefix(v, []byte("-"))
	if len(digits) == 0 || len(digits) > maxIntegerDigits || len(v) > 1 && digits[0] == '0' {
		return false
	}
	return isNumeric(digits) && bytes.IndexByte(digits, ' ') < 0
}

func isBoolean(v []byte) bool {
	return bytes.EqualFold(v, []byte("TRUE")) || bytes.EqualFold(v, []byte("FALSE"))
}

// isBitString takes "'0101'B".
func isBitString(v []byte) bool {
	bits, ok := bytes.CutSuffix(v, []byte("'B"))
	return ok && len(bits) > 0 && bits[0] == '\'' && len(bytes.Trim(bits[1:], "01")) == 0
}

// isCountry takes two letters of ISO 3166.
func isCountry(v []byte) bool {
	return len(v) == 2 && isAlphanumeric(v[0]) && isAlphanumeric(v[1]) && v[0] > '9' && v[1] > '9'
}

// isDER takes a SEQUENCE that fills the value.
func isDER(v []byte) bool { return len(v) > 2 && v[0] == 0x30 }

func isTime(v []byte) bool {
	_, ok := ParseTime(string(v))
	return ok
}

// isDN takes a DN whose attribute types are known.
func (s *Schema) isDN(v []byte) bool {
	dn, err := ldap.ParseDN(string(v))
	if err != nil {
		return false
	}
	for _, rdn := range dn {
		for _, ava := range rdn {
			if s.Attribute(ava.Type) == nil {
				return false
			}
		}
	}
	return true
}

func (s *Schema) isUniqueMember(v []byte) bool {
	if i := bytes.LastIndex(v, []byte("#'")); i >= 0 && isBitString(v[i+1:]) {
		v = v[:i]
	}
	return s.isDN(v)
}

// isOID takes a numeric OID or a name (RFC 4512 §1.4).
func isOID(v string) bool {
	if v == "" || v[0] == '.' || v[len(v)-1] == '.' || strings.Contains(v, "..") {
		return false
	}
	numericForm := v[0] >= '0' && v[0] <= '9'
	for i := range len(v) {
		c := v[i]
		switch {
		case c == '.' || c >= '0' && c <= '9':
		case numericForm || !isAlphanumeric(c) && c != '-':
			return false
		}
	}
	return true
}

// isUUID takes the form of RFC 4122 §3.
func isUUID(v []byte) bool {
	if len(v) != 36 {
		return false
	}
	for i, c := range v {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
	}
	return true
}
