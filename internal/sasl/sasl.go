// Package sasl is the server's side of the SASL mechanisms (RFC 4422) that all
// protocols offer: PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login),
// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) and EXTERNAL
// (RFC 4422 appendix A).
//
// A mechanism knows the messages and their order. Who a password, a proof or a
// certificate belongs to is asked of an Authority. Base64 and continuation lines
// are the protocols' own.
package sasl

import (
	"strings"
	"unicode/utf8"

	"expost/internal/mail"
	"expost/internal/password"
)

// The mechanisms, by their registered names.
const (
	Plain           = "PLAIN"
	Login           = "LOGIN"
	ScramSHA256     = "SCRAM-SHA-256"
	ScramSHA256Plus = "SCRAM-SHA-256-PLUS"
	External        = "EXTERNAL"
)

// Server is the server's side of one exchange.
type Server interface {
	// Next takes the client's message, nil where it has sent none yet, and
	// returns what to send. When done, the client is logged in; a challenge that
	// comes with done is additional data (RFC 4422 §3.6), which a protocol
	// without a place for it sends as one more challenge. After an error the
	// exchange is over: mail.KindInvalid for a malformed message, mail.KindAuth
	// for wrong credentials, mail.KindPermission where they are right and the
	// client may not act for whom it names, or the Authority's.
	Next(response []byte) (challenge []byte, done bool, err error)
}

// Authority decides on what the mechanisms bring.
type Authority struct {
	// Password checks a login and its password. authzid is whom the client wants
	// to act for; empty: for itself.
	Password func(authzid, login, password string) error
	// Keys returns the keys of a login; for one that has none, keys that nothing fits.
	Keys func(login string) (password.Scram, error)
	// Proof is told whether a login's proof fitted, and has the last word.
	Proof func(authzid, login string, ok bool) error
	// Certificate lets the owner of the connection's certificate in.
	Certificate func(authzid string) error
	// Binding ties SCRAM to the TLS channel; nil: there is none.
	Binding *Binding
	// Nonce makes the server's part of a nonce; nil: random.
	Nonce func() string
}

// New returns the server's side of a mechanism, nil for one that is not known.
func New(mechanism string, a Authority) Server {
	switch strings.ToUpper(mechanism) {
	case Plain:
		return &plainServer{a}
	case Login:
		return &loginServer{Authority: a}
	case ScramSHA256:
		return &scramServer{Authority: a}
	case ScramSHA256Plus:
		if a.Binding == nil {
			return nil
		}
		return &scramServer{Authority: a, plus: true}
	case External:
		return &externalServer{a}
	}
	return nil
}

func malformed(text string) error { return mail.Errorf(mail.KindInvalid, "%s", text) }

// plainServer is PLAIN: one message, authzid NUL login NUL password.
type plainServer struct{ Authority }

func (p *plainServer) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 || parts[1] == "" {
		return nil, false, malformed("the PLAIN message is malformed")
	}
	return nil, true, p.Password(parts[0], parts[1], parts[2])
}

// loginServer is LOGIN. The prompts are the ones that Outlook wants to see.
type loginServer struct {
	Authority
	login *string
}

func (l *loginServer) Next(response []byte) ([]byte, bool, error) {
	switch {
	case response == nil:
		return []byte("Username:"), false, nil
	case l.login == nil:
		l.login = new(string(response))
		return []byte("Password:"), false, nil
	}
	return nil, true, l.Password("", *l.login, string(response))
}

// externalServer is EXTERNAL: one message, the authzid, often empty.
type externalServer struct{ Authority }

func (e *externalServer) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	if !utf8.Valid(response) || strings.ContainsRune(string(response), 0) {
		return nil, false, malformed("the EXTERNAL message is malformed")
	}
	return nil, true, e.Certificate(string(response))
}
