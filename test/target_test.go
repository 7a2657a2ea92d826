package test

import (
	"context"
	"fmt"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	sourceclient "expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	targetimap "expost/internal/migrate/target/imap"
)

// TestExpostIsATarget holds another Expost to the contract of targets, over IMAP.
func TestExpostIsATarget(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	names := make(chan string, 100)
	for i := range cap(names) {
		names <- fmt.Sprintf("user%d@linuxforu.com", i)
	}
	target := targetimap.New(targetimap.Config{Address: s.addr["imap"], Password: password, Client: sourceclient.Options{Security: sourceclient.Plain}})
	migratetest.Target(t, migratetest.Holds{}, func(t *testing.T) (migrate.Target, migrate.User) {
		name := <-names
		if out, errs, err := s.try(context.Background(), password+"\n", "account", "add", name, "--password-stdin"); err != nil {
			t.Fatal(out, errs, err)
		}
		return target, migrate.User{Target: mail.Address(name)}
	})
}
