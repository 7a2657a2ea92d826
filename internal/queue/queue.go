// Package queue keeps mail that must leave this host until it has left: it is
// stored, sent, tried again, and returned to its sender where it cannot be
// delivered (RFC 5321 §4.5.4).
//
// # What is on disk
//
// queue.db (SQLite, WAL, synchronous=FULL) has a row for each message, each
// recipient that is not done, and each next hop with mail; the bytes of small
// messages, compressed. A larger message is bodies/ID.zst. A message is in one of
// these states, and a crash leaves it so:
//
//	on disk                          what it is                       after a crash
//	-------------------------------  -------------------------------  ------------------------------------------
//	file, no message row             being enqueued, or just ended    Open removes the file; nobody was told 250
//	message and recipients ready     accepted, not tried yet          sent
//	the same, and a session has it   under way                        sent; again, where the far side had it all
//	recipient waiting, with a time   a try failed for now             tried at that time
//	recipient held                   somebody holds the message       held
//	recipient to be reported         failed for good (or handed on)   reported; twice, where the crash fell
//	                                 and the sender not told yet      between the report and its record
//	no recipient row left            cannot be: the last one goes in one transaction with message and body
//
// Every change is one transaction. So a message that Enqueue accepted is
// delivered or returned whatever happens, and only what was under way at a crash
// may be sent twice. Transactions that come at the same time share one fsync.
//
// # Who goes first
//
// Mail is sorted by next hop. A hop has as many sessions as it has proved to
// bear: the number grows with every message it takes and shrinks with every
// connection it refuses. A hop that cannot be reached is left alone for a while
// that doubles, as one row, however many messages wait for it. Within a hop new
// mail goes by a rank that is the time of its arrival, but for a sender with
// much mail: each further recipient is ranked a little later than the one
// before, so that a newsletter of 100,000 does not keep anybody waiting. Mail to be
// retried has a third of the places.
//
// Memory holds the mail of the next seconds; no count of messages or hops is
// too large for it, and nothing is asked of the database that an index does not answer.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"expost/internal/blob"
	"expost/internal/mail"
	"expost/internal/maillog"
	"expost/internal/route"
)

// ID names a message in the queue, in order of arrival.
type ID int64

// String returns the ID as logs and commands show it.
func (id ID) String() string { return strings.ToUpper(strconv.FormatInt(int64(id), 36)) }

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	n, err := strconv.ParseInt(s, 36, 64)
	if err != nil || n <= 0 {
		return 0, mail.Errorf(mail.KindInvalid, "%q is no queue id", s)
	}
	return ID(n), nil
}

// Envelope is a message's way.
type Envelope struct {
	From       mail.Address // empty: the null reverse-path
	Origin     string       // who handed it in, for fairness and the log: an account's address; empty: From
	Recipients []Recipient
	UTF8       bool   // SMTPUTF8 was asked for
	RequireTLS bool   // RFC 8689
	Return     string // RET: "FULL", "HDRS"; empty: not given
	EnvID      string // ENVID, decoded
	Message    string // its name in the log where it came in
	By         DeliverBy
	Priority   int       // MT-PRIORITY, -9 to 9 (RFC 6710)
	NotBefore  time.Time // it is not sent earlier (RFC 4865); zero: at once
	Hold       string    // why it is held from the start; empty: it is not
}

// DeliverBy is a wish for speed (RFC 2852). The zero DeliverBy is none.
type DeliverBy struct {
	Time   time.Time
	Return bool // it is returned when the time has passed; else its sender hears that it is late
	Trace  bool // hosts that pass it on tell the sender
}

// Local is the Recipient.Host of those whose mailbox is here, and the name of
// their hop: mail that was held or waited for its time.
const Local = "local:"

// LocalMailbox is Local for the mailbox of an account alone, for which the mail
// could not be delivered at once: where the account forwards, the mail has gone.
const LocalMailbox = "local:mailbox"

// IsLocal tells whether a hop, or a Recipient.Host, is this host.
func IsLocal(hop string) bool { return hop == Local || hop == LocalMailbox }

// hop returns the name of the hop for a domain or a host.
func (q *Queue) hop(domain, host string) (string, error) {
	if IsLocal(host) {
		return host, nil
	}
	return q.cfg.Routes.Hop(domain, host)
}

// Recipient is one recipient.
type Recipient struct {
	Address  mail.Address
	Notify   string // NOTIFY: "NEVER" or a list of "SUCCESS", "FAILURE", "DELAY"; empty: not given
	Original string // ORCPT, "rfc822;user@host", decoded
	Host     string // the mail goes to this host (mailHost), as route.ParseRelay reads it, or is for Local; empty: by the domain
}

// Clock tells the time. System is the real one.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// System is the clock of the machine.
type System struct{}

// Now is time.Now.
func (System) Now() time.Time { return time.Now() }

// After is time.After.
func (System) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Inject delivers a report: a message with the null sender for one recipient.
// An error of a kind that another try does not change (NotExist, Permission,
// Invalid, TooBig) makes it a double bounce; after any other it is tried again.
type Inject func(ctx context.Context, to mail.Address, r io.Reader) error

// Config of a Queue. Zero values are the defaults.
type Config struct {
	Dir        string
	Hostname   string
	Postmaster mail.Address // gets double bounces, and is the author of reports
	Routes     *route.Table
	Carrier    Carrier
	Inject     Inject
	Clock      Clock
	MailLog    *maillog.Log // nil: the mail log's lines go to Log
	Log        *slog.Logger

	Lifetime    time.Duration // how long a message is tried: 5 days
	DelayNotice time.Duration // when its sender hears of it: 4 h
	MinBackoff  time.Duration // between two tries: 1 min, doubled each time
	MaxBackoff  time.Duration // 1 h
	Sessions    int           // in all: 200
	PerHop      int           // to one hop: 20
	PerSession  int           // messages over one session: 100
	Recipients  int           // in one transaction: 100
}

func (c Config) withDefaults() Config {
	durations := []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&c.Lifetime, 5 * 24 * time.Hour}, {&c.DelayNotice, 4 * time.Hour},
		{&c.MinBackoff, time.Minute}, {&c.MaxBackoff, time.Hour},
	}
	for _, d := range durations {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	numbers := []struct {
		value *int
		usual int
	}{{&c.Sessions, 200}, {&c.PerHop, 20}, {&c.PerSession, 100}, {&c.Recipients, 100}}
	for _, n := range numbers {
		if *n.value == 0 {
			*n.value = n.usual
		}
	}
	if c.Clock == nil {
		c.Clock = System{}
	}
	if c.Routes == nil {
		c.Routes = &route.Table{}
	}
	return c
}

// Queue is an open queue. It is safe for concurrent use.
type Queue struct {
	cfg    Config
	codec  *blob.Codec
	lock   *os.File
	db     *database // of all writes, by its own goroutine
	reader *database // of the scheduler and of what concerns one message, under readMu
	readMu sync.Mutex
	lister *database // of what looks at many messages, under listMu: the scheduler does not wait for it
	listMu sync.Mutex
	writes chan *write
	closed chan struct{}
	lastID atomic.Int64
	wake   chan struct{} // to the scheduler
	report chan struct{} // to the reporter
	work   sync.WaitGroup

	mu    sync.Mutex
	hops  map[string]*hop
	busy  int // sessions
	lanes map[string]int64
}

// Open opens the queue in cfg.Dir, making it where it is missing. Nothing is
// sent before Run.
func Open(cfg Config) (*Queue, error) {
	q := &Queue{
		cfg: cfg.withDefaults(), codec: blob.NewCodec(),
		writes: make(chan *write, 256), closed: make(chan struct{}),
		wake: make(chan struct{}, 1), report: make(chan struct{}, 1),
		hops: map[string]*hop{}, lanes: map[string]int64{},
	}
	if err := os.MkdirAll(q.bodies(), 0o700); err != nil {
		return nil, fmt.Errorf("making the queue's folder: %w", err)
	}
	if err := q.open(); err != nil {
		return nil, errors.Join(err, q.release())
	}
	go q.writer()
	if err := q.recover(); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

func (q *Queue) bodies() string { return filepath.Join(q.cfg.Dir, "bodies") }

// open takes the lock and opens the database.
func (q *Queue) open() (err error) {
	path := filepath.Join(q.cfg.Dir, "lock")
	if q.lock, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("opening the queue's lock: %w", err)
	}
	if err := unix.Flock(int(q.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return mail.Errorf(mail.KindTemporary, "another process works with this queue (%s is locked)", path)
	}
	path = filepath.Join(q.cfg.Dir, "queue.db")
	if q.db, err = openDatabase(path); err != nil {
		return err
	}
	if err := q.db.migrate(); err != nil {
		return err
	}
	if q.reader, err = openDatabase(path); err != nil {
		return err
	}
	q.lister, err = openDatabase(path)
	return err
}

// release closes what open opened.
func (q *Queue) release() error {
	var errs []error
	for _, db := range []*database{q.lister, q.reader, q.db} {
		if db != nil {
			errs = append(errs, db.close())
		}
	}
	if q.lock != nil {
		// Unlocked by name: a child that is just being started still has the file open.
		errs = append(errs, unix.Flock(int(q.lock.Fd()), unix.LOCK_UN), q.lock.Close())
	}
	return errors.Join(errs...)
}

// Close closes the queue. Run must have ended.
func (q *Queue) Close() error {
	close(q.writes)
	<-q.closed
	return q.release()
}

// recover removes the bodies of messages that a crash kept out of the queue,
// and sorts the mail anew where the routes were changed.
func (q *Queue) recover() error {
	files, err := os.ReadDir(q.bodies())
	if err != nil {
		return fmt.Errorf("reading the queue's bodies: %w", err)
	}
	for _, f := range files {
		id, err := ParseID(strings.TrimSuffix(f.Name(), ".zst"))
		if err != nil {
			continue
		}
		if _, err := q.message(id); mail.KindOf(err) == mail.KindNotExist {
			if err := os.Remove(filepath.Join(q.bodies(), f.Name())); err != nil {
				return fmt.Errorf("removing the body of %s: %w", id, err)
			}
		} else if err != nil {
			return err
		}
	}
	return q.update(context.Background(), func(db *database) error {
		last, err := db.int64(`SELECT coalesce(max(id), 0) FROM message`)
		q.lastID.Store(max(last, q.now()))
		if err != nil {
			return err
		}
		return q.resort(db)
	})
}

// resort moves recipients whose hop is another one by now.
func (q *Queue) resort(db *database) error {
	type place struct{ domain, host, hop string }
	var wrong []place
	err := db.query(`SELECT DISTINCT domain, host, hop FROM rcpt`, func(s *row) error {
		p := place{s.ColumnText(0), s.ColumnText(1), s.ColumnText(2)}
		if name, err := q.hop(p.domain, p.host); err == nil && name != p.hop {
			wrong = append(wrong, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range wrong {
		name, err := q.hop(p.domain, p.host)
		if err != nil {
			return err
		}
		if err := db.exec(`UPDATE rcpt SET hop = ? WHERE hop = ? AND domain = ? AND host = ?`, name, p.hop, p.domain, p.host); err != nil {
			return err
		}
		if err := db.touchHop(name, q.now()); err != nil {
			return err
		}
	}
	return nil
}

// now is the time as the database has it: microseconds since 1970.
func (q *Queue) now() int64 { return q.cfg.Clock.Now().UnixMicro() }

// nudge wakes whoever waits on ch.
func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
