package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/ncruces/go-sqlite3"

	"expost/internal/mail"
)

// wrap gives an error its Kind and the action that met it. An error that has a
// Kind, or is a matter of the caller's context, keeps it.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*mail.Error](err); ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	cause := fmt.Errorf(format+": %w", append(args, err)...)
	switch {
	case errors.Is(err, sqlite3.INTERRUPT):
		return errors.Join(context.Canceled, cause)
	case errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB):
		return mail.WrapError(mail.KindCorrupt, cause, "the mailbox's database is damaged")
	case isFull(err):
		return mail.WrapError(mail.KindUnavailable, cause, "the server's disk is full")
	case isDiskError(err):
		return mail.WrapError(mail.KindUnavailable, cause, "the server's disk cannot be read or written")
	}
	return cause
}

// isFull tells whether there is no room on the disk.
func isFull(err error) bool {
	return errors.Is(err, sqlite3.FULL) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isDiskError tells whether the disk, and not what was asked, is at fault.
func isDiskError(err error) bool {
	if err == nil {
		return false
	}
	for _, code := range []sqlite3.ErrorCode{
		sqlite3.IOERR, sqlite3.CANTOPEN, sqlite3.READONLY, sqlite3.BUSY, sqlite3.NOMEM, sqlite3.PERM,
		sqlite3.PROTOCOL, sqlite3.LOCKED, sqlite3.FULL, sqlite3.CORRUPT, sqlite3.NOTADB,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	_, path := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	_, call := errors.AsType[*os.SyscallError](err)
	return path || link || call
}
