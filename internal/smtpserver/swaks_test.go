package smtpserver

import (
	"os/exec"
	"strings"
	"testing"

	"expost/internal/delivery/deliverytest"
	"expost/internal/listener"
	"expost/internal/mail"
	"expost/internal/peertest"
)

// swaks runs the SMTP test client of that name and returns what it says. ok
// tells whether the server took the message.
func swaks(t *testing.T, n *node, args ...string) (out string, ok bool) {
	t.Helper()
	host, port, _ := strings.Cut(n.addr, ":")
	args = append([]string{"--server", host, "--port", port, "--from", "ann@example.org", "--helo", "laptop"}, args...)
	b, err := exec.Command(peertest.Lookup(t, "swaks"), args...).CombinedOutput()
	return string(b), err == nil
}

func TestSwaks(t *testing.T) {
	t.Parallel()
	auth := func(mech string) []string {
		return []string{"--auth", mech, "--auth-user", "ann@example.org", "--auth-password", deliverytest.Password}
	}
	both := []string{"--to", "ann@example.org,bob@example.org", "--body", "hello\n.\n..dots"}
	for name, tt := range map[string]struct {
		cfg  Config
		args []string
		ok   bool
		with string
	}{
		"receive":              {Config{}, both, true, "ESMTP"},
		"receive, TLS":         {Config{}, append(both, "--tls"), true, "ESMTPS"},
		"receive, pipelined":   {Config{}, append(both, "--pipeline"), true, "ESMTP"},
		"submission, PLAIN":    {Config{Mode: Submission}, append(append(both, "--tls"), auth("PLAIN")...), true, "ESMTPSA"},
		"submission, LOGIN":    {Config{Mode: Submission}, append(append(both, "--tls"), auth("LOGIN")...), true, "ESMTPSA"},
		"submission, loopback": {Config{Mode: Submission, PlaintextAuth: listener.PlaintextLoopback}, append(both, auth("LOGIN")...), true, "ESMTPA"},
		"submission, no TLS":   {Config{Mode: Submission}, append(both, auth("PLAIN")...), false, ""},
		"submission, no AUTH":  {Config{Mode: Submission}, append(both, "--tls"), false, ""},
		"LMTP":                 {Config{Mode: LMTP}, append(both, "--protocol", "LMTP"), true, "LMTP"},
		"relay":                {Config{}, []string{"--to", "x@gmail.example"}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, tt.cfg)
			out, ok := swaks(t, n, tt.args...)
			if ok != tt.ok {
				t.Fatalf("taken: %v, want %v\n%s", ok, tt.ok, out)
			}
			for _, who := range []string{"ann", "bob"} {
				msgs := n.messages(t, who, mail.Inbox)
				if !tt.ok {
					if len(msgs) != 0 {
						t.Errorf("%s has %q", who, msgs)
					}
					continue
				}
				if len(msgs) != 1 || !strings.HasSuffix(strings.TrimRight(string(msgs[0]), "\r\n"), "\r\n\r\nhello\r\n.\r\n..dots") ||
					!strings.Contains(string(msgs[0]), " with "+tt.with+" id ") {
					t.Errorf("%s has %q", who, msgs)
				}
			}
		})
	}
}
