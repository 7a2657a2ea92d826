package login

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"testing"
)

// scramProof returns a client's final message, computed on its own.
func scramProof(t *testing.T, pw, salt []byte, bare, first, nonce string) (withoutProof, final string) {
	t.Helper()
	salted, err := pbkdf2.Key(sha256.New, string(pw), salt, 4096, 32)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	clientKey := mac(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	withoutProof = "c=biws," + nonce
	proof := make([]byte, 32)
	subtle.XORBytes(proof, clientKey, mac(stored[:], bare+","+first+","+withoutProof))
	return withoutProof, withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof)
}

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}
