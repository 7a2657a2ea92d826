package test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/peertest"

	"github.com/emersion/go-smtp"
)

// inbox is a server that takes all mail and notes when each message came.
type inbox struct {
	mu      sync.Mutex
	arrived map[string][]time.Time // by subject
	pause   time.Duration          // the longest between the arrival of a message and the reply
}

func (i *inbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &inboxSession{i}, nil }

type inboxSession struct{ *inbox }

func (inboxSession) Reset()                               {}
func (inboxSession) Logout() error                        { return nil }
func (inboxSession) Mail(string, *smtp.MailOptions) error { return nil }
func (inboxSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *inboxSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, subject, _ := bytes.Cut(text, []byte("Subject: "))
	subject, _, _ = bytes.Cut(subject, []byte("\r\n"))
	s.mu.Lock()
	s.arrived[string(subject)] = append(s.arrived[string(subject)], time.Now())
	s.mu.Unlock()
	if s.pause > 0 {
		<-time.After(rand.N(s.pause))
	}
	return nil
}

// times returns when a message came.
func (i *inbox) times(subject string) []time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.arrived[subject]
}

// serveInbox starts an inbox and returns its address.
func serveInbox(t testing.TB) (*inbox, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &inbox{arrived: map[string][]time.Time{}}
	s := smtp.NewServer(i)
	s.Domain, s.ErrorLog = "inbox.example", log.New(io.Discard, "", 0) // connections that a kill breaks
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return i, ln.Addr().String()
}

// feeder hands messages in, one after the other, and notes those that were accepted.
type feeder struct {
	addr     *atomic.Value // of the server, a string
	name     string
	to       string
	size     int
	accepted []string
}

// run hands in until stop is closed. A connection that breaks is made again.
func (f *feeder) run(stop <-chan struct{}) {
	body := strings.Repeat("A line of a message that is on its way.\r\n", f.size/41+1)
	for n := 0; ; {
		c, err := smtp.Dial(f.addr.Load().(string))
		if err != nil {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			continue
		}
		for err == nil {
			select {
			case <-stop:
				c.Close()
				return
			default:
			}
			n++
			subject := f.name + "-" + strconv.Itoa(n)
			err = c.SendMail("a@linuxforu.com", []string{f.to}, strings.NewReader("Subject: "+subject+"\r\n\r\n"+body))
			if err == nil {
				f.accepted = append(f.accepted, subject)
			}
		}
		c.Close()
	}
}

// TestQueueSurvivesKills kills the sending server again and again while mail
// comes in and goes out. Every message that was accepted must arrive; one may
// arrive twice only where it was under way when the server was killed.
// EXPOST_KILLS says how often; 20 by default.
func TestQueueSurvivesKills(t *testing.T) {
	t.Parallel()
	far, addr := serveInbox(t)
	s := newServer(t)
	peerFile(t, s.dir, "expost.toml", strings.Replace(configText, `smtp = "127.0.0.1:0"`, `smtp = "`+peertest.FreeAddress(t)+`"`, 1)+
		"[policy]\nrelay-networks = [\"127.0.0.1\"]\nuser-recipients = 0\nuser-recipients-day = 0\n[queue.smarthost]\nhost = \""+addr+"\"\n")
	s.start()
	survivesKills(t, s, far, "b@far.example")
}

// TestHandOverSurvivesKills does the same while mail is handed to the host of its
// mailbox, whose replies take a moment: kills fall before, within and behind them.
func TestHandOverSurvivesKills(t *testing.T) {
	t.Parallel()
	far, addr := serveInbox(t)
	far.pause = 20 * time.Millisecond
	s := newServer(t)
	peerFile(t, s.dir, "expost.toml", strings.Replace(configText, `smtp = "127.0.0.1:0"`, `smtp = "`+peertest.FreeAddress(t)+`"`, 1))
	s.start()
	s.addAccounts("biswajit@linuxforu.com")
	s.run("account", "set", "biswajit@linuxforu.com", "--mail-host", addr)
	survivesKills(t, s, far, "biswajit@linuxforu.com")
}

// survivesKills kills a server again and again that sends mail on to far.
// EXPOST_KILLS says how often; 20 by default.
func survivesKills(t *testing.T, s *server, far *inbox, to string) {
	t.Helper()
	kills := 20
	if n, err := strconv.Atoi(os.Getenv("EXPOST_KILLS")); err == nil {
		kills = n
	}
	at := new(atomic.Value)
	at.Store(s.addr["smtp"])
	feeders := make([]*feeder, 4)
	stop := make(chan struct{})
	var work sync.WaitGroup
	for i := range feeders {
		f := &feeder{addr: at, name: fmt.Sprint("f", i), to: to, size: 2000}
		if i == 3 {
			f.size = 300000 // a file of its own in the queue
		}
		feeders[i] = f
		work.Go(func() { f.run(stop) })
	}
	var killed []time.Time
	for range kills {
		<-time.After(time.Duration(20+rand.IntN(180)) * time.Millisecond)
		killed = append(killed, time.Now())
		s.kill()
		s.start()
	}
	close(stop)
	work.Wait()

	total := 0
	deadline := time.Now().Add(2 * time.Minute)
	for _, f := range feeders {
		for _, subject := range f.accepted {
			total++
			for len(far.times(subject)) == 0 {
				if time.Now().After(deadline) {
					t.Fatalf("%s was accepted and did not arrive; the queue: %s", subject, s.run("queue", "list", "--limit", "5"))
				}
				<-time.After(10 * time.Millisecond)
			}
		}
	}
	twice := 0
	far.mu.Lock()
	defer far.mu.Unlock()
	for subject, times := range far.arrived {
		for i := 1; i < len(times); i++ {
			twice++
			if !underWay(times[i-1], times[i], killed) {
				t.Errorf("%s came at %v and again at %v, and was not under way at any of the kills %v", subject, times[i-1], times[i], killed)
			}
		}
	}
	t.Logf("%d kills: %d messages accepted, all arrived, %d of them twice", kills, total, twice)
	if total < kills {
		t.Errorf("only %d messages were accepted: that shows nothing", total)
	}
}

// underWay tells whether the server was killed soon after a message came for the
// first time, before it can have noted that.
func underWay(first, second time.Time, killed []time.Time) bool {
	for _, k := range killed {
		if k.After(first.Add(-time.Second)) && k.Before(second) && k.Sub(first) < 3*time.Second {
			return true
		}
	}
	return false
}
