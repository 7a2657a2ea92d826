package proxy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxHeader bounds the header of a message that a far side sends, maxMessages
// how many a maildrop may have.
const (
	maxHeader   = 1 << 20
	maxMessages = 1_000_000
)

// DropMessage is a message of a POP3 maildrop.
type DropMessage struct {
	Number int
	UIDL   string
}

// Maildrop lists the messages of a POP3 session that was opened and not spliced,
// in order of their numbers, with their unique ids.
func (s *Session) Maildrop(ctx context.Context) ([]DropMessage, error) {
	var list []DropMessage
	err := s.multiline(ctx, "UIDL", func(line string) error {
		number, uidl, ok := strings.Cut(line, " ")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n < 1 || uidl == "" {
			return fmt.Errorf("UIDL says %q", line)
		}
		if len(list) == maxMessages {
			return errors.New("UIDL has no end")
		}
		list = append(list, DropMessage{n, strings.TrimSpace(uidl)})
		return nil
	})
	return list, err
}

// Header returns the header of a message of a POP3 session, lines ended by CRLF.
func (s *Session) Header(ctx context.Context, number int) ([]byte, error) {
	var header []byte
	err := s.multiline(ctx, "TOP "+strconv.Itoa(number)+" 0", func(line string) error {
		line = strings.TrimPrefix(line, ".")
		if len(header)+len(line) > maxHeader {
			return errors.New("the header is too long")
		}
		header = append(append(header, line...), "\r\n"...)
		return nil
	})
	return header, err
}

// multiline sends a command and calls each with every line of the answer.
func (s *Session) multiline(ctx context.Context, command string, each func(line string) error) error {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := s.conn.SetDeadline(time.Now().Add(s.proxy.cfg.Timeout)); err != nil {
		return err
	}
	d := &dialog{conn: s.conn, in: s.in}
	reply, err := d.pop3(command)
	if err != nil {
		return err
	}
	if !hasFold(reply, "+OK") {
		return fmt.Errorf("%s is answered with %q", command, reply)
	}
	for {
		line, err := d.line()
		if err != nil || line == "." {
			return err
		}
		if err := each(line); err != nil {
			return err
		}
	}
}
