package imapserver_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mirror is what a client believes of a mailbox, from nothing but responses.
type mirror struct {
	*peer
	rng  *rand.Rand
	msgs []mirrored
}

// mirrored is a message as a client knows it; UID 0 is not known yet.
type mirrored struct {
	uid   int
	flags string
}

var (
	existsLine  = regexp.MustCompile(`^\* (\d+) EXISTS$`)
	expungeLine = regexp.MustCompile(`^\* (\d+) EXPUNGE$`)
	fetchLine   = regexp.MustCompile(`^\* (\d+) FETCH \((?:UID (\d+))? ?FLAGS \(([^)]*)\)\)$`)
)

// hear applies untagged responses.
func (m *mirror) hear(cmd string, lines []string) {
	m.t.Helper()
	for _, l := range lines {
		if x := existsLine.FindStringSubmatch(l); x != nil {
			n, _ := strconv.Atoi(x[1])
			if n < len(m.msgs) {
				m.t.Fatalf("%s: %s, but %d messages were there", cmd, l, len(m.msgs))
			}
			m.msgs = append(m.msgs, make([]mirrored, n-len(m.msgs))...)
		} else if x := expungeLine.FindStringSubmatch(l); x != nil {
			n, _ := strconv.Atoi(x[1])
			if verb, _, _ := strings.Cut(cmd, " "); verb == "FETCH" || verb == "STORE" || verb == "SEARCH" {
				m.t.Fatalf("%s: %s is not allowed now", cmd, l)
			}
			if n < 1 || n > len(m.msgs) {
				m.t.Fatalf("%s: %s of %d messages", cmd, l, len(m.msgs))
			}
			m.msgs = slices.Delete(m.msgs, n-1, n)
		} else if x := fetchLine.FindStringSubmatch(l); x != nil {
			n, _ := strconv.Atoi(x[1])
			uid, _ := strconv.Atoi(x[2])
			if n < 1 || n > len(m.msgs) || m.msgs[n-1].uid != 0 && uid != 0 && m.msgs[n-1].uid != uid {
				m.t.Fatalf("%s: %s does not fit %v", cmd, l, m.msgs)
			}
			words := slices.DeleteFunc(strings.Fields(x[3]), func(w string) bool { return w == `\Recent` })
			slices.Sort(words)
			m.msgs[n-1] = mirrored{max(uid, m.msgs[n-1].uid), strings.Join(words, " ")}
		}
	}
}

// do sends a command, which may fail, and hears what is told.
func (m *mirror) do(cmd string) {
	m.t.Helper()
	untagged, tagged := m.peer.do(cmd)
	if strings.HasPrefix(tagged, "BAD") {
		m.t.Fatalf("%s: %s (the client knows %d messages)", cmd, tagged, len(m.msgs))
	}
	m.hear(cmd, untagged)
}

// step does something at random.
func (m *mirror) step() {
	m.t.Helper()
	n := len(m.msgs)
	if n == 0 || m.rng.IntN(5) == 0 {
		m.do("APPEND Model {15+}\r\nSubject: x\r\n\r\ny")
		return
	}
	if n > 300 { // a long test stays quick
		m.do(fmt.Sprintf(`STORE 1:%d +FLAGS (\Deleted)`, n/2))
	}
	a := 1 + m.rng.IntN(n)
	b := a + m.rng.IntN(n-a+1)
	flag := []string{`\Seen`, `\Flagged`, `\Deleted`, "key1", "key2"}[m.rng.IntN(5)]
	op := []string{"+", "-", ""}[m.rng.IntN(3)]
	switch m.rng.IntN(10) {
	case 0, 1, 2:
		m.do(fmt.Sprintf("STORE %d:%d %sFLAGS (%s)", a, b, op, flag))
	case 3:
		m.do(fmt.Sprintf("FETCH %d:%d (UID FLAGS)", a, b))
	case 4:
		m.do("SEARCH UNSEEN")
	case 5:
		m.do("EXPUNGE")
	case 6:
		m.do(fmt.Sprintf("COPY %d:%d Model", a, min(b, a+2)))
	case 7:
		m.do(fmt.Sprintf("MOVE %d Other", a))
	default:
		m.do("NOOP")
	}
}

var soak = flag.Duration("soak", 0, "let 20 sessions change a mailbox for so long")

// TestManySessions lets sessions change one mailbox at random and compares what
// each was told with what is there.
func TestManySessions(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	first := s.login(t)
	first.must("CREATE Model")
	first.must("CREATE Other")
	sessions, goOn := 8, func(step int) bool { return step < 300 }
	if *soak > 0 {
		end := time.Now().Add(*soak)
		sessions, goOn = 20, func(int) bool { return time.Now().Before(end) }
	}
	mirrors := make([]*mirror, sessions)
	for i := range mirrors {
		mirrors[i] = &mirror{peer: s.login(t), rng: rand.New(rand.NewPCG(7, uint64(i)))}
		mirrors[i].do("SELECT Model")
	}
	var steps atomic.Int64
	var wg sync.WaitGroup
	for _, m := range mirrors {
		wg.Go(func() {
			n := 0
			for ; goOn(n); n++ {
				m.step()
			}
			steps.Add(int64(n))
		})
	}
	wg.Wait()
	t.Logf("%d sessions did %d steps", sessions, steps.Load())
	truth := &mirror{peer: first}
	truth.do("SELECT Model")
	truth.do("FETCH 1:* (UID FLAGS)")
	for i, m := range mirrors {
		m.do("NOOP")
		if len(m.msgs) != len(truth.msgs) {
			t.Errorf("session %d knows %d messages, %d are there", i, len(m.msgs), len(truth.msgs))
			continue
		}
		for j, got := range m.msgs {
			if want := truth.msgs[j]; got.uid != 0 && got != want {
				t.Errorf("session %d believes message %d to be %v, it is %v", i, j+1, got, want)
			}
		}
	}
}
