package imapserver_test

import (
	"flag"
	"fmt"
	"maps"
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

// ledger is the model: which messages are in which mailbox, from nothing but
// what commands answered. A mailbox is known by its UIDVALIDITY.
type ledger struct {
	mu      sync.Mutex
	names   []string                  // the shared mailboxes as they were called last
	there   map[string]map[int]string // subjects by UID
	removed map[string]map[int]bool
	doomed  map[string]map[int]bool // were \Deleted: anybody may expunge them and their copies
	noted   sync.Cond               // there has grown, or failed is set
	failed  bool
	steps   atomic.Int64
}

// add notes a message; a UID is given out once.
func (l *ledger) add(t testing.TB, box string, uid int, subject string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.there[box] == nil {
		l.there[box], l.removed[box] = map[int]string{}, map[int]bool{}
	}
	if old, used := l.there[box][uid]; used {
		t.Errorf("UID %d of %s is given to %q and to %q", uid, box, old, subject)
	}
	l.there[box][uid] = subject
	l.noted.Broadcast()
}

// remove notes that a message is gone: many sessions hear of it.
func (l *ledger) remove(box string, uid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removed[box] == nil {
		l.there[box], l.removed[box] = map[int]string{}, map[int]bool{}
	}
	l.removed[box][uid] = true
}

// subject returns what a message is called, when whoever made it has read its answer.
func (l *ledger) subject(box string, uid int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if s, ok := l.there[box][uid]; ok || l.failed {
			return s
		}
		l.noted.Wait()
	}
}

// doom notes that a message may be expunged.
func (l *ledger) doom(box string, uid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doomed[box] == nil {
		l.doomed[box] = map[int]bool{}
	}
	l.doomed[box][uid] = true
}

// left returns what must be in a mailbox now, with subjects, and what may be.
func (l *ledger) left(box string) (must, may map[int]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	may = maps.Clone(l.there[box])
	maps.DeleteFunc(may, func(uid int, _ string) bool { return l.removed[box][uid] })
	subjects := map[string]bool{}
	for box, set := range l.doomed {
		for uid := range set {
			subjects[l.there[box][uid]] = true
		}
	}
	must = maps.Clone(may)
	maps.DeleteFunc(must, func(_ int, subject string) bool { return subjects[subject] })
	return must, may
}

// name returns what one of the shared mailboxes was called last.
func (l *ledger) name(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[n%len(l.names)]
}

// rename notes a new name.
func (l *ledger) rename(from, to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.names, from); i >= 0 {
		l.names[i] = to
	}
}

// mirror is what a client believes of a mailbox, from nothing but responses.
type mirror struct {
	*peer
	id     int
	ledger *ledger
	rng    *rand.Rand
	kind   string // what the client has asked for
	box    string // UIDVALIDITY of the selected mailbox
	msgs   []mirrored
	heard  []string       // what was said last
	status map[string]int // messages of other mailboxes, as NOTIFY told

	modSeq int                // HIGHESTMODSEQ when the mailbox was selected
	left   map[string]leftBox // what was known of mailboxes when they were left (QRESYNC)
}

// leftBox is what a client knew of a mailbox: everything up to modSeq, and perhaps
// later things.
type leftBox struct {
	modSeq int
	flags  map[int]string // by UID
}

// mirrored is a message as a client knows it; UID 0 is not known yet.
type mirrored struct {
	uid   int
	flags string
}

var (
	existsLine   = regexp.MustCompile(`^\* (\d+) EXISTS$`)
	expungeLine  = regexp.MustCompile(`^\* (\d+) EXPUNGE$`)
	vanishedLine = regexp.MustCompile(`^\* VANISHED ([\d:,]+)$`)
	fetchLine    = regexp.MustCompile(`^\* (\d+) FETCH \((?:UID (\d+))? ?FLAGS \(([^)]*)\)(?: MODSEQ \(\d+\))?\)$`)
	validityLine = regexp.MustCompile(`^\* OK \[UIDVALIDITY (\d+)\]`)
	copyUIDCode  = regexp.MustCompile(`\[COPYUID (\d+) ([\d:,]+) ([\d:,]+)\]`)
	appendCode   = regexp.MustCompile(`\[APPENDUID (\d+) (\d+)\]`)
	statusLine   = regexp.MustCompile(`^\* STATUS (\S+) \(MESSAGES (\d+)`)
	listLine     = regexp.MustCompile(`^\* LIST \(([^)]*)\) "/" (\S+)(?: \("OLDNAME" \((\S+)\)\))?$`)
)

// unknown returns the place of a message whose UID was not told, by those of
// its neighbours; -1 where there is none.
func (m *mirror) unknown(uid int) int {
	at := -1
	for i, x := range m.msgs {
		switch {
		case x.uid == 0 && at < 0:
			at = i
		case x.uid != 0 && x.uid < uid:
			at = -1
		}
	}
	return at
}

// uids returns the numbers of a set.
func uids(set string) (out []int) {
	for _, part := range strings.Split(set, ",") {
		first, last, isRange := strings.Cut(part, ":")
		a, _ := strconv.Atoi(first)
		b := a
		if isRange {
			b, _ = strconv.Atoi(last)
		}
		for ; a <= b; a++ {
			out = append(out, a)
		}
	}
	return out
}

// hear applies untagged responses.
func (m *mirror) hear(cmd string, lines []string) {
	m.t.Helper()
	for _, l := range lines {
		switch {
		case existsLine.MatchString(l):
			n, _ := strconv.Atoi(existsLine.FindStringSubmatch(l)[1])
			if n < len(m.msgs) {
				m.t.Fatalf("%d %s: %s, but %d messages were there", m.id, cmd, l, len(m.msgs))
			}
			m.msgs = append(m.msgs, make([]mirrored, n-len(m.msgs))...)
		case expungeLine.MatchString(l):
			n, _ := strconv.Atoi(expungeLine.FindStringSubmatch(l)[1])
			m.expunged(cmd, l, n)
		case vanishedLine.MatchString(l):
			for _, uid := range uids(vanishedLine.FindStringSubmatch(l)[1]) {
				i := slices.IndexFunc(m.msgs, func(x mirrored) bool { return x.uid == uid })
				if i < 0 { // it was told by EXISTS a moment ago, and has no known UID yet
					i = m.unknown(uid)
					m.ledger.remove(m.box, uid)
				}
				m.expunged(cmd, l, i+1)
			}
		case fetchLine.MatchString(l):
			m.fetched(cmd, l)
		case statusLine.MatchString(l):
			x := statusLine.FindStringSubmatch(l)
			m.status[x[1]], _ = strconv.Atoi(x[2])
		case listLine.MatchString(l):
			x := listLine.FindStringSubmatch(l)
			if n, known := m.status[x[3]]; known {
				delete(m.status, x[3])
				m.status[x[2]] = n
			}
			if strings.Contains(x[1], "NonExistent") {
				delete(m.status, x[2])
			}
		case strings.HasPrefix(l, "* BYE"):
			m.t.Fatalf("%d %s: %s", m.id, cmd, l)
		}
	}
}

// expunged applies an EXPUNGE.
func (m *mirror) expunged(cmd, line string, n int) {
	m.t.Helper()
	if verb, _, _ := strings.Cut(cmd, " "); verb == "FETCH" || verb == "STORE" || verb == "SEARCH" {
		m.t.Fatalf("%d %s: %s is not allowed now", m.id, cmd, line)
	}
	if n < 1 || n > len(m.msgs) {
		m.t.Fatalf("%d %s: %s of %d messages:\n%s", m.id, cmd, line, len(m.msgs), strings.Join(m.heard, "\n"))
	}
	if uid := m.msgs[n-1].uid; uid != 0 {
		m.ledger.remove(m.box, uid)
	}
	m.msgs = slices.Delete(m.msgs, n-1, n)
}

// fetched applies the flags of a message.
func (m *mirror) fetched(cmd, line string) {
	m.t.Helper()
	x := fetchLine.FindStringSubmatch(line)
	n, _ := strconv.Atoi(x[1])
	uid, _ := strconv.Atoi(x[2])
	if n < 1 || n > len(m.msgs) || m.msgs[n-1].uid != 0 && uid != 0 && m.msgs[n-1].uid != uid {
		m.t.Fatalf("%d %s: %s does not fit %v", m.id, cmd, line, m.msgs)
	}
	flags := flagWords(x[3])
	m.msgs[n-1] = mirrored{max(uid, m.msgs[n-1].uid), flags}
	if uid != 0 && strings.Contains(flags, `\Deleted`) {
		m.ledger.doom(m.box, uid)
	}
}

// ask sends a command, which may fail, and hears what is told.
func (m *mirror) ask(cmd string) (untagged []string, tagged string) {
	m.t.Helper()
	untagged, tagged = m.peer.do(cmd)
	m.heard = append(m.heard[max(0, len(m.heard)-20):], fmt.Sprintf("%s (knowing %d)\n%s\n%s", cmd, len(m.msgs), strings.Join(untagged, "\n"), tagged))
	if strings.HasPrefix(tagged, "BAD") {
		m.t.Fatalf("%d %s: %s (the client knows %d messages)", m.id, cmd, tagged, len(m.msgs))
	}
	m.hear(cmd, untagged)
	return untagged, tagged
}

// do is ask, and then learns the UIDs of what is new.
func (m *mirror) do(cmd string) (untagged []string, tagged string) {
	m.t.Helper()
	untagged, tagged = m.ask(cmd)
	for {
		i := slices.IndexFunc(m.msgs, func(x mirrored) bool { return x.uid == 0 })
		if i < 0 {
			break
		}
		if m.uid() != "" { // its own: others' it was told of
			m.ask("UID FETCH 1:* (FLAGS)")
			continue
		}
		m.ask(fmt.Sprintf("FETCH %d:* (UID FLAGS)", i+1)) // there may be more by its end
	}
	return untagged, tagged
}

// leave notes what is known of the mailbox that is selected.
func (m *mirror) leave() {
	if m.kind != "qresync" || m.box == "" {
		return
	}
	known := leftBox{m.modSeq, map[int]string{}}
	for _, x := range m.msgs {
		known.flags[x.uid] = x.flags
	}
	m.left[m.box] = known
}

var (
	modSeqLine   = regexp.MustCompile(`^\* OK \[HIGHESTMODSEQ (\d+)\]`)
	earlierLine  = regexp.MustCompile(`^\* VANISHED \(EARLIER\) ([\d:,]+)$`)
	fetchSeqLine = regexp.MustCompile(`^\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\) MODSEQ \((\d+)\)\)$`)
)

// flagWords returns flags in order, without \Recent.
func flagWords(list string) string {
	words := slices.DeleteFunc(strings.Fields(list), func(w string) bool { return w == `\Recent` })
	slices.Sort(words)
	return strings.Join(words, " ")
}

// resync selects a mailbox that the client was in before, applies what it is told
// to what it knew, and compares that with all that is there (RFC 7162 §3.2.5).
func (m *mirror) resync(name, box string) (untagged []string, tagged string) {
	m.t.Helper()
	known := m.left[box]
	delete(m.left, box)
	untagged, tagged = m.peer.do(fmt.Sprintf("SELECT %s (QRESYNC (%s %d))", name, box, known.modSeq))
	if !strings.HasPrefix(tagged, "OK") || !slices.ContainsFunc(untagged, func(l string) bool { x := validityLine.FindStringSubmatch(l); return x != nil && x[1] == box }) {
		return untagged, tagged
	}
	exists, modSeq := -1, 0
	for _, l := range untagged {
		if x := existsLine.FindStringSubmatch(l); x != nil && exists < 0 { // what comes behind is told at the end of SELECT
			exists, _ = strconv.Atoi(x[1])
		}
		if x := modSeqLine.FindStringSubmatch(l); x != nil {
			modSeq, _ = strconv.Atoi(x[1])
		}
		if x := earlierLine.FindStringSubmatch(l); x != nil {
			for _, uid := range uids(x[1]) {
				delete(known.flags, uid)
			}
		}
		if x := fetchSeqLine.FindStringSubmatch(l); x != nil {
			uid, _ := strconv.Atoi(x[1])
			known.flags[uid] = flagWords(x[2])
		}
	}
	if len(known.flags) != exists {
		m.t.Fatalf("%d: after QRESYNC the client knows %d messages, %d are there", m.id, len(known.flags), exists)
	}
	all, _ := m.peer.do("UID FETCH 1:* (FLAGS MODSEQ)")
	for _, l := range all {
		x := fetchSeqLine.FindStringSubmatch(l)
		if x == nil {
			continue
		}
		uid, _ := strconv.Atoi(x[1])
		changed, _ := strconv.Atoi(x[3])
		if flags, is := known.flags[uid]; changed <= modSeq && (!is || flags != flagWords(x[2])) {
			m.t.Fatalf("%d: after QRESYNC the client believes %q of UID %d (%v), and there is %s", m.id, flags, uid, is, l)
		}
	}
	return append(slices.DeleteFunc(untagged, func(l string) bool { return fetchSeqLine.MatchString(l) }), all...), tagged
}

// choose selects a mailbox.
func (m *mirror) choose(name string) {
	m.leave()
	m.msgs = nil
	m.box = ""
	var untagged []string
	var tagged string
	if box := m.boxOf(name); m.left[box].flags != nil {
		untagged, tagged = m.resync(name, box)
	} else {
		untagged, tagged = m.peer.do("SELECT " + name)
	}
	if !strings.HasPrefix(tagged, "OK") {
		return // it has another name by now
	}
	delete(m.status, name)
	for _, l := range untagged {
		if x := validityLine.FindStringSubmatch(l); x != nil {
			m.box = x[1]
		}
		if x := modSeqLine.FindStringSubmatch(l); x != nil {
			m.modSeq, _ = strconv.Atoi(x[1])
		}
	}
	m.hear("SELECT", untagged)
	if len(m.msgs) > 0 {
		m.do("UID FETCH 1:* (FLAGS)")
	}
}

// append makes a message.
func (m *mirror) append(cmd string) {
	subject := fmt.Sprintf("%d-%d", m.id, m.ledger.steps.Add(1))
	text := "Subject: " + subject + "\r\n\r\ny"
	whole := fmt.Sprintf("%s {%d+}\r\n%s", cmd, len(text), text)
	if m.rng.IntN(4) == 0 {
		whole = fmt.Sprintf("%s CATENATE (TEXT {%d+}\r\n%s TEXT {1+}\r\ny)", cmd, len(text)-1, text[:len(text)-1])
	}
	untagged, tagged := m.do(whole)
	if x := appendCode.FindStringSubmatch(strings.Join(append(untagged, tagged), "\n")); x != nil {
		uid, _ := strconv.Atoi(x[2])
		m.ledger.add(m.t, x[1], uid, subject)
	}
}

// transfer copies or moves.
func (m *mirror) transfer(cmd string) {
	source := m.box
	untagged, tagged := m.do(cmd)
	x := copyUIDCode.FindStringSubmatch(strings.Join(append(untagged, tagged), "\n"))
	if x == nil {
		return
	}
	from, to := uids(x[2]), uids(x[3])
	for i := range from {
		m.ledger.add(m.t, x[1], to[i], m.ledger.subject(source, from[i]))
		if strings.Contains(cmd, "MOVE") {
			m.ledger.remove(source, from[i])
		}
	}
}

// private makes a mailbox, copies a set of UIDs into it and deletes it.
func (m *mirror) private(set string) {
	name := fmt.Sprintf("Own%d", m.id)
	m.do("CREATE " + name)
	m.transfer(fmt.Sprintf("UID COPY %s %s", set, name))
	m.do("SUBSCRIBE " + name)
	m.do("RENAME " + name + " " + name + "/below")
	m.do("DELETE " + name + "/below")
	m.do("DELETE " + name)
	m.do("UNSUBSCRIBE " + name + "/below")
}

// uid returns what stands before a command of a client that cannot use
// sequence numbers: it hears of an EXPUNGE whenever there is one.
func (m *mirror) uid() string {
	if m.kind == "selected" {
		return "UID "
	}
	return ""
}

// step does something at random.
func (m *mirror) step() {
	m.t.Helper()
	other := m.ledger.name(m.rng.IntN(3))
	if m.box == "" || !strings.HasPrefix(m.kind, "selected") && m.rng.IntN(40) == 0 {
		m.choose(other)
		return
	}
	n := len(m.msgs)
	if n == 0 || m.rng.IntN(5) == 0 {
		m.append("APPEND " + other)
		return
	}
	if n > 200 { // a long test stays quick
		for _, x := range m.msgs[:n/2+1] {
			m.ledger.doom(m.box, x.uid)
		}
		m.do(fmt.Sprintf(`UID STORE %d:%d +FLAGS (\Deleted)`, m.msgs[0].uid, m.msgs[n/2].uid))
		m.do("EXPUNGE")
		return
	}
	a := m.rng.IntN(n)
	b := a + m.rng.IntN(n-a)
	one, few, many := fmt.Sprint(a+1), fmt.Sprintf("%d:%d", a+1, min(b, a+2)+1), fmt.Sprintf("%d:%d", a+1, b+1)
	uidMany := fmt.Sprintf("%d:%d", m.msgs[a].uid, m.msgs[b].uid)
	if m.uid() != "" {
		one, few, many = fmt.Sprint(m.msgs[a].uid), fmt.Sprintf("%d:%d", m.msgs[a].uid, m.msgs[min(b, a+2)].uid), uidMany
	}
	flag := []string{`\Seen`, `\Flagged`, `\Deleted`, "key1", "key2"}[m.rng.IntN(5)]
	op := []string{"+", "-", ""}[m.rng.IntN(3)]
	what := m.rng.IntN(16)
	if flag == `\Deleted` && op != "-" && what < 4 {
		for _, x := range m.msgs[a : b+1] {
			m.ledger.doom(m.box, x.uid)
		}
	}
	switch what {
	case 0, 1, 2:
		m.do(fmt.Sprintf("%sSTORE %s %sFLAGS (%s)", m.uid(), many, op, flag))
	case 3:
		m.do(fmt.Sprintf("UID STORE %s (UNCHANGEDSINCE 1) %sFLAGS (%s)", uidMany, op, flag))
	case 4:
		m.do(fmt.Sprintf("%sFETCH %s (UID FLAGS)", m.uid(), many))
	case 5:
		m.do(m.uid() + "SEARCH UNSEEN")
	case 6:
		m.do("EXPUNGE")
	case 7:
		m.do("UID EXPUNGE " + uidMany)
	case 8, 9:
		m.transfer(fmt.Sprintf("%sCOPY %s %s", m.uid(), few, other))
	case 10, 11:
		m.transfer(fmt.Sprintf("%sMOVE %s %s", m.uid(), few, other))
	case 12:
		m.append(fmt.Sprintf("%sREPLACE %s %s", m.uid(), one, other))
	case 13:
		to := fmt.Sprintf("Box%d", m.ledger.steps.Add(1))
		if _, tagged := m.do("RENAME " + other + " " + to); strings.HasPrefix(tagged, "OK") {
			m.ledger.rename(other, to)
		}
	case 14:
		m.private(fmt.Sprintf("%d:%d", m.msgs[a].uid, m.msgs[min(b, a+2)].uid))
	default:
		m.do("NOOP")
	}
}

// prepare logs a client in that hears of changes in one of the ways there are.
func (m *mirror) prepare() {
	m.kind = []string{"", "qresync", "selected", "selected-delayed"}[m.id%4]
	switch m.kind {
	case "qresync":
		m.must("ENABLE QRESYNC")
	case "selected", "selected-delayed":
		m.hear("NOTIFY", m.must("NOTIFY SET STATUS ("+m.kind+" (MessageNew (UID FLAGS) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge MailboxName))"))
	}
	m.choose(m.ledger.name(m.id))
}

// compare compares what a client believes with what is there.
func (m *mirror) compare(truth map[string][]mirrored, counts map[string]int) {
	m.do("NOOP")
	want := truth[m.box]
	for i, got := range m.msgs {
		if i >= len(want) || got != want[i] {
			m.t.Errorf("session %d (%s) believes in %v, there is %v", m.id, m.kind, m.msgs, want)
			return
		}
	}
	if len(m.msgs) != len(want) {
		m.t.Errorf("session %d (%s) knows %d messages, %d are there", m.id, m.kind, len(m.msgs), len(want))
	}
	if !strings.HasPrefix(m.kind, "selected") {
		return
	}
	differ := func() string { // what was told last arrives in its time
		for name, n := range counts {
			if got, known := m.status[name]; known && got != n {
				return fmt.Sprintf("%d messages in %s, there are %d", got, name, n)
			}
		}
		return ""
	}
	for end := time.Now().Add(5 * time.Second); differ() != "" && time.Now().Before(end); {
		m.do("NOOP")
	}
	if problem := differ(); problem != "" {
		m.t.Errorf("session %d (%s) was told of %s", m.id, m.kind, problem)
	}
}

// boxOf asks for the UIDVALIDITY of a mailbox that the client may have left.
func (m *mirror) boxOf(name string) string {
	if len(m.left) == 0 {
		return ""
	}
	untagged, _ := m.peer.do("STATUS " + name + " (UIDVALIDITY)")
	for _, l := range untagged {
		if _, rest, is := strings.Cut(l, "(UIDVALIDITY "); is {
			return strings.TrimSuffix(rest, ")")
		}
	}
	return ""
}

var seed = flag.Uint64("seed", 7, "of what sessions do at random")

var soak = flag.Duration("soak", 0, "let 20 sessions change mailboxes for so long")

// TestManySessions lets sessions change three mailboxes at random, with every
// command that changes something, and compares what each was told, and what the
// model says, with what is there.
func TestManySessions(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	l := &ledger{names: []string{"A", "B", "C"}, there: map[string]map[int]string{}, removed: map[string]map[int]bool{}, doomed: map[string]map[int]bool{}}
	l.noted.L = &l.mu
	first := s.login(t)
	for _, name := range l.names {
		first.must("CREATE " + name)
	}
	sessions, goOn := 8, func(step int) bool { return step < 200 }
	if *soak > 0 {
		end := time.Now().Add(*soak)
		sessions, goOn = 20, func(int) bool { return time.Now().Before(end) }
	}
	mirrors := make([]*mirror, sessions)
	for i := range mirrors {
		mirrors[i] = &mirror{peer: s.login(t), id: i, ledger: l, rng: rand.New(rand.NewPCG(*seed, uint64(i))), status: map[string]int{}, left: map[string]leftBox{}}
		mirrors[i].prepare()
	}
	var steps atomic.Int64
	var wg sync.WaitGroup
	for _, m := range mirrors {
		wg.Go(func() {
			defer func() {
				l.mu.Lock()
				l.failed = l.failed || t.Failed()
				l.mu.Unlock()
				l.noted.Broadcast()
			}()
			n := 0
			for ; goOn(n) && !t.Failed(); n++ {
				m.step()
			}
			steps.Add(int64(n))
		})
	}
	wg.Wait()
	t.Logf("%d sessions did %d steps", sessions, steps.Load())
	for _, m := range mirrors { // who was told last notes what is gone
		m.do("NOOP")
	}
	truth, counts := map[string][]mirrored{}, map[string]int{}
	for _, name := range l.names {
		m := &mirror{peer: first, id: -1, ledger: l, status: map[string]int{}}
		m.choose(name)
		truth[m.box], counts[name] = m.msgs, len(m.msgs)
		must, may := l.left(m.box)
		for _, x := range m.msgs {
			subject, known := may[x.uid]
			if !known {
				t.Errorf("UID %d of %s is there, though it was expunged or never made", x.uid, name)
			}
			delete(must, x.uid)
			if got := first.must(fmt.Sprintf(`UID SEARCH UID %d SUBJECT "%s"`, x.uid, subject)); got[0] != fmt.Sprintf("* SEARCH %d", x.uid) {
				t.Errorf("UID %d of %s is not %s", x.uid, name, subject)
			}
		}
		if len(must) > 0 {
			t.Errorf("%s has lost %v", name, must)
		}
	}
	for _, m := range mirrors {
		m.compare(truth, counts)
	}
}
