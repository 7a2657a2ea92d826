// Package maillog remembers what became of each message for each recipient:
// lines in files that rotate, and an index that finds a message's whole story.
// It holds no bodies and no passwords.
//
// # What is on disk, and what a crash leaves
//
//	on disk                         what it is                      after a crash
//	------------------------------  ------------------------------  ------------------------------------------
//	2026-11-27T225001.000.log       the lines since that time       the lines of the last quarter of a second
//	                                                                are missing (kill -9), or those that the
//	                                                                system had not written (power loss); a
//	                                                                torn last line is skipped
//	mail.log                        a link to the present file      made again at the next start
//	index.db (SQLite)               where each line stands, by      brought up to date from the files: it
//	                                message, sender, recipient      knows up to where it has read each
//
// Nothing waits for this log: [Log.Add] appends to memory and a goroutine writes
// four times a second. Where the disk does not keep up, lines beyond 8 MiB are
// dropped, counted, and the log says how many. Mail is never affected. The index
// is made from the files by a goroutine of its own; where it is lost or damaged
// it is made again.
package maillog

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Event is what happened.
type Event string

// The events.
const (
	Accepted  Event = "accepted"  // taken from the client, and handed to the queue
	Delivered Event = "delivered" // in the mailbox
	Refused   Event = "refused"   // the client was told so, for good or for now
	Discarded Event = "discarded" // a content filter wanted it so
	Queued    Event = "queued"
	Held      Event = "held"
	Released  Event = "released"
	Dropped   Event = "dropped" // out of the queue, by an administrator
	Sent      Event = "sent"    // another server has it
	Deferred  Event = "deferred"
	Failed    Event = "failed"
	Reported  Event = "reported" // its sender, To here, was told of a failure or a delay
)

// Record is one line.
type Record struct {
	Time      time.Time     `json:"time"`
	Event     Event         `json:"event"`
	ID        string        `json:"id,omitempty"`    // of the message where it came in
	Queue     string        `json:"queue,omitempty"` // its id in the queue
	From      string        `json:"from"`            // empty: the null sender
	To        string        `json:"to,omitempty"`
	Size      int64         `json:"size,omitempty"` // bytes
	Result    string        `json:"result,omitempty"`
	Reason    string        `json:"reason,omitempty"` // the words of the reply
	Delay     time.Duration `json:"delay,omitempty"`  // since it came in, nanoseconds
	With      string        `json:"with,omitempty"`   // "ESMTPSA"
	TLS       string        `json:"tls,omitempty"`
	Client    string        `json:"client,omitempty"` // who handed it in
	Remote    string        `json:"remote,omitempty"` // who was given it
	Helo      string        `json:"helo,omitempty"`   // of a client that was refused
	Login     string        `json:"login,omitempty"`
	MessageID string        `json:"message-id,omitempty"`
}

// Config of a Log. Zero values are the defaults.
type Config struct {
	Dir     string
	MaxFile int64         // bytes of a file: 64 MiB
	Keep    time.Duration // how long files are kept: 30 days
	Observe func(*Record) // is told of each record; it must not wait; nil: nobody
	Log     *slog.Logger
	Now     func() time.Time // time.Now
}

// Bounds of the log in memory.
const (
	flushEvery = 250 * time.Millisecond
	flushAt    = 64 << 10 // bytes
	maxPending = 8 << 20  // bytes
)

// Log is an open mail log. It is safe for concurrent use; a nil Log takes
// records and forgets them.
type Log struct {
	cfg   Config
	index *index

	mu      sync.Mutex
	pending []byte
	lost    int

	fileMu  sync.Mutex // of what is below; taken before mu
	file    *os.File
	name    string
	written int64
	opened  time.Time
	spare   []byte

	wake   chan struct{}
	done   chan struct{}
	ended  sync.WaitGroup
	warned time.Time
}

// Open opens the log in cfg.Dir, making it where it is missing.
func Open(cfg Config) (*Log, error) {
	if cfg.MaxFile == 0 {
		cfg.MaxFile = 64 << 20
	}
	if cfg.Keep == 0 {
		cfg.Keep = 30 * 24 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the folder of the mail log: %w", err)
	}
	l := &Log{cfg: cfg, wake: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	if l.index, err = openIndex(filepath.Join(cfg.Dir, "index.db"), cfg.Log); err != nil {
		return nil, err
	}
	l.ended.Go(l.writer)
	l.ended.Go(l.indexer)
	return l, nil
}

// Close writes what is in memory and closes the log.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	close(l.done)
	l.ended.Wait()
	l.flush()
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	err := l.index.close()
	if l.file != nil {
		if closed := l.file.Close(); err == nil {
			err = closed
		}
	}
	return err
}

// Add writes a record. It does not wait for the disk.
func (l *Log) Add(r *Record) {
	if l == nil {
		return
	}
	if r.Time.IsZero() {
		r.Time = l.cfg.Now()
	}
	if l.cfg.Observe != nil {
		l.cfg.Observe(r)
	}
	l.mu.Lock()
	if len(l.pending) > maxPending {
		l.lost++
		l.mu.Unlock()
		return
	}
	first := len(l.pending) == 0
	before := len(l.pending) < flushAt
	l.pending = r.append(l.pending)
	full := before && len(l.pending) >= flushAt
	l.mu.Unlock()
	if first || full {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}
