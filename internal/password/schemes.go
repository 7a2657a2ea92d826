package password

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// verifyOther checks the schemes other than argon2.
func verifyOther(scheme, rest string, password []byte, allowPlain bool) bool {
	switch scheme {
	case "ssha", "sha":
		return verifyDigest(sha1.New(), scheme == "ssha", rest, password)
	case "smd5", "md5":
		return verifyDigest(md5.New(), scheme == "smd5", rest, password)
	case "ssha256", "sha256":
		return verifyDigest(sha256.New(), scheme == "ssha256", rest, password)
	case "ssha512", "sha512":
		return verifyDigest(sha512.New(), scheme == "ssha512", rest, password)
	case "crypt":
		return verifyCrypt(rest, password)
	case scramSHA256, scramSHA1:
		return verifyScram(scheme, rest, password)
	case "cleartext", "plain", "":
		return allowPlain && rest != "" && subtle.ConstantTimeCompare([]byte(rest), password) == 1
	}
	return false
}

// verifyDigest checks base64 (or, as some directories hold it, hex) of
// digest(password+salt) followed by the salt.
func verifyDigest(h hash.Hash, salted bool, text string, password []byte) bool {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if len(text) == 2*h.Size() && !salted {
		raw, err = hex.DecodeString(text)
	}
	if err != nil || len(raw) < h.Size() || salted == (len(raw) == h.Size()) {
		return false
	}
	h.Write(password)
	h.Write(raw[h.Size():])
	return subtle.ConstantTimeCompare(h.Sum(nil), raw[:h.Size()]) == 1
}

// verifyCrypt checks what crypt(3) makes.
func verifyCrypt(stored string, password []byte) bool {
	var computed string
	switch {
	case strings.HasPrefix(stored, "$2"):
		return verifyBcrypt(stored, password)
	case strings.HasPrefix(stored, "$1$"):
		computed = md5Crypt(password, stored)
	case strings.HasPrefix(stored, "$5$"):
		computed = shaCrypt(sha256.New, "$5$", password, stored)
	case strings.HasPrefix(stored, "$6$"):
		computed = shaCrypt(sha512.New, "$6$", password, stored)
	case len(stored) == desLength:
		computed = desCrypt(password, stored)
	}
	return computed != "" && subtle.ConstantTimeCompare([]byte(computed), []byte(stored)) == 1
}

// maxBcryptCost bounds the work that one stored value can make.
const maxBcryptCost = 16

func verifyBcrypt(stored string, password []byte) bool {
	value := []byte(stored)
	if bytes.HasPrefix(value, []byte("$2y$")) || bytes.HasPrefix(value, []byte("$2x$")) {
		value[2] = 'a' // PHP's names for the same algorithm
	}
	cost, err := bcrypt.Cost(value)
	if err != nil || cost > maxBcryptCost {
		return false
	}
	return bcrypt.CompareHashAndPassword(value, password[:min(len(password), 72)]) == nil
}
