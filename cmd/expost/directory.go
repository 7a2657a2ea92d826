package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"expost/internal/config"
	"expost/internal/directory"
	"expost/internal/directory/embedded"
	"expost/internal/ldap"
	"expost/internal/schema"
)

// openDirectory opens the directory of the configuration.
func openDirectory(ctx context.Context, c config.Config, log *slog.Logger) (directory.Directory, error) {
	if c.Directory.Kind == "ldap" {
		return openExternal(c, log)
	}
	opt := embedded.Options{
		Dir: filepath.Join(c.Data, "directory"), Domains: c.Domains, Passwords: passwords(c), Logger: log,
	}
	var err error
	if opt.Suffix, err = ldap.ParseDN(c.Directory.Suffix); err != nil {
		return nil, err
	}
	if opt.RootDN, err = ldap.ParseDN(c.Directory.RootDN); err != nil {
		return nil, err
	}
	for _, text := range c.Directory.Anonymous {
		dn, err := ldap.ParseDN(text)
		if err != nil {
			return nil, err
		}
		opt.Anonymous = append(opt.Anonymous, dn)
	}
	if opt.Access, err = c.Directory.Rules(); err != nil {
		return nil, err
	}
	for _, text := range c.Directory.Index {
		index, err := embedded.ParseIndex(text)
		if err != nil {
			return nil, err
		}
		opt.Indexes = append(opt.Indexes, index)
	}
	if opt.Schema, err = schema.Load(c.Directory.Schema); err != nil {
		return nil, err
	}
	if opt.RootPassword, err = rootPassword(c); err != nil {
		return nil, err
	}
	return embedded.Open(ctx, opt)
}

// rootPassword returns the password of the directory's manager, from the
// configured file or from that of the data folder, which is made at the first start.
func rootPassword(c config.Config) ([]byte, error) {
	path := c.Directory.RootPasswordFile
	if path == "" {
		path = filepath.Join(c.Data, "root-password")
		if err := makePasswordFile(path); err != nil {
			return nil, fmt.Errorf("making the directory manager's password: %w", err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the directory manager's password: %w", err)
	}
	b = bytes.TrimRight(b, "\r\n")
	if len(b) == 0 {
		return nil, fmt.Errorf("reading the directory manager's password: %s is empty", path)
	}
	return b, nil
}

// makePasswordFile writes a new password where there is no file.
func makePasswordFile(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return writeSynced(path, 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, rand.Text()+"\n")
		return err
	})
}

// writeSynced writes a file in one piece: a crash leaves all of it or nothing.
func writeSynced(path string, mode os.FileMode, write func(io.Writer) error) error {
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// schemaOf returns the schema of a directory that has one of its own, else nil.
func schemaOf(d directory.Directory) *schema.Schema {
	if own, ok := d.(interface{ Schema() *schema.Schema }); ok {
		return own.Schema()
	}
	return nil
}
