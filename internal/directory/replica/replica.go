// Package replica keeps a directory a copy of another server's by content
// synchronization (RFC 4533), which OpenLDAP calls syncrepl: what changed since
// the last time comes first, and then every change when it is made.
//
// What is on disk, and what a crash at each point leaves:
//
//	moment                               after the next start
//	entries applied, cookie not written  the same changes come again, and do nothing
//	cookie written (to a new file, then  the copy goes on from there
//	renamed over the old)
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldapclient"
)

// Target is the directory that becomes the copy.
type Target interface {
	directory.Directory
	directory.Restorer
}

// Options say what is copied. Server, Target and CookieFile are required.
type Options struct {
	ldapclient.Options
	Server     string // URL
	DN         string // to bind as
	Password   []byte
	Target     Target
	CookieFile string        // how far the copy is
	Retry      time.Duration // between attempts; 0: 10 s
	Logger     *slog.Logger
}

// Run keeps the copy up to date until ctx ends, trying again while the server is
// away.
func Run(ctx context.Context, opt Options) {
	if opt.Retry == 0 {
		opt.Retry = 10 * time.Second
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	for ctx.Err() == nil {
		c := &copier{opt: opt, log: opt.Logger.With(slog.String("provider", opt.Server))}
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if le, ok := errors.AsType[*ldap.Error](err); ok && le.Code == ldap.SyncRefreshRequired {
			c.log.Info("the copy is too old to be told what changed: it is compared from the start")
			if err = os.Remove(opt.CookieFile); err == nil {
				continue
			}
		}
		c.log.Warn("the directory's copy is not kept up to date for the time being", slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(opt.Retry):
		}
	}
}

// batchSize is how many entries are written at once.
const batchSize = 512

// copier is one session with the provider.
type copier struct {
	opt  Options
	log  *slog.Logger
	ctx  context.Context
	wait []*ldap.Entry // to be written
	late []*ldap.Entry // the entry above was not there yet

	refreshed bool
	present   map[directory.UUID]bool // what was mentioned in the refresh stage
}

// follow copies until the session ends.
func (c *copier) follow(ctx context.Context) error {
	c.ctx, c.present = ctx, map[directory.UUID]bool{}
	cookie, err := os.ReadFile(c.opt.CookieFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading how far the copy is: %w", err)
	}
	conn, err := ldapclient.Dial(ctx, c.opt.Server, c.opt.Options)
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.opt.DN != "" {
		if err := conn.Bind(ctx, c.opt.DN, c.opt.Password); err != nil {
			return fmt.Errorf("binding as %s: %w", c.opt.DN, err)
		}
	}
	err = conn.Sync(ctx, c.opt.Target.Suffix(), cookie, c)
	return errors.Join(err, c.flush())
}

// Entry implements directory.SyncHandler.
func (c *copier) Entry(state directory.SyncState, id directory.UUID, e *ldap.Entry, cookie []byte) error {
	switch state {
	case directory.SyncPresent:
		c.present[id] = true
	case directory.SyncDelete:
		if err := c.Set([]directory.UUID{id}, true); err != nil {
			return err
		}
	default:
		if !c.refreshed {
			c.present[id] = true
		}
		if e.Attribute("entryUUID") == nil {
			e.Attributes = append(e.Attributes, ldap.NewAttribute("entryUUID", id.String()))
		}
		if c.wait = append(c.wait, e); c.refreshed || len(c.wait) >= batchSize {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return c.save(cookie)
}

// Set implements directory.SyncHandler.
func (c *copier) Set(ids []directory.UUID, deleted bool) error {
	if !deleted {
		for _, id := range ids {
			c.present[id] = true
		}
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.opt.Target.Forget(c.ctx, ids)
}

// Refreshed implements directory.SyncHandler.
func (c *copier) Refreshed(present bool, cookie []byte) error {
	if err := c.flush(); err != nil {
		return err
	}
	for _, e := range c.late {
		c.log.Error("an entry cannot be copied: the one above it is not there", slog.String("dn", e.DN.String()))
	}
	c.late = nil
	if present {
		var gone []directory.UUID
		err := c.opt.Target.Held(c.ctx, func(id directory.UUID) bool {
			if !c.present[id] {
				gone = append(gone, id)
			}
			return true
		})
		if err != nil {
			return err
		}
		if err := c.opt.Target.Forget(c.ctx, gone); err != nil {
			return err
		}
	}
	c.refreshed, c.present = true, map[directory.UUID]bool{}
	c.log.Info("the directory's copy is up to date")
	return c.save(cookie)
}

// flush writes the entries that wait. Those whose parents are not there are
// tried again with the next.
func (c *copier) flush() error {
	list := append(c.late, c.wait...)
	c.wait, c.late = nil, nil
	for len(list) > 0 {
		var again []*ldap.Entry
		for i, err := range c.opt.Target.Restore(c.ctx, list) {
			le, ok := errors.AsType[*ldap.Error](err)
			switch {
			case err == nil:
			case ok && le.Code == ldap.NoSuchObject:
				again = append(again, list[i])
			case ok && le.Code == ldap.Unavailable:
				return err
			default:
				c.log.Error("an entry cannot be copied", slog.String("dn", list[i].DN.String()), slog.Any("error", err))
			}
		}
		if len(again) == len(list) {
			c.late = again
			return nil
		}
		list = again
	}
	return nil
}

// save writes how far the copy is; nothing where cookie is empty.
func (c *copier) save(cookie []byte) error {
	if len(cookie) == 0 {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	if err := writeSynced(c.opt.CookieFile, cookie); err != nil {
		return fmt.Errorf("writing how far the copy is: %w", err)
	}
	return nil
}

// writeSynced replaces a file in one piece.
func writeSynced(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".cookie-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // err says more
	}
	return err
}
