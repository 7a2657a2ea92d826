package imapserver_test

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"expost/internal/imapserver"
)

// A client that stops reading while it is told of changes holds up no other
// session, no delivery and no end of the server: in IDLE, with NOTIFY, and in
// the middle of an answer.
func TestClientsThatStopReading(t *testing.T) {
	t.Parallel()
	for _, how := range []struct{ name, cmd string }{
		{"IDLE", "IDLE"},
		{"NOTIFY", "NOTIFY SET (selected (MessageNew (UID BODY.PEEK[]) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge MailboxName))"},
		{"FETCH", "FETCH 1:* (UID BODY.PEEK[])"},
		{"pipelined", "UID SEARCH ALL"},
	} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *imapserver.Config) {
				c.Limits.WriteTime, c.Limits.ShutdownTime = time.Minute, 100*time.Millisecond
			})
			other := s.login(t)
			other.must("SELECT INBOX")
			for i := range 200 {
				s.deliver(t, "INBOX", fmt.Sprintf("Subject: %d\r\n\r\n%01000d\r\n", i, i))
			}
			stuck := s.login(t)
			if err := stuck.nc.(*net.TCPConn).SetReadBuffer(4096); err != nil {
				t.Fatal(err)
			}
			stuck.must("SELECT INBOX")
			if how.name == "pipelined" {
				go func() { // blocks when the server no longer reads
					for stuck.nc.SetWriteDeadline(time.Now().Add(20*time.Second)) == nil {
						if _, err := stuck.nc.Write([]byte("x UID SEARCH ALL\r\nx FETCH 1:* (FLAGS)\r\n")); err != nil {
							return
						}
					}
				}()
			} else {
				stuck.send("x " + how.cmd + "\r\n")
			}
			for i := range 60 { // 60 times 200 flags: more than the sockets hold
				other.must(fmt.Sprintf(`STORE 1:* %sFLAGS.SILENT (\Flagged key%d)`, []string{"+", "-"}[i%2], i/2))
			}
			uid := s.deliver(t, "INBOX", "Subject: late\r\n\r\n")
			if got := other.must("NOOP"); !slices.Contains(got, "* 201 EXISTS") {
				t.Errorf("the other client hears %q", got)
			}
			if got := other.must(fmt.Sprintf("UID SEARCH UID %d", uid)); got[0] != fmt.Sprintf("* SEARCH %d", uid) {
				t.Errorf("the message is %q", got)
			}
			other.must("CREATE Elsewhere")
			other.must("MOVE 1:200 Elsewhere")
			s.stop()
			if err := <-s.ended; err != nil {
				t.Error(err)
			}
			s.ended <- nil
		})
	}
}
