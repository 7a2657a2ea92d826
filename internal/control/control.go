// Package control is the control socket: a command that finds a server running
// on its data folder is carried out inside that server, with the caller's
// arguments, folder, input and terminal, so that every command has one
// implementation and the files have one owner.
//
// The socket is a Unix socket that only the server's user and root may open.
// One connection carries one command. The client sends a Request as a line of
// JSON; then both sides send frames: one byte of kind, four bytes of length
// (big endian), the payload.
//
//	client: 'i' a piece of standard input (empty: its end)   'p' the answer to a prompt
//	        'c' cancel (the user pressed Ctrl-C)
//	server: 'o' standard output   'e' standard error   'i' wants standard input
//	        'p' asks for a password (the payload is the prompt)   'x' exit status, one byte, the last frame
//
// Nothing is kept on disk: a client that goes away cancels its command.
package control

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Request is what a client asks for.
type Request struct {
	Args     []string `json:"args"`     // the command line without the program's name
	Dir      string   `json:"dir"`      // the caller's working folder
	Terminal bool     `json:"terminal"` // standard error is a terminal
	Width    int      `json:"width"`    // its width in columns
}

// The kinds of frame.
const (
	frameInput  = 'i'
	frameOutput = 'o'
	frameError  = 'e'
	framePrompt = 'p'
	frameCancel = 'c'
	frameExit   = 'x'
)

// maxFrame bounds a payload; maxRequest the request line.
const (
	maxFrame   = 1 << 20
	maxRequest = 1 << 20
)

// writeFrame writes one frame under mu.
func writeFrame(mu *sync.Mutex, w io.Writer, kind byte, payload []byte) error {
	mu.Lock()
	defer mu.Unlock()
	b := make([]byte, 5, 5+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

// readFrame reads one frame.
func readFrame(r *bufio.Reader) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("reading a control frame: %d bytes is more than %d", n, maxFrame)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[0], payload, err
}

// frameWriter is an io.Writer that sends frames of one kind.
type frameWriter struct {
	mu   *sync.Mutex
	w    io.Writer
	kind byte
}

// Write sends p in frames of at most maxFrame bytes.
func (f frameWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, maxFrame)
		if err := writeFrame(f.mu, f.w, f.kind, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}
