package password

import (
	"crypto/md5"
	"hash"
	"strconv"
	"strings"
)

// cryptAlphabet is the base64 of crypt(3).
const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// encode24 appends n characters for the 24 bits of three bytes, lowest first.
func encode24(dst []byte, b2, b1, b0 byte, n int) []byte {
	w := uint32(b2)<<16 | uint32(b1)<<8 | uint32(b0)
	for ; n > 0; n-- {
		dst = append(dst, cryptAlphabet[w&0x3f])
		w >>= 6
	}
	return dst
}

// repeatTo returns the first n bytes of b repeated.
func repeatTo(b []byte, n int) []byte {
	out := make([]byte, 0, n+len(b))
	for len(out) < n {
		out = append(out, b...)
	}
	return out[:n]
}

// md5Crypt is FreeBSD's "$1$salt$" scheme.
func md5Crypt(password []byte, stored string) string {
	salt, _, _ := strings.Cut(strings.TrimPrefix(stored, "$1$"), "$")
	salt = salt[:min(len(salt), 8)]
	inner := md5.New()
	inner.Write(password)
	inner.Write([]byte(salt))
	inner.Write(password)
	b := inner.Sum(nil)
	h := md5.New()
	h.Write(password)
	h.Write([]byte("$1$" + salt))
	h.Write(repeatTo(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			h.Write([]byte{0})
		} else {
			h.Write(password[:1])
		}
	}
	d := h.Sum(nil)
	for round := range 1000 {
		h.Reset()
		cryptRound(h, round, d, password, []byte(salt))
		d = h.Sum(d[:0])
	}
	out := []byte("$1$" + salt + "$")
	for i := range 5 {
		last := i + 12
		if i == 4 {
			last = 5
		}
		out = encode24(out, d[i], d[i+6], d[last], 4)
	}
	return string(encode24(out, 0, 0, d[11], 2))
}

// cryptRound writes what one round of the MD5 and SHA schemes digests.
func cryptRound(h hash.Hash, round int, digest, p, s []byte) {
	if round&1 == 1 {
		h.Write(p)
	} else {
		h.Write(digest)
	}
	if round%3 != 0 {
		h.Write(s)
	}
	if round%7 != 0 {
		h.Write(p)
	}
	if round&1 == 1 {
		h.Write(digest)
	} else {
		h.Write(p)
	}
}

// maxShaRounds bounds the work that one stored value can make.
const maxShaRounds = 5_000_000

// shaCrypt is Drepper's "$5$" and "$6$", with "rounds=n$" before the salt or
// not. It returns "" for a value that is malformed or too expensive.
func shaCrypt(newHash func() hash.Hash, prefix string, password []byte, stored string) string {
	rest := strings.TrimPrefix(stored, prefix)
	rounds, head := 5000, prefix
	if number, found := strings.CutPrefix(rest, "rounds="); found {
		digits, after, _ := strings.Cut(number, "$")
		n, err := strconv.Atoi(digits)
		if err != nil || n > maxShaRounds {
			return ""
		}
		rounds, rest = max(n, 1000), after
		head += "rounds=" + strconv.Itoa(rounds) + "$"
	}
	salt, _, _ := strings.Cut(rest, "$")
	salt = salt[:min(len(salt), 16)]
	digest := shaDigest(newHash, password, []byte(salt), rounds)
	return head + salt + "$" + string(shaEncode(digest))
}

// shaDigest computes steps 1 to 21 of the specification of the SHA schemes.
func shaDigest(newHash func() hash.Hash, password, salt []byte, rounds int) []byte {
	h := newHash()
	h.Write(password)
	h.Write(salt)
	h.Write(password)
	b := h.Sum(nil)

	h.Reset()
	h.Write(password)
	h.Write(salt)
	h.Write(repeatTo(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			h.Write(b)
		} else {
			h.Write(password)
		}
	}
	a := h.Sum(nil)

	h.Reset()
	for range password {
		h.Write(password)
	}
	p := repeatTo(h.Sum(nil), len(password))
	h.Reset()
	for range 16 + int(a[0]) {
		h.Write(salt)
	}
	s := repeatTo(h.Sum(nil), len(salt))

	for round := range rounds {
		h.Reset()
		cryptRound(h, round, a, p, s)
		a = h.Sum(a[:0])
	}
	return a
}

// shaEncode writes a digest in the order of bytes that the specification has:
// columns of three, of which each next one starts at the one after.
func shaEncode(d []byte) []byte {
	var out []byte
	step := len(d) / 3 // 10 for SHA-256, 21 for SHA-512
	i, j, k := 0, step, 2*step
	for range step {
		out = encode24(out, d[i], d[j], d[k], 4)
		if step == 10 {
			i, j, k = k+1, i+1, j+1
		} else {
			i, j, k = j+1, k+1, i+1
		}
	}
	if step == 10 {
		return encode24(out, 0, d[31], d[30], 3)
	}
	return encode24(out, 0, 0, d[63], 2)
}
