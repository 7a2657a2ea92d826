package delivery

import (
	"context"
	"fmt"
	"io"
	"strings"

	"expost/internal/mail"
	"expost/internal/store"
)

// Text is a spooled message without the trace fields of this host. It is an
// io.ReaderAt.
type Text struct {
	*io.SectionReader
	body *store.Body
}

// Close ends the Text.
func (t *Text) Close() error { return t.body.Close() }

// Text returns what came from the client, with its header mended. Close it.
func (s *Spooled) Text() (*Text, error) {
	body, err := s.in.Open()
	if err != nil {
		return nil, fmt.Errorf("opening the message: %w", err)
	}
	return &Text{io.NewSectionReader(body, s.trace, body.Size()-s.trace), body}, nil
}

// Rewrite spools what a content filter has made of s. It counts as the same
// message when its client sends it again.
func (a *Agent) Rewrite(ctx context.Context, env *Envelope, s *Spooled, r io.Reader) (*Spooled, error) {
	h := a.headers.Get().(*header)
	defer a.headers.Put(h)
	h.reset(r, a.unfinished.seed, a.cfg.MaxReceived)
	h.hostname = a.cfg.Hostname
	trace := env.trace(a.cfg.Hostname)
	in, err := a.store.Spool(ctx, trace, h, 0)
	if err != nil {
		return nil, fmt.Errorf("storing the filtered message %s: %w", env.ID, err)
	}
	return &Spooled{in: in, key: s.key, messageID: h.messageID, path: int64(len(env.returnPath())), trace: int64(len(trace)), junk: h.junk, passes: h.passes}, nil
}

// Add makes a recipient that a content filter wants: an address here or elsewhere.
func (a *Agent) Add(ctx context.Context, env *Envelope, to mail.Address) error {
	route, err := a.Resolve(ctx, Query{Address: to, Own: true})
	if err != nil {
		return err
	}
	env.Recipients = append(env.Recipients, Recipient{Address: to, Route: route, Notify: "NEVER"})
	return nil
}

// pipe returns what w writes as a reader. Call stop when done.
func pipe(w io.WriterTo) (r io.Reader, stop func()) {
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := w.WriteTo(pw)
		pw.CloseWithError(err)
	}()
	return pr, func() { pr.Close(); <-done }
}

// saysJunk tells whether a field is the verdict of a content filter that the
// message is spam: X-Spam and X-Spam-Flag of rspamd and SpamAssassin, the
// first word of X-Spam-Status, rspamd's X-Rspamd-Action.
func saysJunk(name, value []byte) bool {
	switch {
	case equalFold(name, "x-spam"), equalFold(name, "x-spam-flag"), equalFold(name, "x-spam-status"):
		word, _, _ := strings.Cut(strings.TrimSpace(string(value[:min(len(value), 64)])), ",")
		return strings.EqualFold(word, "yes") || strings.EqualFold(word, "true")
	case equalFold(name, "x-rspamd-action"):
		switch strings.ToLower(strings.TrimSpace(string(value[:min(len(value), 64)]))) {
		case "add header", "rewrite subject", "reject", "quarantine":
			return true
		}
	}
	return false
}
