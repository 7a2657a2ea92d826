package pst

// What the writer of test files needs.
var (
	Checksum  = checksum
	Signature = signature
)

// Encode is the inverse of decode.
func Encode(method byte, data []byte, bid uint64) {
	if method == cryptPermute {
		permute(data, &cryptR)
		return
	}
	decode(method, data, bid)
}
