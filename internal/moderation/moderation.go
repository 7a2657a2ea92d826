// Package moderation keeps messages that wait for somebody's decision: a
// moderator's, whether a list gets the message, or its sender's, whether it is
// really theirs.
//
// A message is one file: a line of JSON, which says what it is, and the message
// as it was received, so that both can be read in an emergency. Its name is the
// token that decides on it, which nobody can guess.
//
//	on disk      what it is                                   after a crash
//	-----------  -------------------------------------------  ---------------------------------------
//	TOKEN.new    written and synced; those who decide are     Open removes it: the sender was not told
//	             being asked                                  250 and comes again; their answer to the
//	                                                          first question finds nothing
//	TOKEN.held   waits; its sender was told 250               waits
//	no file      decided: delivered, returned or refused;     where the crash fell between the delivery
//	             or its time was over                         and the removal, it can be decided again
package moderation

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"expost/internal/blob"
	"expost/internal/mail"
)

// Lifetime is how long a message waits before it is returned.
const Lifetime = 7 * 24 * time.Hour

// Stage is what a message waits for.
type Stage string

// The stages.
const (
	Confirm  Stage = "confirm"  // its sender
	Moderate Stage = "moderate" // a moderator
)

// Message is what is known of a message that waits.
type Message struct {
	Token    string       `json:"token"`
	Stage    Stage        `json:"stage"`
	List     mail.Address `json:"list"`
	From     mail.Address `json:"from"`            // the reverse-path
	Login    mail.Address `json:"login,omitempty"` // who was logged in
	Subject  string       `json:"subject,omitempty"`
	Size     int64        `json:"size"`
	Received time.Time    `json:"received"`

	UTF8     bool   `json:"utf8,omitempty"`   // SMTPUTF8
	Return   string `json:"ret,omitempty"`    // RET
	EnvID    string `json:"envid,omitempty"`  // ENVID
	Notify   string `json:"notify,omitempty"` // NOTIFY of the list's RCPT
	Original string `json:"orcpt,omitempty"`  // ORCPT of it
}

// Expires returns when the message is returned.
func (m *Message) Expires() time.Time { return m.Received.Add(Lifetime) }

// Store has the messages that wait. It is safe for concurrent use.
type Store struct {
	dir string
	mu  sync.Mutex
	out map[string]bool // tokens being decided on
}

// Open opens the store in dir, making it where it is missing.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of moderated mail: %w", err)
	}
	unfinished, err := filepath.Glob(filepath.Join(dir, "*.new"))
	if err != nil {
		return nil, fmt.Errorf("reading the folder of moderated mail: %w", err)
	}
	for _, f := range unfinished {
		if err := os.Remove(f); err != nil {
			return nil, fmt.Errorf("removing an unfinished message: %w", err)
		}
	}
	return &Store{dir: dir, out: map[string]bool{}}, nil
}

// NewToken returns a token for a new message.
func NewToken() string { return strings.ToLower(rand.Text()) }

// isToken tells whether s can be a token: it becomes the name of a file.
func isToken(s string) bool {
	if len(s) != 26 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

func (s *Store) path(token, state string) string { return filepath.Join(s.dir, token+"."+state) }

// Put keeps a message: it is written, ask asks those who decide, and when both
// have succeeded it waits, on disk.
func (s *Store) Put(m *Message, body io.Reader, ask func() error) error {
	path := s.path(m.Token, "new")
	err := write(path, m, body)
	if err == nil {
		err = ask()
	}
	if err == nil {
		err = os.Rename(path, s.path(m.Token, "held"))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keeping a message for %s: %w", m.List, err), removed(os.Remove(path)))
	}
	return blob.SyncDir(s.dir)
}

// removed ignores that a file was not there.
func removed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func write(path string, m *Message, body io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return mail.WrapError(mail.KindUnavailable, err, "the message could not be written to disk")
	}
	w := bufio.NewWriter(f)
	err = json.NewEncoder(w).Encode(m)
	if err == nil {
		_, err = io.Copy(w, body)
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return mail.WrapError(mail.KindUnavailable, err, "the message could not be written to disk")
	}
	return nil
}

// Held is a message that waits, open for reading.
type Held struct {
	Message
	file *os.File
	head int64
}

// Body returns a reader of the message, from its beginning.
func (h *Held) Body() *io.SectionReader {
	return io.NewSectionReader(h.file, h.head, h.Size)
}

// Close ends the reading.
func (h *Held) Close() error { return h.file.Close() }

// maxHead bounds the line that says what a file is.
const maxHead = 64 << 10

// Get returns a message that waits; mail.KindNotExist where it was decided or
// never was. Close what it returns.
func (s *Store) Get(token string) (*Held, error) {
	if !isToken(token) {
		return nil, errGone(token)
	}
	f, err := os.Open(s.path(token, "held"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errGone(token)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the message %s: %w", token, err)
	}
	h := &Held{file: f}
	if err := h.read(); err != nil {
		return nil, errors.Join(mail.WrapError(mail.KindCorrupt, err, "the message %s cannot be read", token), f.Close())
	}
	return h, nil
}

func errGone(token string) error {
	return mail.Errorf(mail.KindNotExist, "no message %q waits: it was decided on already, or its time was over", token)
}

// read reads the first line.
func (h *Held) read() error {
	r := bufio.NewReaderSize(io.LimitReader(h.file, maxHead), 4096)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	info, err := h.file.Stat()
	if err != nil {
		return err
	}
	h.head = int64(len(line))
	if err := json.Unmarshal(line, &h.Message); err != nil {
		return err
	}
	h.Size = info.Size() - h.head
	return nil
}

// All returns what waits, the oldest first. Files that cannot be read are in
// the error; the others are returned all the same.
func (s *Store) All() ([]Message, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of moderated mail: %w", err)
	}
	var list []Message
	var errs []error
	for _, f := range files {
		token, ok := strings.CutSuffix(f.Name(), ".held")
		if !ok {
			continue
		}
		h, err := s.Get(token)
		if err == nil {
			list = append(list, h.Message)
			err = h.Close()
		}
		if err != nil && mail.KindOf(err) != mail.KindNotExist {
			errs = append(errs, err)
		}
	}
	slices.SortFunc(list, func(a, b Message) int { return a.Received.Compare(b.Received) })
	return list, errors.Join(errs...)
}

// Decide lets carry act on a message and removes it where carry succeeds. Of
// two who decide at the same time the second gets mail.KindNotExist.
func (s *Store) Decide(token string, carry func(*Held) error) error {
	s.mu.Lock()
	busy := s.out[token]
	if !busy {
		s.out[token] = true
	}
	s.mu.Unlock()
	if busy {
		return errGone(token)
	}
	defer func() {
		s.mu.Lock()
		delete(s.out, token)
		s.mu.Unlock()
	}()
	h, err := s.Get(token)
	if err != nil {
		return err
	}
	err = carry(h)
	if err = errors.Join(err, h.Close()); err != nil {
		return err
	}
	if err := os.Remove(s.path(token, "held")); err != nil {
		return fmt.Errorf("removing the message %s: %w", token, err)
	}
	return blob.SyncDir(s.dir)
}
