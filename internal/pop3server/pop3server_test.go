package pop3server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"expost/internal/directory"
	"expost/internal/listener"
	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// people answers logins: any name with the password "pass".
type people struct{}

func (people) Login(_ context.Context, login, password string) (*directory.Account, error) {
	if password != "pass" {
		return nil, mail.Errorf(mail.KindAuth, "wrong login or password")
	}
	host := ""
	if login == "away" {
		host = "other.example.org"
	}
	return &directory.Account{ID: mail.AccountID("example.org/" + login), Host: host}, nil
}

// messages are what INBOX holds in every test.
var messages = []string{
	"Subject: one\r\n\r\nfirst\r\n.dot\r\n..two\r\nlast\r\n",
	"Subject: two\r\n\r\nno end",
	"Subject: three\n\nbare\nlines\n",
}

// internationalized is a message with UTF-8 in its headers (RFC 6532).
const internationalized = "From: Jürgen Groß <jg@bücher.example>\r\nTo: 用户@例子.example, \"A. Jay\" <ajay@example.org>\r\nCc: Büro: a@example.org;\r\nSubject: Grüße\r\n aus Köln\r\nX-Plain: plain\r\n" +
	"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nschön\r\n" +
	"--b\r\nContent-Type: application/pdf; name=\"Maß.pdf\"\r\nContent-Disposition: attachment; filename=\"Maß.pdf\"\r\n\r\nx\r\n--b--\r\n"

// unsayable is a message whose sender has an address that ASCII cannot say.
const unsayable = "From: 用户 <用户@例子.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nx\r\n"

// start runs a server over a store in which ajay has messages.
func start(t *testing.T, plaintext listener.PlaintextAuth) (addr string, account *store.Account) {
	t.Helper()
	return startWith(t, func(c *Config) { c.PlaintextAuth = plaintext })
}

// startWith is start with a configuration of its own and more messages.
func startWith(t *testing.T, change func(*Config), more ...string) (addr string, account *store.Account) {
	t.Helper()
	engine, err := sqlite.New(t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	st := store.New(engine, store.Options{})
	t.Cleanup(func() { st.Close() })
	ctx := t.Context()
	if err := st.Create(ctx, "example.org/ajay"); err != nil {
		t.Fatal(err)
	}
	account, err = st.Open(ctx, "example.org/ajay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Release)
	inbox, err := account.Mailbox(ctx, mail.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range slices.Concat(messages, more) {
		in, err := st.Spool(ctx, nil, strings.NewReader(m), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := account.Append(ctx, inbox.ID, in, store.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		in.Close()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cfg := Config{Store: st, Directory: people{}, Hostname: "mail.example.org", PlaintextAuth: listener.PlaintextLoopback, TLSConfig: testTLS(t), Limits: Limits{Errors: 6}, Logger: slog.New(slog.DiscardHandler)}
	change(&cfg)
	srv := New(cfg)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String(), account
}

// testTLS returns a configuration with a fresh self-signed certificate.
func testTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mail.example.org"}},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// TestDialogues plays every file of testdata: C: lines are sent, S: lines must
// be what comes; "*" at an S: line's end stands for anything. "C: STLS" is
// followed by a TLS handshake. A line "# plaintext VALUE" sets the policy.
func TestDialogues(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			policy := listener.PlaintextLoopback
			if rest, ok := strings.CutPrefix(string(script), "# plaintext "); ok {
				line, _, _ := strings.Cut(rest, "\n")
				policy = listener.PlaintextAuth(line)
			}
			var more []string
			if strings.Contains(file, "utf8") {
				more = []string{internationalized, unsayable}
			}
			addr, _ := startWith(t, func(c *Config) { c.PlaintextAuth = policy }, more...)
			play(t, addr, string(script))
		})
	}
}

// play carries out one dialogue.
func play(t *testing.T, addr, script string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { nc.Close() }()
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(nc)
	handshake := false
	for i, line := range strings.Split(script, "\n") {
		switch {
		case strings.HasPrefix(line, "C: "):
			io.WriteString(nc, line[3:]+"\r\n")
			handshake = line == "C: STLS"
		case strings.HasPrefix(line, "S: "), line == "S:":
			got, err := r.ReadString('\n')
			want := strings.TrimPrefix(strings.TrimPrefix(line, "S:"), " ")
			got = strings.TrimSuffix(got, "\r\n")
			prefix, wild := strings.CutSuffix(want, "*")
			if err != nil || got != want && !(wild && strings.HasPrefix(got, prefix)) {
				t.Fatalf("line %d: got %q, %v; want %q", i+1, got, err, want)
			}
			if handshake && strings.HasPrefix(got, "+OK") {
				tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
				if err := tc.Handshake(); err != nil {
					t.Fatal(err)
				}
				nc, r, handshake = tc, bufio.NewReader(tc), false
			}
		case line == "E:":
			if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
				t.Fatalf("line %d: want the end, got %q, %v", i+1, rest, err)
			}
		case line != "" && line[0] != '#':
			t.Fatalf("line %d: %q is neither C:, S:, E: nor #", i+1, line)
		}
	}
}

func TestQuitRemovesAndDisconnectDoesNot(t *testing.T) {
	t.Parallel()
	addr, account := start(t, listener.PlaintextLoopback)
	count := func() int {
		m, err := account.Mailbox(t.Context(), mail.Inbox)
		if err != nil {
			t.Fatal(err)
		}
		return m.Messages
	}
	play(t, addr, "S: +OK*\nC: USER ajay\nS: +OK*\nC: PASS pass\nS: +OK 3*\nC: DELE 2\nS: +OK*\n")
	if n := count(); n != 3 {
		t.Fatalf("%d messages after a disconnect, want 3", n)
	}
	// The lock of the session that went away is given back once the server has noticed.
	for {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(nc, "USER ajay\r\nPASS pass\r\nDELE 2\r\nQUIT\r\n")
		answer, err := io.ReadAll(nc)
		nc.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(answer, []byte("[IN-USE]")) {
			if !bytes.Contains(answer, []byte("1 messages removed")) {
				t.Fatalf("answer %q", answer)
			}
			break
		}
	}
	if n := count(); n != 2 {
		t.Errorf("%d messages after QUIT, want 2", n)
	}
}

func TestMaildropIsExclusive(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, listener.PlaintextLoopback)
	first, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	io.WriteString(first, "USER ajay\r\nPASS pass\r\n")
	r := bufio.NewReader(first)
	for range 3 {
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+OK") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	play(t, addr, "S: +OK*\nC: USER ajay\nS: +OK*\nC: PASS pass\nS: -ERR [IN-USE] *\nC: QUIT\nS: +OK*\nE:\n")
}

// What LIST says of a message is what RETR sends, surrogate or not.
func TestSurrogateSize(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"NOOP", "UTF8"} {
		addr, _ := startWith(t, func(*Config) {}, internationalized)
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(nc, mode+"\r\nUSER ajay\r\nPASS pass\r\nLIST 4\r\nRETR 4\r\nQUIT\r\n")
		all, err := io.ReadAll(nc)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(all), "bytes)\r\n+OK 4 ")
		size, rest, _ := strings.Cut(rest, "\r\n")
		_, rest, _ = strings.Cut(rest, "\r\n")
		text, _, found := strings.Cut(rest, "\r\n.\r\n")
		if text += "\r\n"; !found || size != strconv.Itoa(len(text)) {
			t.Errorf("%s: LIST says %s, RETR sends %d bytes", mode, size, len(text))
		}
		header, _, _ := strings.Cut(text, "\r\n\r\n")
		if mail.IsASCII(header) == (mode == "UTF8") {
			t.Errorf("%s: the header is %q", mode, header)
		}
	}
}

// A session that is silent, since its client has lost its network, does not keep
// its user out; one that has gone on for a day ends.
func TestLockIsNotForEver(t *testing.T) {
	t.Parallel()
	addr, _ := startWith(t, func(c *Config) { c.Limits.TakeOver = time.Nanosecond })
	first, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	first.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(first, "USER ajay\r\nPASS pass\r\nDELE 1\r\n")
	r := bufio.NewReader(first)
	for range 4 {
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+OK") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	// It answers before it waits: the second one may have to try again.
	for taken := false; !taken; {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(nc, "USER ajay\r\nPASS pass\r\nQUIT\r\n")
		answer, err := io.ReadAll(nc)
		nc.Close()
		if err != nil {
			t.Fatal(err)
		}
		taken = bytes.Contains(answer, []byte("+OK 3 messages"))
		if !taken && !bytes.Contains(answer, []byte("[IN-USE]")) {
			t.Fatalf("answer %q", answer)
		}
	}
	rest, err := io.ReadAll(r)
	if err != nil || string(rest) != "-ERR [IN-USE] another session has taken the mailbox\r\n" {
		t.Errorf("the first one hears %q, %v", rest, err)
	}
	addr, _ = startWith(t, func(c *Config) { c.Limits.SessionTime = 50 * time.Millisecond })
	play(t, addr, "S: +OK*\nC: USER ajay\nS: +OK*\nC: PASS pass\nS: +OK*\nS: -ERR closed *\nE:\n")
}

func TestSendLinesInPieces(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 40<<10)
	for _, tt := range []struct {
		in    string
		lines int
		want  string
	}{
		{"a: b\r\n\r\n.\r\n", -1, "a: b\r\n\r\n..\r\n.\r\n"},
		{"a: b\n\nx", -1, "a: b\r\n\r\nx\r\n.\r\n"},
		{"", -1, ".\r\n"},
		{"a: b\r\n\r\n1\r\n2\r\n3\r\n", 2, "a: b\r\n\r\n1\r\n2\r\n.\r\n"},
		{"a: b\r\n\r\n1\r\n", 0, "a: b\r\n\r\n.\r\n"},
		{long + "\r\n\r\n." + long + "\r\n", -1, long + "\r\n\r\n.." + long + "\r\n.\r\n"},
		{strings.Repeat("y", 32<<10-1) + "\r\nz", -1, strings.Repeat("y", 32<<10-1) + "\r\nz\r\n.\r\n"},
		{strings.Repeat("y", 32<<10-1) + "\rz\r\n", -1, strings.Repeat("y", 32<<10-1) + "\rz\r\n.\r\n"},
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(tt.in), "bytes": iotest.OneByteReader(strings.NewReader(tt.in))} {
			var b bytes.Buffer
			if err := sendLines(&b, r, tt.lines); err != nil {
				t.Fatal(err)
			}
			if b.String() != tt.want {
				t.Errorf("%s, %d lines of %.20q (%d bytes): %d bytes differ from %d", name, tt.lines, tt.in, len(tt.in), b.Len(), len(tt.want))
			}
		}
	}
}

func FuzzSurrogate(f *testing.F) {
	f.Add([]byte(internationalized))
	f.Add([]byte(unsayable))
	f.Add([]byte("Gr\xfc\xdfe\r\n\xff: \xff\n \xff\n\nx"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p := message.NewParser(message.Limits{}, nil)
		if _, err := p.Write(in); err != nil {
			t.Fatal(err)
		}
		m := p.Finish()
		for i := range m.Parts {
			out := surrogateHeader(in[m.Parts[i].Header:m.Parts[i].Body], &m.Parts[i])
			if !mail.IsASCII(out) || len(out) > 100*len(in)+1000 {
				t.Fatalf("%q", out)
			}
		}
	})
}

func FuzzSendLines(f *testing.F) {
	for _, m := range messages {
		f.Add([]byte(m), -1)
		f.Add([]byte(m), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, lines int) {
		var b bytes.Buffer
		if err := sendLines(&b, bytes.NewReader(in), lines); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		if !strings.HasSuffix(out, ".\r\n") || strings.Contains(strings.TrimSuffix("\r\n"+out, ".\r\n"), "\r\n.\r\n") {
			t.Fatalf("an end in the middle: %q", out)
		}
	})
}
