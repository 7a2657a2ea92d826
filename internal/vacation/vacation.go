// Package vacation remembers whom a mailbox has answered by itself, so that
// nobody is answered twice within two weeks (RFC 3834 §2), also after a restart.
//
// The file is a sequence of records of 24 bytes: 16 of a hash of mailbox and
// sender, 8 of the time in seconds since 1970, big endian.
//
//	on disk                      what it is                       after a crash
//	---------------------------  -------------------------------  -----------------------------------
//	a record                     an answer that was about to go   no second answer; the first may not
//	                                                              have gone: nobody waits for it
//	fewer than 24 bytes at the   a record being written; no       dropped by Open
//	end                          answer went yet
//	FILE.tmp                     the records that still count,    ignored, and written anew
//	                             being written
package vacation

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"expost/internal/blob"
	"expost/internal/mail"
)

// Interval is the time between two answers to one sender.
const Interval = 14 * 24 * time.Hour

const recordSize = 24

// Log is safe for concurrent use; one Log writes to a file.
type Log struct {
	path string
	now  func() time.Time

	mu      sync.Mutex
	file    *os.File
	records int // in the file
	last    map[[16]byte]int64
}

// Open opens the log in a file, making it where it is missing.
func Open(path string) (*Log, error) { return open(path, time.Now) }

func open(path string, now func() time.Time) (*Log, error) {
	l := &Log{path: path, now: now, last: map[[16]byte]int64{}}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading whom mailboxes have answered: %w", err)
	}
	for ; len(b) >= recordSize; b = b[recordSize:] {
		l.last[[16]byte(b)] = int64(binary.BigEndian.Uint64(b[16:recordSize]))
	}
	if err := l.rewrite(); err != nil {
		return nil, fmt.Errorf("writing whom mailboxes have answered: %w", err)
	}
	return l, nil
}

// rewrite writes the records that still count into a new file.
func (l *Log) rewrite() error {
	oldest := l.now().Add(-Interval).Unix()
	var b []byte
	for key, at := range l.last {
		if at < oldest {
			delete(l.last, key)
			continue
		}
		b = record(b, key, at)
	}
	f, err := os.OpenFile(l.path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(l.path+".tmp", l.path)
	}
	if err == nil {
		err = blob.SyncDir(filepath.Dir(l.path))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if l.file != nil {
		err = l.file.Close()
	}
	l.file, l.records = f, len(l.last)
	return err
}

func record(b []byte, key [16]byte, at int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, key[:]...), uint64(at))
}

// Claim tells whether a mailbox may answer a sender now. Where it may, that is
// on disk when Claim returns, and the next Claim says no.
func (l *Log) Claim(account mail.AccountID, sender mail.Address) (bool, error) {
	sum := sha256.Sum256([]byte(string(account) + "\x00" + sender.Key()))
	key := [16]byte(sum[:])
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if at, ok := l.last[key]; ok && now.Sub(time.Unix(at, 0)) < Interval {
		return false, nil
	}
	if l.records > 1000 && l.records > 2*len(l.last) {
		if err := l.rewrite(); err != nil {
			return false, fmt.Errorf("writing whom mailboxes have answered: %w", err)
		}
	}
	at := int64(l.records) * recordSize
	if _, err := l.file.WriteAt(record(nil, key, now.Unix()), at); err != nil {
		return false, fmt.Errorf("noting that %q answers: %w", string(account), err)
	}
	if err := l.file.Sync(); err != nil {
		return false, fmt.Errorf("noting that %q answers: %w", string(account), err)
	}
	l.records++
	l.last[key] = now.Unix()
	return true, nil
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
