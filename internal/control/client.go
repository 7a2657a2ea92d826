package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// Caller is the client's side of a command: its streams, and how it asks the
// person at the terminal for a password.
type Caller struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Password func(prompt string) (string, error)
}

// Dial connects to the server on the socket. No server there is (nil, nil).
func Dial(path string) (net.Conn, error) {
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, nil
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("asking the running server: %w (run this command as root or as the server's user)", err)
	}
	return nil, fmt.Errorf("asking the running server: %w", err)
}

// Run carries out the request over the connection and returns its exit status.
// When ctx ends, the server is asked to cancel, and its answer is awaited.
func Run(ctx context.Context, conn net.Conn, req Request, who Caller) (int, error) {
	defer conn.Close()
	line, err := json.Marshal(req)
	if err != nil {
		return 1, err
	}
	var mu sync.Mutex
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return 1, fmt.Errorf("asking the running server: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { writeFrame(&mu, conn, frameCancel, nil) })
	defer stop()
	r := bufio.NewReader(conn)
	for {
		kind, payload, err := readFrame(r)
		if err != nil {
			return 1, fmt.Errorf("waiting for the running server: %w (it may have stopped; run the command again)", err)
		}
		switch kind {
		case frameOutput:
			_, err = who.Stdout.Write(payload)
		case frameError:
			_, err = who.Stderr.Write(payload)
		case frameInput:
			err = sendInput(&mu, conn, who.Stdin)
		case framePrompt:
			err = sendPassword(&mu, conn, who, string(payload))
		case frameExit:
			if len(payload) != 1 {
				return 1, errors.New("waiting for the running server: malformed exit status")
			}
			return int(payload[0]), nil
		}
		if err != nil {
			return 1, err
		}
	}
}

// sendInput sends the next piece of standard input, empty at its end.
func sendInput(mu *sync.Mutex, conn net.Conn, in io.Reader) error {
	b := make([]byte, 64<<10)
	n, err := in.Read(b)
	for n == 0 && err == nil {
		n, err = in.Read(b)
	}
	if n == 0 && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading standard input: %w", err)
	}
	return writeFrame(mu, conn, frameInput, b[:n])
}

// sendPassword asks the person and sends the answer.
func sendPassword(mu *sync.Mutex, conn net.Conn, who Caller, prompt string) error {
	if who.Password == nil {
		return errors.New("a password is asked for, but there is no terminal; use --password-stdin")
	}
	pw, err := who.Password(prompt)
	if err != nil {
		return err
	}
	return writeFrame(mu, conn, framePrompt, []byte(pw))
}
