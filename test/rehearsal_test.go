package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"expost/internal/sample"
)

// quirkProxy stands between a migration and a Dovecot and makes it behave like
// Exchange: sizes that lie, sequence numbers beyond EXISTS, flagged messages with
// another header, no UIDPLUS and no CONDSTORE, throttling, and a connection that
// ends at its tenth error.
type quirkProxy struct {
	address string
	behind  string
	n       atomic.Int64 // commands
}

func newQuirkProxy(t *testing.T, behind string) *quirkProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	q := &quirkProxy{address: l.Addr().String(), behind: behind}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go q.serve(conn)
		}
	}()
	t.Cleanup(func() { l.Close() })
	return q
}

var (
	quirkCaps = regexp.MustCompile(` (UIDPLUS|CONDSTORE|QRESYNC|ESEARCH|LIST-STATUS|LIST-EXTENDED|SPECIAL-USE|STATUS=SIZE|MULTIAPPEND|ENABLE)\b`)
	quirkUID  = regexp.MustCompile(`\[(APPENDUID|COPYUID) [^]]*\] `)
	quirkSize = regexp.MustCompile(`RFC822\.SIZE (\d+)`)
	quirkSeq  = regexp.MustCompile(`^\* (\d+) FETCH`)
)

// serve passes one connection on.
func (q *quirkProxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", q.behind)
	if err != nil {
		return
	}
	defer server.Close()
	var mu sync.Mutex // of writes to the client
	go func() {
		defer client.Close()
		r := bufio.NewReader(server)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			line = quirkCaps.ReplaceAllString(line, "")
			line = quirkUID.ReplaceAllString(line, "")
			line = quirkSize.ReplaceAllStringFunc(line, func(s string) string {
				n, _ := strconv.Atoi(s[len("RFC822.SIZE "):])
				return fmt.Sprintf("RFC822.SIZE %d", n*9/10+100)
			})
			line = quirkSeq.ReplaceAllString(line, "* 4${1} FETCH")
			n, literal := literalSize(line)
			flag := ""
			if at := strings.LastIndexByte(line, '{'); literal && strings.HasSuffix(line[:at], "BODY[] ") && strings.Contains(line, `\Flagged`) {
				flag = "X-Message-Flag: Follow up\r\n"
				line = fmt.Sprintf("%s{%d}\r\n", line[:at], n+int64(len(flag)))
			}
			mu.Lock()
			_, err = io.WriteString(client, line+flag)
			if literal && err == nil {
				_, err = io.CopyN(client, r, n)
			}
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	r, errs := bufio.NewReader(client), 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		tag, command, _ := strings.Cut(line, " ")
		if n := q.n.Add(1); n%13 == 0 && (strings.HasPrefix(command, "UID ") || strings.HasPrefix(command, "STATUS")) {
			if errs++; errs >= 10 {
				return
			}
			mu.Lock()
			fmt.Fprintf(client, "%s BAD Request is throttled. Suggested Backoff Time: %d milliseconds\r\n", tag, 5+n%20)
			mu.Unlock()
			continue
		}
		if _, err := io.WriteString(server, line); err != nil {
			return
		}
	}
}

// literalSize tells how many bytes follow a line.
func literalSize(line string) (int64, bool) {
	line = strings.TrimRight(line, "\r\n")
	at := strings.LastIndexByte(line, '{')
	if at < 0 || !strings.HasSuffix(line, "}") {
		return 0, false
	}
	n, err := strconv.ParseInt(line[at+1:len(line)-1], 10, 64)
	return n, err == nil
}

// watcher is a client that stays logged in, sees all that comes into INBOX, and
// connects again when it has to.
type watcher struct {
	addr     string // of IMAP
	user     string
	connects int
	validity uint32
	seen     map[imap.UID]string // Message-ID by UID
	changed  []string            // what was not as before
}

// watch runs until stop is closed.
func (w *watcher) watch(stop chan struct{}) {
	var c *imapclient.Client
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if c == nil {
			c = w.connect()
		} else if err := w.look(c, false); err != nil {
			c.Close()
			c = nil
		}
		select {
		case <-stop:
			if c == nil || w.look(c, false) != nil { // what came last
				c = w.connect()
			}
			return
		case <-tick.C:
		}
	}
}

// missed returns which of some messages it has not seen once, under one UID.
func (w *watcher) missed(ids []string) (missed []string) {
	times := map[string]int{}
	for _, id := range w.seen {
		times[id]++
	}
	for _, id := range ids {
		if times[id] != 1 {
			missed = append(missed, fmt.Sprintf("%s %d times", id, times[id]))
		}
	}
	return missed
}

// connect logs in and looks at everything again; nil where that fails.
func (w *watcher) connect() *imapclient.Client {
	c, err := imapclient.DialInsecure(w.addr, nil)
	if err != nil {
		return nil
	}
	if err := c.Login(w.user, password).Wait(); err != nil {
		c.Close()
		return nil
	}
	w.connects++
	if err := w.look(c, true); err != nil {
		c.Close()
		return nil
	}
	return c
}

// look reads what is new, or everything, and compares with what was seen.
func (w *watcher) look(c *imapclient.Client, all bool) error {
	if all {
		box, err := c.Select("INBOX", nil).Wait()
		if err != nil {
			return err
		}
		if w.validity != 0 && box.UIDValidity != w.validity {
			w.changed = append(w.changed, fmt.Sprintf("UIDVALIDITY is %d, was %d", box.UIDValidity, w.validity))
		}
		w.validity = box.UIDValidity
	} else if err := c.Noop().Wait(); err != nil {
		return err
	}
	first := imap.UID(1)
	for uid := range w.seen {
		if !all {
			first = max(first, uid+1)
		}
	}
	msgs, err := c.Fetch(imap.UIDSet{{Start: first, Stop: 0}}, &imap.FetchOptions{UID: true, Envelope: true}).Collect()
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if m.Envelope == nil {
			continue
		}
		if was, ok := w.seen[m.UID]; ok && was != m.Envelope.MessageID {
			w.changed = append(w.changed, fmt.Sprintf("UID %d is %s, was %s", m.UID, m.Envelope.MessageID, was))
		}
		w.seen[m.UID] = m.Envelope.MessageID
	}
	return nil
}

// collector is a POP3 client that leaves its mail on the server and fetches what it
// does not know, again and again.
type collector struct {
	addr    string // of POP3
	user    string
	fetched map[string]string // unique id by Message-ID
	logins  int
	last    error    // of the last session
	twice   []string // messages that it fetched again
}

// collect runs until stop is closed.
func (c *collector) collect(stop chan struct{}) {
	for {
		if conn, err := textproto.Dial("tcp", c.addr); err == nil {
			if c.last = c.session(conn); c.last == nil {
				c.logins++
			}
			conn.Close()
		}
		select {
		case <-stop:
			return
		case <-time.After(150 * time.Millisecond):
		}
	}
}

// session fetches what is new.
func (c *collector) session(conn *textproto.Conn) error {
	if _, err := conn.ReadLine(); err != nil {
		return err
	}
	for _, line := range []string{"USER " + c.user, "PASS " + password, "UIDL"} {
		if err := c.command(conn, line); err != nil {
			return err
		}
	}
	list, err := conn.ReadDotLines()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, id := range c.fetched {
		known[id] = true
	}
	for _, line := range list {
		n, id, _ := strings.Cut(line, " ")
		if known[id] {
			continue
		}
		if err := c.command(conn, "TOP "+n+" 0"); err != nil {
			return err
		}
		header, err := conn.ReadMIMEHeader()
		if err != nil && err != io.EOF {
			return err
		}
		if _, err := conn.ReadDotBytes(); err != nil { // the end of the header was not the end
			return err
		}
		name := header.Get("Message-Id")
		if was, ok := c.fetched[name]; ok && name != "" {
			c.twice = append(c.twice, fmt.Sprintf("%s, as %s and as %s", name, was, id))
		}
		c.fetched[name] = id
	}
	return c.command(conn, "QUIT")
}

// command sends a line and reads whether it went well.
func (c *collector) command(conn *textproto.Conn, line string) error {
	if err := conn.PrintfLine("%s", line); err != nil {
		return err
	}
	answer, err := conn.ReadLine()
	if err == nil && !strings.HasPrefix(answer, "+OK") {
		err = errors.New(answer)
	}
	return err
}

// idsOf returns how often each Message-ID is in the folders of a login, by folder.
func idsOf(t *testing.T, addr, login string) map[string]map[string]int {
	t.Helper()
	c, err := imapclient.DialInsecure(addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login(login, password).Wait(); err != nil {
		t.Fatalf("logging in as %s: %v", login, err)
	}
	folders, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]int{}
	for _, f := range folders {
		if slices.Contains(f.Attrs, imap.MailboxAttrNoSelect) {
			continue
		}
		box, err := c.Select(f.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]int{}
		out[f.Mailbox] = ids
		if box.NumMessages == 0 {
			continue
		}
		msgs, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{Envelope: true}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			ids[m.Envelope.MessageID]++
		}
	}
	return out
}

// rehearsal is an organisation on its way.
type rehearsal struct {
	*server
	t     *testing.T
	old   *dovecot
	users []string // addresses

	before map[string]map[string]map[string]int // Message-IDs by user and folder

	mu      sync.Mutex
	sent    map[string][]string // Message-IDs that were acknowledged, by user
	flagged map[string][]mark   // what was acknowledged, by user
	refused map[string]int
}

// mark is a flag of a message in INBOX.
type mark struct {
	id   string
	flag imap.Flag
}

// newRehearsal starts the old server and Expost in front of it.
func newRehearsal(t *testing.T, n int) *rehearsal {
	org := sample.New(sample.Options{People: n, Messages: 40, MaxSize: 64 << 10})
	passwords := map[string]string{}
	r := &rehearsal{t: t, before: map[string]map[string]map[string]int{}, sent: map[string][]string{}, flagged: map[string][]mark{}, refused: map[string]int{}}
	for _, p := range org.People {
		passwords[p.Address.Local()] = password
		r.users = append(r.users, string(p.Address))
	}
	r.old = newDovecot(t, passwords)
	mail := filepath.Join(r.old.dir, "mail")
	for i, p := range org.People {
		if err := sample.WriteMaildir(filepath.Join(mail, p.Address.Local(), "Maildir"), org.Mailbox(i)); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(mail, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 65534, 65534)
	})
	if err != nil {
		t.Fatal(err)
	}
	r.server = newServer(t)
	r.configure("pop3 = \"\"", "pop3 = \"127.0.0.1:0\"")
	r.configure("[log]", fmt.Sprintf("[[host]]\nname = \"exchange.linuxforu.com\"\nimap = \"imap://%s\"\npop3 = \"pop3s://%s\"\nsmtp = \"lmtp:%s\"\nca = %q\nlogin = \"{local}\"\nlearn = true\n[log]", r.old.imap, r.old.pop3s, r.old.lmtp, r.old.ca))
	r.start()
	for _, u := range r.users {
		r.run("account", "add", u, "--mail-host", "exchange.linuxforu.com", "--no-password")
	}
	for _, u := range r.users {
		local, _, _ := strings.Cut(u, "@")
		r.before[u] = idsOf(t, r.old.imap, local)
	}
	q := newQuirkProxy(t, r.old.imap)
	plan := fmt.Sprintf("users-file = \"users.csv\"\n[source]\nkind = \"imap\"\naddress = %q\ntls = \"none\"\nlogin = \"{local}\"\npassword-file = \"old.password\"\n", q.address)
	var users strings.Builder
	for i, u := range r.users {
		fmt.Fprintf(&users, "%s,%s,,batch%d\n", u, u, 1+i%2)
	}
	for name, text := range map[string]string{"migration.toml": plan, "users.csv": users.String(), "old.password": password} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// live sends mail and changes flags until stop is closed.
func (r *rehearsal) live(stop chan struct{}, wg *sync.WaitGroup) {
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(15 * time.Millisecond):
			}
			u := r.users[rand.IntN(len(r.users))]
			id := fmt.Sprintf("living%d@far.example", i)
			text := fmt.Sprintf("From: x@far.example\r\nTo: %s\r\nSubject: living %d\r\nMessage-ID: <%s>\r\n\r\ntext\r\n", u, i, id)
			if err := sendTo(r.addr["smtp"], u, text); err != nil {
				r.mu.Lock()
				r.refused[err.Error()]++
				r.mu.Unlock()
				continue // not acknowledged: the sender would try again
			}
			r.mu.Lock()
			r.sent[u] = append(r.sent[u], id)
			r.mu.Unlock()
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(40 * time.Millisecond):
			}
			r.flag(r.users[rand.IntN(len(r.users))], []imap.Flag{imap.FlagSeen, imap.FlagFlagged, "Project"}[rand.IntN(3)])
		}
	})
}

// flag sets a flag on a message of a user's. A cutover may end it at any moment:
// only what was acknowledged counts.
func (r *rehearsal) flag(user string, flag imap.Flag) {
	c, err := imapclient.DialInsecure(r.addr["imap"], nil)
	if err != nil {
		return
	}
	defer c.Close()
	if c.Login(user, password).Wait() != nil {
		return
	}
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil || box.NumMessages == 0 {
		return
	}
	set := imap.SeqSetNum(1 + rand.Uint32N(box.NumMessages))
	msgs, err := c.Fetch(set, &imap.FetchOptions{Envelope: true}).Collect()
	if err != nil || len(msgs) != 1 || msgs[0].Envelope == nil {
		return
	}
	id := msgs[0].Envelope.MessageID
	if c.Store(set, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}, nil).Close() != nil || r.before[user]["INBOX"][id] > 1 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flagged[user] = append(r.flagged[user], mark{id, flag})
}

// checkFlags checks that a user's messages have the flags that were acknowledged.
func (r *rehearsal) checkFlags(user, addr, login string) {
	r.t.Helper()
	c, err := imapclient.DialInsecure(addr, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login(login, password).Wait(); err != nil {
		r.t.Fatal(err)
	}
	if _, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		r.t.Fatal(err)
	}
	msgs, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{Envelope: true, Flags: true}).Collect()
	if err != nil {
		r.t.Fatal(err)
	}
	has := map[mark]bool{}
	for _, m := range msgs {
		for _, f := range m.Flags {
			has[mark{m.Envelope.MessageID, f}] = true
		}
	}
	for _, m := range r.flagged[user] {
		if !has[m] {
			r.t.Errorf("%s at %s: message %s has lost the flag %s", user, addr, m.id, m.flag)
		}
	}
}

// sendTo hands a message in by SMTP.
func sendTo(addr, to, text string) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(c.Hello("far.example"), c.Mail("x@far.example"), c.Rcpt(to)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return w.Close() // the server's answer
}

// moved is what cutover and rollback print.
type moved struct {
	Target   string        `json:"target"`
	Done     bool          `json:"done"`
	Gap      time.Duration `json:"frozen_ns"`
	Carried  int           `json:"carried_back"`
	Error    string        `json:"error"`
	Problems []string      `json:"problems"`
}

// move carries out a cutover or rollback, again for those that were not moved.
func (r *rehearsal) move(args ...string) []moved {
	r.t.Helper()
	var done []moved
	for range 5 {
		out, errs, err := r.try(r.t.Context(), "", append(append([]string{"migrate"}, args...), "--json")...)
		var list []moved
		if jerr := json.Unmarshal([]byte(out), &list); jerr != nil {
			r.t.Fatalf("%v: %v\n%s%s", args, jerr, out, errs)
		}
		for _, m := range list {
			if m.Done && m.Gap > 0 {
				done = append(done, m)
			}
		}
		if err == nil {
			return done
		}
		r.t.Logf("once more: %s%+v", errs, list)
	}
	r.t.Fatalf("%v: not done after five tries", args)
	return nil
}

// TestRehearsal moves an organisation off a server that behaves like Exchange
// while its people work, and takes some of them back.
func TestRehearsal(t *testing.T) {
	t.Parallel()
	users, back := 50, 5
	if testing.Short() {
		users, back = 6, 2
	}
	r := newRehearsal(t, users)
	stop := make(chan struct{})
	var living, watching sync.WaitGroup
	var watchers []*watcher
	for _, u := range r.users {
		w := &watcher{addr: r.addr["imap"], user: u, seen: map[imap.UID]string{}}
		watchers = append(watchers, w)
		watching.Go(func() { w.watch(stop) })
	}
	var collectors []*collector
	for _, u := range r.users[back:min(len(r.users), back+5)] {
		c := &collector{addr: r.addr["pop3"], user: u, fetched: map[string]string{}}
		collectors = append(collectors, c)
		watching.Go(func() { c.collect(stop) })
	}
	stopLiving := make(chan struct{})
	r.live(stopLiving, &living)

	r.run("migrate", "run", "-f", "migration.toml")
	r.run("migrate", "run", "-f", "migration.toml")
	gaps := []time.Duration{}
	moved := map[string]bool{}
	for _, batch := range []string{"batch1", "batch2"} {
		for _, m := range r.move("cutover", "-f", "migration.toml", "--batch", batch) {
			gaps = append(gaps, m.Gap)
			moved[m.Target] = true
			t.Logf("%s was frozen for %v", m.Target, m.Gap.Round(time.Millisecond))
		}
		r.run("migrate", "run", "-f", "migration.toml")
	}
	args := []string{"rollback", "-f", "migration.toml", "--carry"}
	for _, u := range r.users[:back] {
		args = append(args, "--user", u)
	}
	if n := len(r.move(args...)); n != back {
		t.Errorf("%d of %d accounts were taken back", n, back)
	}
	close(stopLiving)
	living.Wait()
	r.settle()
	r.run("migrate", "run", "-f", "migration.toml")
	close(stop)
	watching.Wait()
	slices.Sort(gaps)
	t.Logf("%d accounts moved; frozen for %v in the middle, %v at most; %d messages came meanwhile", len(gaps), gaps[len(gaps)/2], gaps[len(gaps)-1], r.total())
	if n := r.total(); n < 10 {
		t.Errorf("only %d messages came: %v", n, r.refused)
	}
	if len(gaps) != users || len(moved) != users {
		t.Errorf("%d of %d accounts moved, in %d cutovers", len(moved), users, len(gaps))
	}
	for i, w := range watchers {
		most := 2
		if i < back {
			most = 3
		}
		if len(w.changed) > 0 || w.connects > most {
			t.Errorf("%s connected %d times and saw: %v", w.user, w.connects, w.changed)
		}
		if missed := w.missed(r.sent[w.user]); len(missed) > 0 {
			t.Errorf("the client of %s, which stayed logged in, saw %v", w.user, missed)
		}
	}
	for _, c := range collectors {
		if len(c.twice) > 0 || c.logins < 10 || len(c.fetched) < 10 {
			t.Errorf("%s fetched %d messages by POP3 in %d sessions (the last: %v), and these again: %v", c.user, len(c.fetched), c.logins, c.last, c.twice)
		}
	}
	marks := 0
	for i, u := range r.users {
		r.checkOnce(u, r.addr["imap"], u)
		r.checkFlags(u, r.addr["imap"], u)
		marks += len(r.flagged[u])
		if i < back { // by the old server itself too
			local, _, _ := strings.Cut(u, "@")
			r.checkOnce(u, r.old.imap, local)
			r.checkFlags(u, r.old.imap, local)
		}
	}
	if marks < 10 {
		t.Errorf("only %d flags were changed", marks)
	}
}

// total returns how many messages were acknowledged.
func (r *rehearsal) total() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ids := range r.sent {
		n += len(ids)
	}
	return n
}

// settle waits until the queue is empty.
func (r *rehearsal) settle() {
	r.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; <-time.After(200 * time.Millisecond) {
		out := r.run("queue", "list", "--json")
		var list []json.RawMessage
		if err := json.Unmarshal([]byte(out), &list); err == nil && len(list) == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the queue is not empty:\n%s", out)
		}
		r.run("queue", "retry", "--all")
	}
}

// checkOnce checks that a user has every message that was there before, where it
// was, and every one that was acknowledged since, once.
func (r *rehearsal) checkOnce(user, addr, login string) {
	r.t.Helper()
	have := idsOf(r.t, addr, login)
	for folder, ids := range r.before[user] {
		for id, n := range ids {
			if have[folder][id] != n {
				r.t.Errorf("%s at %s has message %q %d times in %q, had it %d times", user, addr, id, have[folder][id], folder, n)
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.sent[user] {
		if have["INBOX"][id] != 1 {
			r.t.Errorf("%s at %s has message %s %d times", user, addr, id, have["INBOX"][id])
		}
	}
	for folder, ids := range have {
		for id, n := range ids {
			if was := r.before[user][folder][id]; n > max(was, 1) {
				r.t.Errorf("%s at %s has message %q %d times in %q, had it %d times", user, addr, id, n, folder, was)
			}
		}
	}
}
