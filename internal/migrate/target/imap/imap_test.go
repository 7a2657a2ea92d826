package imap_test

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	targetimap "expost/internal/migrate/target/imap"
)

// target returns a target at a server that lets everyone in with the password.
func target(address, password string) *targetimap.Target {
	return targetimap.New(targetimap.Config{Address: address, Login: "{local}", Password: password, Client: imapclient.Options{Security: imapclient.Plain}})
}

func TestContractDovecot(t *testing.T) {
	t.Parallel()
	d := migratetest.StartDovecot(t, nil)
	n := make(chan int, 100)
	for i := range cap(n) {
		n <- i
	}
	migratetest.Target(t, migratetest.Holds{}, func(*testing.T) (migrate.Target, migrate.User) {
		return target(d.Address, d.Password), migrate.User{Target: mail.Address(fmt.Sprintf("user%d@example.org", <-n))}
	})
}

func TestContractCourier(t *testing.T) {
	t.Parallel()
	migratetest.Target(t, migratetest.Holds{}, func(t *testing.T) (migrate.Target, migrate.User) {
		c := migratetest.StartCourier(t, filepath.Join(t.TempDir(), "Maildir"))
		return target(c.Address, "any"), migrate.User{Target: "ajay@example.org"}
	})
}

func TestContractCyrus(t *testing.T) {
	t.Parallel()
	for name, below := range map[string]bool{"beside INBOX": false, "below INBOX": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := migratetest.StartCyrus(t, below)
			n := make(chan int, 100)
			for i := range cap(n) {
				n <- i
			}
			migratetest.Target(t, migratetest.Holds{}, func(*testing.T) (migrate.Target, migrate.User) {
				return target(c.Address, c.Password), migrate.User{Target: mail.Address(fmt.Sprintf("user%d@example.org", <-n))}
			})
		})
	}
}

func TestMend(t *testing.T) {
	t.Parallel()
	good := "From: a@example.org\r\nSubject: x\r\n\r\ntext\r\n"
	if m, why, err := targetimap.Mend(t.Context(), strings.NewReader(good), ""); m != nil || err != nil {
		t.Errorf("a good message was mended because %s: %v", why, err)
	}
	for what, bad := range map[string]string{
		"NUL":     strings.Replace(good, "text", "te\x00xt", 1),
		"line of": strings.Replace(good, "text", strings.Repeat("x", 20000), 1),
		"From":    "From here to there\r\n" + good,
		"8-bit":   strings.Replace(good, "Subject: x", "Subject: \xfc", 1),
	} {
		m, why, err := targetimap.Mend(t.Context(), strings.NewReader(bad), "")
		if err != nil || m == nil || !strings.Contains(why, what) {
			t.Errorf("%s: mended because %q, %v", what, why, err)
			continue
		}
		r, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := targetimap.Mend(t.Context(), strings.NewReader(string(b)), "")
		if again != nil || err != nil || !strings.HasPrefix(string(b), "From: a@example.org\r\n") {
			t.Errorf("%s: the mended message is %s", what, b)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestLimit reads what a server says of the size of messages (RFC 7889).
func TestLimit(t *testing.T) {
	t.Parallel()
	for capabilities, want := range map[string]int64{"APPENDLIMIT=35651584": 35651584, "APPENDLIMIT": 0, "IDLE": 0} {
		server := migratetest.StartIMAP(t, migratetest.Quirks{Capabilities: capabilities}, &migratetest.Box{Name: "INBOX", UIDValidity: 1, UIDNext: 1})
		a, err := target(server.Address, "secret").Open(t.Context(), migrate.User{Target: "ajay@example.org"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.(migrate.Limiter).Limit(t.Context()); got != want || err != nil {
			t.Errorf("%s: the limit is %d, %v; want %d", capabilities, got, err, want)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}
