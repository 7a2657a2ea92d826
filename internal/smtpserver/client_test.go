package smtpserver

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"expost/internal/delivery/deliverytest"
)

// client is an SMTP client that says what it is told.
type client struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Reader
}

func newClient(t *testing.T, n *node) *client {
	t.Helper()
	nc := n.dial(t)
	return &client{t, nc, bufio.NewReader(nc)}
}

// send sends a line.
func (c *client) send(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, line+"\r\n"); err != nil {
		c.t.Fatalf("sending %.100q: %v", line, err)
	}
}

// reply returns the last line of the next reply, "" where the server has closed.
func (c *client) reply() string {
	c.t.Helper()
	for {
		line, err := c.in.ReadString('\n')
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatal("no reply")
		}
		if err != nil {
			return ""
		}
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimSuffix(line, "\r\n")
		}
	}
}

// expect fails the test where the next reply does not begin so.
func (c *client) expect(prefix string) {
	c.t.Helper()
	if got := c.reply(); !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("got %q, want %q", got, prefix)
	}
}

// closed fails the test where the server does not close the connection.
func (c *client) closed() {
	c.t.Helper()
	if got := c.reply(); got != "" {
		c.t.Fatalf("got %q, want the end", got)
	}
}

// pending tells whether something comes within a short time.
func (c *client) pending() bool {
	c.t.Helper()
	if err := c.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		c.t.Fatal(err)
	}
	_, err := c.in.Peek(1)
	if err := c.nc.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		c.t.Fatal(err)
	}
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// plain is the response of PLAIN for a login with the right password.
func plain(login string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + login + "\x00" + deliverytest.Password))
}

func (c *client) login(name string) {
	c.t.Helper()
	c.send("AUTH PLAIN " + plain(name))
	c.expect("235")
}
