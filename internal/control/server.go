package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// Handler carries out one request inside the server and returns its exit status.
type Handler func(ctx context.Context, req Request, who Caller) int

// Listen makes the socket, private to this user, removing one that a crash
// left behind. The caller holds the lock of the data folder.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the old control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("making the control socket private: %w", err)
	}
	return l, nil
}

// Serve answers requests until ctx ends, then cancels the running ones and
// waits for them.
func Serve(ctx context.Context, l net.Listener, handle Handler, log *slog.Logger) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accepting on the control socket: %w", err)
		}
		wg.Go(func() {
			if err := serveConn(ctx, conn, handle); err != nil {
				log.Warn("control connection ended", "err", err)
			}
		})
	}
}

// session is one command's connection.
type session struct {
	mu     sync.Mutex
	conn   net.Conn
	cancel context.CancelFunc
	input  chan []byte
	answer chan string
	rest   []byte
	ended  bool
}

// serveConn carries out the one command of a connection.
func serveConn(ctx context.Context, conn net.Conn, handle Handler) error {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := bufio.NewReaderSize(conn, 64<<10)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	req, err := readRequest(r)
	if err != nil {
		return err
	}
	conn.SetReadDeadline(time.Time{})
	s := &session{conn: conn, cancel: cancel, input: make(chan []byte), answer: make(chan string)}
	go s.read(ctx, r)
	code := handle(ctx, req, Caller{
		Stdin:    inputReader{ctx, s},
		Stdout:   frameWriter{&s.mu, conn, frameOutput},
		Stderr:   frameWriter{&s.mu, conn, frameError},
		Password: func(prompt string) (string, error) { return s.password(ctx, prompt) },
	})
	return writeFrame(&s.mu, conn, frameExit, []byte{byte(code)})
}

// readRequest reads the line of JSON a connection starts with.
func readRequest(r *bufio.Reader) (Request, error) {
	var req Request
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return req, fmt.Errorf("reading a control request: %w", err)
		}
		if len(line) > maxRequest {
			return req, fmt.Errorf("reading a control request: longer than %d bytes", maxRequest)
		}
	}
	if err := json.Unmarshal(line, &req); err != nil {
		return req, fmt.Errorf("reading a control request: %w", err)
	}
	return req, nil
}

// read takes the client's frames; the client's going away cancels the command.
func (s *session) read(ctx context.Context, r *bufio.Reader) {
	defer s.cancel()
	for {
		kind, payload, err := readFrame(r)
		if err != nil {
			return
		}
		switch kind {
		case frameInput:
			select {
			case s.input <- payload:
			case <-ctx.Done():
				return
			}
		case framePrompt:
			select {
			case s.answer <- string(payload):
			case <-ctx.Done():
				return
			}
		case frameCancel:
			s.cancel()
		}
	}
}

// password asks the client's person for a password.
func (s *session) password(ctx context.Context, prompt string) (string, error) {
	if err := writeFrame(&s.mu, s.conn, framePrompt, []byte(prompt)); err != nil {
		return "", err
	}
	select {
	case a := <-s.answer:
		return a, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// inputReader reads the client's standard input, a piece at a time, on demand.
type inputReader struct {
	ctx context.Context
	s   *session
}

// Read asks the client for more when what came is used up.
func (in inputReader) Read(p []byte) (int, error) {
	s := in.s
	if s.ended {
		return 0, io.EOF
	}
	if len(s.rest) == 0 {
		if err := writeFrame(&s.mu, s.conn, frameInput, nil); err != nil {
			return 0, err
		}
		select {
		case s.rest = <-s.input:
		case <-in.ctx.Done():
			return 0, in.ctx.Err()
		}
		if len(s.rest) == 0 {
			s.ended = true
			return 0, io.EOF
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
