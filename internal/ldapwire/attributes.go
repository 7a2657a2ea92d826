package ldapwire

import "encoding/binary"

// AppendPacked appends a PartialAttribute (RFC 4511 §4.1.7), as ldap.Entry.Encoded
// is made of. Its values stand one behind the other, each behind its length as an
// uvarint; a length that is cut off ends them.
func AppendPacked(b []byte, desc string, values []byte) []byte {
	b, attribute := begin(b, tagSequence)
	b = appendBytes(b, tagOctetString, desc)
	b, set := begin(b, tagSet)
	for len(values) > 0 {
		n, size := uint64(values[0]), 1
		if n >= 0x80 {
			n, size = binary.Uvarint(values)
		}
		if size <= 0 || n > uint64(len(values)-size) {
			break
		}
		if n < 0x80 { // the length has the same form in BER
			b = append(append(b, tagOctetString), values[:1+n]...)
		} else {
			b = appendBytes(b, tagOctetString, values[size:size+int(n)])
		}
		values = values[size+int(n):]
	}
	return end(end(b, set), attribute)
}
