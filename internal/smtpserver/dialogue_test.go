package smtpserver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"expost/internal/listener"
)

// TestDialogues plays testdata/*.txt against a server over loopback and a real
// store. The lines of a file:
//
//	# a comment
//	MODE receive|submission|lmtp [reject|mend] [never|loopback|always] [notls]   another server and a connection to it
//	C: text            sends the text and CRLF
//	C> "text"          sends the bytes of a Go string
//	S: text            the next line of the server is this; * stands for anything
//	TLS                the client starts TLS
//	END                the server closes the connection
//	HANGUP             the client closes the connection
//	NEW                another connection
//	BOX who name n     the mailbox of who@example.org has n messages
//	HAS who name text  its last message has this text (a Go string)
//	NOT who name text  its last message does not have this text
func TestDialogues(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			play(t, f)
		})
	}
}

// play runs the dialogues of a file.
func play(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialogue{t: t}
	number, skip := 0, false
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if mode, ok := strings.CutPrefix(line, "MODE "); ok {
			d.node, skip = newNode(t, modeConfig(t, mode)), false
			d.dial()
			continue
		}
		if skip {
			continue
		}
		if err := d.line(line); err != nil {
			t.Errorf("%s:%d: %s: %v", file, number, line, err)
			skip = true // the rest of this dialogue makes no sense any more
		}
	}
}

func modeConfig(t *testing.T, words string) Config {
	t.Helper()
	var cfg Config
	for w := range strings.FieldsSeq(words) {
		switch w {
		case "receive":
			cfg.Mode = Receive
		case "submission":
			cfg.Mode = Submission
		case "lmtp":
			cfg.Mode = LMTP
		case "reject", "mend":
			cfg.BareNewline = BareNewline(w)
		case "never", "loopback", "always":
			cfg.PlaintextAuth = listener.PlaintextAuth(w)
		case "notls":
			cfg.TLSConfig = &tls.Config{}
		default:
			t.Fatalf("MODE %s: %s is not known", words, w)
		}
	}
	return cfg
}

// dialogue is a client that follows a file.
type dialogue struct {
	t    *testing.T
	node *node
	nc   net.Conn
	in   *bufio.Reader
}

func (d *dialogue) dial() {
	d.t.Helper()
	d.nc = d.node.dial(d.t)
	d.in = bufio.NewReader(d.nc)
}

func (d *dialogue) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "", "#":
		return nil
	case "C:":
		_, err := io.WriteString(d.nc, rest+"\r\n")
		return err
	case "C>":
		s, err := strconv.Unquote(rest)
		if err == nil {
			_, err = io.WriteString(d.nc, s)
		}
		return err
	case "S:":
		return d.expect(rest)
	case "TLS":
		tc := tls.Client(d.nc, &tls.Config{InsecureSkipVerify: true})
		d.nc, d.in = tc, bufio.NewReader(tc)
		return tc.Handshake()
	case "END":
		if b, err := d.in.ReadByte(); err == nil {
			line, _ := d.in.ReadString('\n')
			return fmt.Errorf("the server goes on: %c%s", b, line)
		}
		return nil
	case "HANGUP":
		return d.nc.Close()
	case "NEW":
		_ = d.nc.Close()
		d.dial()
		return nil
	}
	return d.mailbox(word, rest)
}

// expect reads a line and compares it with a pattern.
func (d *dialogue) expect(pattern string) error {
	got, err := d.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("got %q, %w", got, err)
	}
	text, ok := strings.CutSuffix(got, "\r\n")
	if !ok {
		return fmt.Errorf("%q does not end with CRLF", got)
	}
	re := "^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"
	if !regexp.MustCompile(re).MatchString(text) {
		return fmt.Errorf("got %q", text)
	}
	return nil
}

// mailbox checks what has arrived.
func (d *dialogue) mailbox(word, rest string) error {
	args := strings.SplitN(rest, " ", 3)
	if len(args) != 3 {
		return fmt.Errorf("%s is not a line of a dialogue", word)
	}
	msgs := d.node.messages(d.t, args[0], args[1])
	if word == "BOX" {
		if strconv.Itoa(len(msgs)) != args[2] {
			return fmt.Errorf("it has %d", len(msgs))
		}
		return nil
	}
	text, err := strconv.Unquote(args[2])
	if err != nil {
		return err
	}
	if len(msgs) == 0 {
		return fmt.Errorf("it is empty")
	}
	last := msgs[len(msgs)-1]
	if word != "HAS" && word != "NOT" {
		return fmt.Errorf("%s is not a line of a dialogue", word)
	}
	if bytes.Contains(last, []byte(text)) != (word == "HAS") {
		return fmt.Errorf("the last message is %q", last)
	}
	return nil
}

// deadline is how long a test waits for something that must happen.
const deadline = 20 * time.Second
