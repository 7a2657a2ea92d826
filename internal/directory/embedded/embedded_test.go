package embedded

import (
	"context"
	"testing"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/password"
)

// cheapPasswords are quick enough for tests.
func cheapPasswords() *password.Verifier { return password.New(password.Options{Memory: 64, Time: 1}) }

// options are those of directorytest.Defaults in a folder.
func options(dir string) Options {
	c := directorytest.Defaults()
	return Options{
		Dir: dir, Suffix: c.Suffix, RootDN: c.RootDN, RootPassword: []byte(c.RootPassword), Anonymous: c.Anonymous,
		Domains: c.Domains, Passwords: cheapPasswords(),
	}
}

// open opens a directory that the test closes.
func open(t testing.TB, opt Options) *Directory {
	t.Helper()
	d, err := Open(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	directorytest.Run(t, func(t *testing.T, _ directorytest.Config) directory.Directory { return open(t, options(t.TempDir())) })
}
