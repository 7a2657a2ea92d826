package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"expost/internal/config"
	"expost/internal/login"
	"expost/internal/password"
)

// door returns what lets people in, whatever they come by.
func (n *node) door(tlsConfig *tls.Config) (*login.Door, error) {
	c := n.Config.Login
	secret, err := loginSecret(n.Config)
	if err != nil {
		return nil, fmt.Errorf("making the secret of the salts: %w", err)
	}
	trusted, err := config.Networks(c.Trusted)
	if err != nil {
		return nil, err
	}
	proxies, err := config.Networks(c.Proxies)
	if err != nil {
		return nil, err
	}
	rules, err := loginRules(n.Config)
	if err != nil {
		return nil, err
	}
	far, err := n.openProxy()
	if err != nil {
		return nil, err
	}
	return login.New(login.Config{
		Hostname: n.Config.Hostname, Trace: n.Trace, Proxy: far, Proxies: proxies, Rules: rules,
		Directory: n.Directory, Gate: n.Gate, TLS: tlsConfig, Secret: secret, Iterations: c.ScramIterations, Mechanisms: c.Mechanisms, CertNames: c.ClientNames, Log: n.Log,
		Sessions: &login.Sessions{PerAccount: c.SessionsPerAccount, PerAddress: c.SessionsPerAddress, Trusted: trusted},
		Throttle: login.NewThrottle(login.ThrottleConfig{
			AccountFree: c.FailuresPerAccount, AddressFree: c.FailuresPerAddress, AccountDelay: time.Duration(c.AccountDelay),
			AddressDelay: time.Duration(c.AddressDelay), Forget: time.Duration(c.Forget), Patience: time.Duration(c.Patience), Trusted: trusted, Log: n.Log,
		}),
	}), nil
}

// passwords returns what makes and checks the passwords of the directory.
func passwords(c config.Config) *password.Verifier {
	iterations := c.Login.ScramIterations
	if iterations == 0 {
		iterations = -1
	}
	return password.New(password.Options{ScramIterations: iterations})
}

// loginSecret returns what the salts of logins that do not exist are made from.
// They must not change at a restart, which those of real ones do not either.
func loginSecret(c config.Config) ([]byte, error) {
	path := filepath.Join(c.Data, "login-secret")
	if err := makePasswordFile(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// askForCertificates makes TLS ask clients for certificates that the
// configured authority has signed.
func askForCertificates(c config.Config, t *tls.Config) error {
	if c.Login.ClientCA == "" {
		return nil
	}
	pem, err := os.ReadFile(c.Login.ClientCA)
	if err != nil {
		return fmt.Errorf("reading login.client-ca: %w", err)
	}
	t.ClientCAs = x509.NewCertPool()
	if !t.ClientCAs.AppendCertsFromPEM(pem) {
		return errors.New("reading login.client-ca: " + c.Login.ClientCA + " holds no certificate in PEM")
	}
	t.ClientAuth = tls.VerifyClientCertIfGiven
	return nil
}
