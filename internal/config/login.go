package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"expost/internal/login"
	"expost/internal/mail"
	"expost/internal/sasl"
)

// Login is how people log in, and how guessing is slowed down.
type Login struct {
	Mechanisms         []string         `toml:"mechanisms"`       // of SASL that are offered; none: all
	ScramIterations    int              `toml:"scram-iterations"` // of the SCRAM keys made; 0: none are made
	ClientCA           string           `toml:"client-ca"`        // PEM: who signs the certificates that clients log in with
	ClientNames        []login.CertName `toml:"client-names"`     // the parts of a certificate that name its account
	Trusted            []string         `toml:"trusted-networks"` // addresses of many people
	Proxies            []string         `toml:"proxy-networks"`   // proxies, which are believed whom they speak for
	FailuresPerAccount int              `toml:"failures-per-account"`
	FailuresPerAddress int              `toml:"failures-per-address"`
	AccountDelay       Duration         `toml:"account-delay"`
	AddressDelay       Duration         `toml:"address-delay"`
	Forget             Duration         `toml:"forget"`
	Patience           Duration         `toml:"patience"` // how long a login waits for its turn before it is refused
	Rules              []LoginRule      `toml:"rule"`
	SessionsPerAccount int              `toml:"sessions-per-account"`
	SessionsPerAddress int              `toml:"sessions-per-address"`
}

// defaultLogin has the values of an empty file.
func defaultLogin() Login {
	return Login{
		ScramIterations: 65_536, ClientNames: []login.CertName{login.CertEmail, login.CertUPN},
		Trusted:            []string{"127.0.0.0/8", "::1"},
		FailuresPerAccount: 5, FailuresPerAddress: 10,
		AccountDelay: Duration(time.Minute), AddressDelay: Duration(5 * time.Minute), Forget: Duration(15 * time.Minute), Patience: Duration(15 * time.Second),
		SessionsPerAccount: 200, SessionsPerAddress: 100,
	}
}

func (l *Login) check(wrong func(key, format string, args ...any) error) error {
	known := []string{sasl.Plain, sasl.Login, sasl.ScramSHA256, sasl.ScramSHA256Plus, sasl.External}
	for i, m := range l.Mechanisms {
		if l.Mechanisms[i] = strings.ToUpper(m); !slices.Contains(known, l.Mechanisms[i]) {
			return wrong("login.mechanisms", "%q is none of %s", m, strings.Join(known, ", "))
		}
	}
	for _, n := range l.ClientNames {
		if !slices.Contains([]login.CertName{login.CertEmail, login.CertUPN, login.CertCN, login.CertUID}, n) {
			return wrong("login.client-names", "%q is none of email, upn, cn, uid", n)
		}
	}
	if _, err := Networks(l.Proxies); err != nil {
		return wrong("login.proxy-networks", "%s", mail.PublicText(err))
	}
	if _, err := Networks(l.Trusted); err != nil {
		return wrong("login.trusted-networks", "%s", mail.PublicText(err))
	}
	if l.ScramIterations != 0 && (l.ScramIterations < 4096 || l.ScramIterations > 10_000_000) {
		return wrong("login.scram-iterations", "must be 4096 to 10000000, or 0 for no SCRAM keys")
	}
	if l.FailuresPerAccount < 1 || l.FailuresPerAddress < 1 || l.AccountDelay <= 0 || l.AddressDelay <= 0 || l.Forget <= 0 || l.Patience <= 0 {
		return wrong("login.failures-per-account, failures-per-address, account-delay, address-delay, forget, patience", "must be above zero")
	}
	for i := range l.Rules {
		if err := l.Rules[i].check(); err != nil {
			return wrong(fmt.Sprintf("login.rule %d", i+1), "%v", err)
		}
	}
	if l.SessionsPerAccount < 0 || l.SessionsPerAddress < 0 {
		return wrong("login.sessions-per-account, sessions-per-address", "must not be below zero; 0 is any number")
	}
	return nil
}
