package sasl

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"expost/internal/mail"
	"expost/internal/password"
)

// Limits of what a client may send.
const (
	maxScramMessage = 4096
	maxScramName    = 1024
)

// scramServer is SCRAM-SHA-256, with a channel binding where plus is set.
type scramServer struct {
	Authority
	plus bool

	gs2     string // the header of the client's first message
	binding string // the kind of channel binding; empty: none
	bare    string // the rest of that message
	first   string // our first message
	authzid string
	login   string
	nonce   string // of both sides
	keys    password.Scram
}

// Next implements Server: client-first, client-final (RFC 5802 §5).
func (s *scramServer) Next(response []byte) ([]byte, bool, error) {
	switch {
	case response == nil:
		return []byte{}, false, nil
	case len(response) > maxScramMessage || !utf8.Valid(response) || strings.ContainsRune(string(response), 0):
		return nil, false, malformed("the SCRAM message is malformed")
	case s.first == "":
		return s.clientFirst(string(response))
	}
	return s.clientFinal(string(response))
}

// clientFirst reads who wants in, and answers with the salt of that login.
func (s *scramServer) clientFirst(message string) ([]byte, bool, error) {
	flag, rest, ok1 := strings.Cut(message, ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	if !ok1 || !ok2 {
		return nil, false, malformed("the SCRAM header is malformed")
	}
	s.gs2, s.bare = message[:len(message)-len(bare)], bare
	if err := s.checkFlag(flag); err != nil {
		return nil, false, err
	}
	if authzid != "" {
		name, ok := strings.CutPrefix(authzid, "a=")
		if s.authzid, ok = unescape(name, ok); !ok {
			return nil, false, malformed("the SCRAM authorization identity is malformed")
		}
	}
	fields := strings.Split(bare, ",")
	if strings.HasPrefix(fields[0], "m=") {
		return nil, false, malformed("SCRAM extensions are not known here")
	}
	if len(fields) < 2 {
		return nil, false, malformed("the SCRAM message is malformed")
	}
	name, ok := strings.CutPrefix(fields[0], "n=")
	if s.login, ok = unescape(name, ok); !ok || s.login == "" {
		return nil, false, malformed("the SCRAM user name is malformed")
	}
	nonce, ok := strings.CutPrefix(fields[1], "r=")
	if !ok || !printable(nonce) {
		return nil, false, malformed("the SCRAM nonce is malformed")
	}
	var err error
	if s.keys, err = s.Keys(password.Prepare(s.login)); err != nil {
		return nil, false, err
	}
	s.nonce = nonce + s.serverNonce()
	s.first = fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, base64.StdEncoding.EncodeToString(s.keys.Salt), s.keys.Iterations)
	return []byte(s.first), false, nil
}

// checkFlag checks the client's word on channel bindings (RFC 5802 §6).
func (s *scramServer) checkFlag(flag string) error {
	kind, bound := strings.CutPrefix(flag, "p=")
	switch {
	case bound && !s.plus, flag == "n" && s.plus, flag == "y" && s.plus:
		return malformed("the channel binding does not go with the mechanism")
	case flag == "y" && s.Binding != nil:
		// It can, and believes that we cannot: somebody took -PLUS out of our list.
		return mail.Errorf(mail.KindAuth, "channel bindings are offered here, and somebody hides it")
	case flag == "y", flag == "n":
		return nil
	case !bound || kind == "":
		return malformed("the channel binding flag is malformed")
	}
	if _, err := s.Binding.data(kind); err != nil {
		return mail.Errorf(mail.KindInvalid, "the channel binding %.40q is not to be had on this connection", kind)
	}
	s.binding = kind
	return nil
}

// clientFinal checks the proof and answers with ours.
func (s *scramServer) clientFinal(message string) ([]byte, bool, error) {
	at := strings.LastIndex(message, ",p=")
	if at < 0 {
		return nil, false, malformed("the SCRAM message has no proof")
	}
	withoutProof := message[:at]
	fields := strings.Split(withoutProof, ",")
	proof, err := base64.StdEncoding.DecodeString(message[at+len(",p="):])
	if err != nil || len(fields) < 2 || !strings.HasPrefix(fields[0], "c=") || !strings.HasPrefix(fields[1], "r=") {
		return nil, false, malformed("the SCRAM message is malformed")
	}
	channel, err := base64.StdEncoding.DecodeString(fields[0][2:])
	if err != nil {
		return nil, false, malformed("the SCRAM channel binding is malformed")
	}
	expected := []byte(s.gs2)
	if s.binding != "" {
		data, err := s.Binding.data(s.binding)
		if err != nil {
			return nil, false, mail.WrapError(mail.KindTemporary, err, "the channel binding is gone")
		}
		expected = append(expected, data...)
	}
	signature, fits := s.keys.Fits(s.bare+","+s.first+","+withoutProof, proof)
	fits = fits && subtle.ConstantTimeCompare(channel, expected) == 1
	fits = fits && subtle.ConstantTimeCompare([]byte(fields[1][2:]), []byte(s.nonce)) == 1
	if err := s.Proof(s.authzid, password.Prepare(s.login), fits); err != nil {
		return nil, false, err
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(signature)), true, nil
}

// serverNonce returns our part of the nonce.
func (s *scramServer) serverNonce() string {
	if s.Nonce != nil {
		return s.Nonce()
	}
	return rand.Text()
}

// unescape reads a saslname, in which "," and "=" are "=2C" and "=3D".
func unescape(name string, ok bool) (string, bool) {
	if !ok || len(name) > maxScramName {
		return "", false
	}
	plain := strings.NewReplacer("=2C", "", "=3D", "").Replace(name)
	if strings.Contains(plain, "=") {
		return "", false
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name), true
}

// printable tells whether a nonce has only what RFC 5802 §7 allows.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ',' {
			return false
		}
	}
	return s != ""
}
