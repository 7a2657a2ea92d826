package migrate

import (
	"bytes"
	"testing"
)

// FuzzContent reads any bytes as a message: its identity and its content are
// what they are however often they are asked for, and a message does not differ
// from itself with other line ends.
func FuzzContent(f *testing.F) {
	for _, seed := range []string{
		"", "\r\n\r\n", "Message-ID: <1@x>\r\nSubject: a\r\n b\r\n\r\ntext", "Date: x\nFrom: y\n\n\x00\xff",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=nonsense\r\nContent-Transfer-Encoding: base64\r\n\r\n!!\r\n--b\r\nContent-Type: image/png; name=\"x\"\r\n\r\n1\r\n--b--\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if IdentityOf(b) != IdentityOf(append(bytes.Clone(b), 0)[:len(b)]) {
			t.Error("the identity changes")
		}
		one, err := CanonicalOf(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		two, err := CanonicalOf(bytes.NewReader(b), int64(len(b)))
		if err != nil || one.Differs(two) != "" {
			t.Errorf("a message differs from itself in %s: %v", one.Differs(two), err)
		}
	})
}
