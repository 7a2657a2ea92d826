package message

// transferDecoder undoes a Content-Transfer-Encoding, whatever the input.
type transferDecoder interface {
	// decode writes what it can of src to dst, which has room for at least 4
	// bytes, and returns how much it wrote and took.
	decode(dst, src []byte) (nDst, nSrc int)
	// flush writes what is held at the end of the input, at most 4 bytes.
	flush(dst []byte) int
}

// newTransferDecoder returns the decoder of an encoding in lower case; nil
// where the bytes stand for themselves.
func newTransferDecoder(encoding string) transferDecoder {
	switch encoding {
	case "base64":
		return &base64Decoder{}
	case "quoted-printable":
		return &quotedPrintableDecoder{}
	}
	return nil
}

// base64Value has the value of each base64 digit, 64 for "=" and 0xff for what
// is to be skipped.
var base64Value = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = byte(i)
	}
	t['='] = 64
	return t
}()

// base64Decoder decodes base64 with anything in between, padded or not, and
// several runs of it one behind the other.
type base64Decoder struct {
	bits uint32
	n    uint // digits held, 0..3
}

func (d *base64Decoder) decode(dst, src []byte) (nDst, nSrc int) {
	for nSrc < len(src) && nDst+3 <= len(dst) {
		if d.n == 0 {
			w, r := decodeQuads(dst[nDst:], src[nSrc:])
			nDst, nSrc = nDst+w, nSrc+r
			if nSrc == len(src) || nDst+3 > len(dst) {
				break
			}
		}
		v := base64Value[src[nSrc]]
		nSrc++
		switch {
		case v < 64:
			d.bits = d.bits<<6 | uint32(v)
			if d.n++; d.n == 4 {
				dst[nDst], dst[nDst+1], dst[nDst+2] = byte(d.bits>>16), byte(d.bits>>8), byte(d.bits)
				nDst += 3
				d.n = 0
			}
		case v == 64:
			nDst += d.flush(dst[nDst:])
		}
	}
	return nDst, nSrc
}

// decodeQuads decodes whole groups of four digits up to the first other byte.
func decodeQuads(dst, src []byte) (nDst, nSrc int) {
	for len(src)-nSrc >= 4 && len(dst)-nDst >= 3 {
		s := src[nSrc : nSrc+4 : nSrc+4]
		a, b, c, e := base64Value[s[0]], base64Value[s[1]], base64Value[s[2]], base64Value[s[3]]
		if a|b|c|e > 63 {
			break
		}
		d := dst[nDst : nDst+3 : nDst+3]
		d[0], d[1], d[2] = a<<2|b>>4, b<<4|c>>2, c<<6|e
		nDst += 3
		nSrc += 4
	}
	return nDst, nSrc
}

// flush writes the bytes of an unfinished group.
func (d *base64Decoder) flush(dst []byte) int {
	n := 0
	switch d.n {
	case 2:
		dst[0] = byte(d.bits >> 4)
		n = 1
	case 3:
		dst[0], dst[1] = byte(d.bits>>10), byte(d.bits>>2)
		n = 2
	}
	d.n = 0
	return n
}

// quotedPrintableDecoder decodes quoted-printable; what is not stays as it is.
type quotedPrintableDecoder struct {
	held [2]byte // "=" and perhaps one byte behind it
	n    int
}

func (d *quotedPrintableDecoder) decode(dst, src []byte) (nDst, nSrc int) {
	for nSrc < len(src) && nDst+3 <= len(dst) {
		c := src[nSrc]
		nSrc++
		switch {
		case d.n == 0 && c != '=':
			dst[nDst] = c
			nDst++
		case d.n == 0:
			d.held[0], d.n = c, 1
		case d.n == 1 && c == '\n':
			d.n = 0
		case d.n == 1 && (c == '\r' || c == ' ' || c == '\t' || unhex(c) < 16):
			d.held[1], d.n = c, 2
		default:
			nDst += d.end(dst[nDst:], c)
			d.n = 0
		}
	}
	return nDst, nSrc
}

// flush writes the bytes of an unfinished code; a soft line break has none.
func (d *quotedPrintableDecoder) flush(dst []byte) int {
	n := 0
	if d.n == 2 && unhex(d.held[1]) < 16 {
		n = copy(dst, d.held[:])
	}
	d.n = 0
	return n
}

// end writes what the held bytes and c stand for.
func (d *quotedPrintableDecoder) end(dst []byte, c byte) int {
	if d.n == 2 {
		hi, lo := unhex(d.held[1]), unhex(c)
		if hi < 16 && lo < 16 {
			dst[0] = hi<<4 | lo
			return 1
		}
		if hi == 0xff && c == '\n' { // a soft line break
			return 0
		}
	}
	n := copy(dst, d.held[:d.n])
	dst[n] = c
	return n + 1
}
