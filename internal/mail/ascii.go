package mail

// IsASCII tells whether text has no byte above 127.
func IsASCII[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
