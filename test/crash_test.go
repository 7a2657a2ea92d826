package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"
)

// kills is how often the crash test kills the server: few by default, since
// every test run pays for it; EXPOST_KILLS sets more.
func kills(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("EXPOST_KILLS"))
	if err != nil {
		return 15
	}
	t.Logf("%d kills", n)
	return n
}

// acknowledged is what the server has said yes to.
type acknowledged struct {
	mu       sync.Mutex
	sent     map[string]bool // Message-IDs with a 250
	appended map[string]bool // Message-IDs with an OK to APPEND
	last     map[imap.UID]uint16
	flight   map[imap.UID][]uint16 // STOREs since then that got no answer
}

// TestNothingAcknowledgedIsLost kills the server under load, again and again,
// and asks after every start for all that it ever said yes to.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	s := newServer(t)
	s.start()
	s.addAccounts("ajay@linuxforu.com", "anup@linuxforu.com")
	ack := &acknowledged{sent: map[string]bool{}, appended: map[string]bool{}, last: map[imap.UID]uint16{}, flight: map[imap.UID][]uint16{}}
	prepareFlags(t, s, ack)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	n := kills(t)
	for round := range n {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Go(func() { sendLoad(ctx, s.addr["smtp"], fmt.Sprintf("s%d-%d", round, w), ack) })
			wg.Go(func() { appendLoad(ctx, s.addr["imap"], fmt.Sprintf("a%d-%d", round, w), ack) })
		}
		wg.Go(func() { storeLoad(ctx, s.addr["imap"], ack, uint64(round)) })
		timer := time.NewTimer(time.Duration(30+rnd.IntN(400)) * time.Millisecond)
		<-timer.C
		s.kill()
		cancel()
		wg.Wait()
		s.start()
		if round%10 == 9 || round == n-1 {
			verify(t, s, ack)
		}
	}
	t.Logf("acknowledged: %d SMTP, %d APPEND, %d messages with STOREs", len(ack.sent), len(ack.appended), len(ack.last))
	if len(ack.sent) == 0 || len(ack.appended) == 0 {
		t.Fatal("the load reached nothing")
	}
	if out, errs, err := s.try(context.Background(), "", "check", "--store"); err != nil {
		t.Errorf("check --store: %v\n%s%s", err, out, errs)
	}
}

// prepareFlags puts the messages there whose flags storeLoad changes.
func prepareFlags(t *testing.T, s *server, ack *acknowledged) {
	c := s.imap("anup@linuxforu.com", nil)
	if err := c.Create("Flags", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		data, err := appendText(c, "Flags", text(fmt.Sprintf("flags-%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		ack.last[data.UID] = 0
	}
	c.Close()
}

// text is a small message of this id.
func text(id string) string {
	return "From: Ajay <ajay@linuxforu.com>\r\nTo: anup@linuxforu.com\r\nSubject: " + id + "\r\nMessage-ID: <" + id + "@linuxforu.com>\r\n\r\n" + strings.Repeat("All work and no play.\r\n", 40)
}

func appendText(c *imapclient.Client, mailbox, msg string) (*imap.AppendData, error) {
	cmd := c.Append(mailbox, int64(len(msg)), nil)
	if _, err := cmd.Write([]byte(msg)); err != nil {
		return nil, err
	}
	if err := cmd.Close(); err != nil {
		return nil, err
	}
	return cmd.Wait()
}

// sendLoad sends messages until an error, which the kill brings.
func sendLoad(ctx context.Context, addr, name string, ack *acknowledged) {
	c, err := smtp.Dial(addr)
	if err != nil {
		return
	}
	defer c.Close()
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%s-%d", name, i)
		if err := c.SendMail("ajay@linuxforu.com", []string{"ajay@linuxforu.com", "anup@linuxforu.com"}, strings.NewReader(text(id))); err != nil {
			return
		}
		ack.mu.Lock()
		ack.sent[id+"@linuxforu.com"] = true
		ack.mu.Unlock()
	}
}

// appendLoad appends messages until an error.
func appendLoad(ctx context.Context, addr, name string, ack *acknowledged) {
	c, err := imapclient.DialInsecure(addr, nil)
	if err != nil {
		return
	}
	defer c.Close()
	if c.Login("ajay@linuxforu.com", password).Wait() != nil {
		return
	}
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%s-%d", name, i)
		if _, err := appendText(c, "Drafts", text(id)); err != nil {
			return
		}
		ack.mu.Lock()
		ack.appended[id+"@linuxforu.com"] = true
		ack.mu.Unlock()
	}
}

// bits are the flags in which a number is written.
var bits = []imap.Flag{imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDraft, "$Forwarded", "$MDNSent", "$Work", "$Later"}

func flagsOf(n uint16) []imap.Flag {
	flags := []imap.Flag{}
	for i, f := range bits {
		if n&(1<<i) != 0 {
			flags = append(flags, f)
		}
	}
	return flags
}

func numberOf(flags []imap.Flag) (n uint16) {
	for i, f := range bits {
		for _, g := range flags {
			if strings.EqualFold(string(f), string(g)) {
				n |= 1 << i
			}
		}
	}
	return n
}

// storeLoad writes random numbers as flags until an error.
func storeLoad(ctx context.Context, addr string, ack *acknowledged, seed uint64) {
	c, err := imapclient.DialInsecure(addr, nil)
	if err != nil {
		return
	}
	defer c.Close()
	if c.Login("anup@linuxforu.com", password).Wait() != nil {
		return
	}
	if _, err := c.Select("Flags", nil).Wait(); err != nil {
		return
	}
	rnd := rand.New(rand.NewPCG(seed, 2))
	for ctx.Err() == nil {
		uid, n := imap.UID(1+rnd.IntN(20)), uint16(rnd.IntN(256))
		ack.mu.Lock()
		ack.flight[uid] = append(ack.flight[uid], n)
		ack.mu.Unlock()
		if err := c.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsSet, Silent: true, Flags: flagsOf(n)}, nil).Close(); err != nil {
			return
		}
		ack.mu.Lock()
		ack.last[uid] = n
		delete(ack.flight, uid)
		ack.mu.Unlock()
	}
}

// messageIDs returns how often each Message-ID is in a mailbox.
func messageIDs(t *testing.T, c *imapclient.Client, mailbox string) map[string]int {
	t.Helper()
	data, err := c.Select(mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	if data.NumMessages == 0 {
		return ids
	}
	msgs, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{Envelope: true, UID: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	if len(msgs) != int(data.NumMessages) {
		t.Errorf("%s: %d messages announced, %d fetched", mailbox, data.NumMessages, len(msgs))
	}
	for _, m := range msgs {
		ids[m.Envelope.MessageID]++
	}
	return ids
}

// verify compares what is there with what was acknowledged.
func verify(t *testing.T, s *server, ack *acknowledged) {
	t.Helper()
	missing := func(addr, mailbox string, want map[string]bool) {
		c := s.imap(addr, nil)
		defer c.Close()
		have := messageIDs(t, c, mailbox)
		for id := range want {
			if have[id] != 1 {
				t.Errorf("%s of %s: acknowledged message %s is there %d times", mailbox, addr, id, have[id])
			}
		}
	}
	missing("ajay@linuxforu.com", "INBOX", ack.sent)
	missing("anup@linuxforu.com", "INBOX", ack.sent)
	missing("ajay@linuxforu.com", "Drafts", ack.appended)
	c := s.imap("anup@linuxforu.com", nil)
	defer c.Close()
	if _, err := c.Select("Flags", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	msgs, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{Flags: true, UID: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range msgs {
		got := numberOf(m.Flags)
		if got != ack.last[m.UID] && !slices.Contains(ack.flight[m.UID], got) {
			t.Errorf("message %d has flags %08b, acknowledged were %08b", m.UID, got, ack.last[m.UID])
		}
		// What a kill left in flight is now known.
		ack.last[m.UID] = got
		delete(ack.flight, m.UID)
	}
}
