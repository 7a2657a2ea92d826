package imapserver_test

import (
	"bufio"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/store"
)

// Commands that come all at once are answered one after another, whatever pieces
// they come in.
func TestPipelining(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	var all, want strings.Builder
	all.WriteString("l LOGIN {4+}\r\najay {6+}\r\nsecret\r\ns SELECT INBOX\r\n")
	text := "Subject: x\r\n\r\ny"
	for i := range 100 {
		fmt.Fprintf(&all, "a%d APPEND INBOX {%d+}\r\n%s\r\nf%d UID FETCH * (UID)\r\n", i, len(text), text, i)
		fmt.Fprintf(&want, "a%d OK f%d OK ", i, i)
	}
	all.WriteString("x BAD\r\nz LOGOUT\r\n")
	want.WriteString("x BAD z OK")
	for name, size := range map[string]int{"whole": all.Len(), "seven": 7, "one": 1} {
		p := s.dial(t)
		p.deadline()
		go func() {
			for rest := all.String(); rest != ""; rest = rest[min(size, len(rest)):] {
				if _, err := io.WriteString(p.nc, rest[:min(size, len(rest))]); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		}()
		out, err := io.ReadAll(p.r)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(out)) {
			if tag, rest, _ := strings.Cut(line, " "); tag != "*" && tag != "l" && tag != "s" {
				word, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
				got = append(got, tag+" "+word)
			}
		}
		if strings.Join(got, " ") != want.String() {
			t.Errorf("%s: answers are %.200s", name, strings.Join(got, " "))
		}
	}
}

// A large literal goes through COMPRESS, and comes back.
func TestCompressedLiteral(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	p := s.login(t)
	p.must("COMPRESS DEFLATE")
	p.r = bufio.NewReader(flate.NewReader(p.r))
	w, err := flate.NewWriter(p.nc, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 3<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = "0123456789abcdef\r\n"[r.IntN(18)]
	}
	text := "Subject: noise\r\n\r\n" + string(noise)
	go func() {
		_, _ = fmt.Fprintf(w, "a SELECT INBOX\r\nb APPEND INBOX {%d+}\r\n%s\r\nc FETCH 1 BODY.PEEK[]\r\n", len(text), text)
		_ = w.Flush()
	}()
	_ = p.nc.SetDeadline(time.Now().Add(time.Minute))
	for line := ""; !strings.HasPrefix(line, "* 1 FETCH"); line = p.line() {
		if strings.Contains(line, " NO ") || strings.Contains(line, " BAD ") {
			t.Fatal(line)
		}
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(p.r, got); err != nil || string(got) != text {
		t.Errorf("what came back differs (%v)", err)
	}
}

// Commands as large as the limits allow are carried out, larger ones refused.
func TestLargeCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for range 3 {
		s.deliver(t, "INBOX", "Subject: x\r\n\r\ny")
	}
	p := s.login(t)
	p.must("SELECT INBOX")
	items := strings.TrimSuffix(strings.Repeat("FLAGS UID BODY.PEEK[HEADER.FIELDS (Subject)] ", 333), " ")
	if got := p.must("FETCH 1 (" + items + ")"); strings.Count(strings.Join(got, "\n"), "FLAGS (") != 333 {
		t.Errorf("999 items: %.100q", got)
	}
	set := strings.TrimSuffix(strings.Repeat("1,3,", 7000), ",")
	if got := p.must("UID SEARCH UID " + set); !slices.Equal(got, []string{"* SEARCH 1 3"}) {
		t.Errorf("14,000 ranges: %q", got)
	}
	if _, answer := p.do("UID SEARCH UID 1" + strings.Repeat(",3", 20_000)); !strings.HasPrefix(answer, "BAD [TOOBIG]") {
		t.Errorf("20,000 ranges: %s", answer)
	}
	if got := p.must("SEARCH " + strings.Repeat("NOT ", 40) + "SUBJECT x"); !slices.Equal(got, []string{"* SEARCH 1 2 3"}) {
		t.Errorf("nested: %q", got)
	}
	if got := p.must("SEARCH" + strings.Repeat(" OR SUBJECT y", 20) + " SUBJECT x " + strings.Repeat("(SUBJECT x) ", 1000)); !slices.Equal(got, []string{"* SEARCH 1 2 3"}) {
		t.Errorf("many keys: %q", got)
	}
	if got := p.must("SEARCH SUBJECT \"\xc3\xbc\""); !slices.Equal(got, []string{"* SEARCH"}) { // 8-bit in a quoted string
		t.Errorf("8-bit: %q", got)
	}
	if _, answer := p.do("NOOP"); answer != "OK done" {
		t.Errorf("then: %s", answer)
	}
}

// Sessions that rename INBOX at the same time lose no message and keep none twice.
func TestRenameInboxTogether(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	const messages = 50
	for i := range messages {
		s.deliver(t, "INBOX", fmt.Sprintf("Subject: %d\r\n\r\n", i))
	}
	var group sync.WaitGroup
	for n := range 4 {
		p := s.login(t)
		p.must("SELECT INBOX")
		group.Go(func() {
			for i := range 5 {
				p.must(fmt.Sprintf("RENAME INBOX Old%d-%d", n, i))
				p.must(fmt.Sprintf("APPEND INBOX {%d+}\r\nSubject: n%d-%d\r\n\r\n", len(fmt.Sprintf("Subject: n%d-%d\r\n\r\n", n, i)), n, i))
				p.must("UID FETCH 1:* (FLAGS)")
			}
		})
	}
	group.Wait()
	p := s.login(t)
	seen := map[string]int{}
	boxes := []string{"INBOX"}
	for _, line := range p.must(`LIST "" Old*`) {
		boxes = append(boxes, line[strings.LastIndex(line, " ")+1:])
	}
	for _, box := range boxes {
		p.must("EXAMINE " + box)
		for _, line := range p.must("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])") {
			if subject, is := strings.CutPrefix(line, "Subject: "); is {
				seen[subject]++
			}
		}
	}
	if len(seen) != messages+20 {
		t.Errorf("%d messages are there, want %d", len(seen), messages+20)
	}
	for subject, n := range seen {
		if n != 1 {
			t.Errorf("message %s is there %d times", subject, n)
		}
	}
}

// Whoever is in an account that is removed is told, or hears it at the next command;
// so is who is in a mailbox of it that was shared.
func TestAccountRemovedUnderSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.grant(t, "example.org/ajay", "INBOX", "anyone", "lr")
	idle, open, watching := s.login(t), s.login(t), s.login(t)
	idle.must("SELECT INBOX")
	idle.send("i IDLE\r\n")
	idle.expect("+ idling")
	watching.must("NOTIFY SET (personal (MailboxName))")
	guest, other := s.as(t, "bishal"), s.as(t, "chitra")
	guest.must(`SELECT "Other Users/ajay@example.org/INBOX"`)
	other.must(`NOTIFY SET (subtree "Other Users" (MailboxName))`)
	if err := s.store.Remove(t.Context(), "example.org/ajay"); err != nil {
		t.Fatal(err)
	}
	idle.expect("* BYE [UNAVAILABLE] the selected mailbox was deleted")
	watching.expect("* BYE [UNAVAILABLE] <any>")
	other.expect(`* LIST (\NonExistent \NoAccess) "/" "Other Users/ajay@example.org/INBOX"`)
	for _, cmd := range []string{"SELECT INBOX", `LIST "" *`, "STATUS INBOX (MESSAGES)", "APPEND INBOX {4+}\r\nabcd", "CREATE x", "SUBSCRIBE x"} {
		if _, answer := open.do(cmd); !strings.HasPrefix(answer, "NO [") || strings.Contains(answer, "SERVERBUG") {
			t.Errorf("%.20q: %s", cmd, answer)
		}
	}
	guest.send("n NOOP\r\n")
	guest.expect("* BYE [UNAVAILABLE] the selected mailbox was deleted")
}

// A shared mailbox that is renamed stays selected; one that is deleted ends the
// sessions in it. Lists of mailboxes that are not there, or that the client may not
// know of, are not there either (RFC 4314 §6).
func TestSharedMailboxRenamedAndDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	owner := s.login(t)
	owner.must("CREATE Team/Plans")
	owner.must("SETACL Team/Plans bishal lrswite")
	guest := s.as(t, "bishal")
	guest.must(`SELECT "Other Users/ajay@example.org/Team/Plans"`)
	owner.must("RENAME Team Group")
	guest.must(`APPEND "Other Users/ajay@example.org/Group/Plans" {4+}` + "\r\nabcd")
	if got := guest.must("UID FETCH 1 (FLAGS)"); len(got) != 1 {
		t.Errorf("in the renamed mailbox: %q", got)
	}
	guest.must(`UID STORE 1 +FLAGS (\Deleted)`)
	guest.must("EXPUNGE")
	for _, cmd := range []string{"GETACL", "MYRIGHTS"} {
		for _, name := range []string{`Nosuch`, `"Other Users/ajay@example.org/Nosuch"`, `"Other Users/ajay@example.org/Sent"`, `"Other Users/ajay@example.org"`, `"Other Users/nobody@example.org/INBOX"`, `"Other Users"`} {
			if _, answer := guest.do(cmd + " " + name); !strings.HasPrefix(answer, "NO [NONEXISTENT]") {
				t.Errorf("%s %s: %s", cmd, name, answer)
			}
		}
	}
	const plans = `"Other Users/ajay@example.org/Group/Plans"`
	for cmd, want := range map[string]string{
		"LISTRIGHTS Nosuch anyone": "NO [NONEXISTENT]", "SETACL Nosuch anyone l": "NO [NONEXISTENT]", "DELETEACL Nosuch anyone": "NO [NONEXISTENT]",
		"GETACL " + plans: "NO [NOPERM]", "SETACL " + plans + " anyone l": "NO [NOPERM]", "LISTRIGHTS " + plans + " anyone": "NO [NOPERM]", "MYRIGHTS " + plans: "OK",
		"SETACL INBOX nobody@example.org l": "NO [CANNOT]", "SETACL INBOX chitra !": "BAD", "DELETEACL INBOX nobody@example.org": "OK",
	} {
		if _, answer := guest.do(cmd); !strings.HasPrefix(answer, want) {
			t.Errorf("%s: %s, want %s", cmd, answer, want)
		}
	}
	owner.must("DELETE Group/Plans")
	guest.send("n NOOP\r\n")
	guest.expect("* BYE [UNAVAILABLE] the selected mailbox was deleted")
}

// A client that was away for longer than expunges are remembered is told of every
// UID that is no longer there (RFC 7162 §3.2.5.1, §5).
func TestQResyncBeyondTheHistory(t *testing.T) {
	t.Parallel()
	s := newSiteOn(t, func(o *store.Options) { o.HistoryRows = 16 }, nil)
	for i := range 100 {
		s.deliver(t, "INBOX", fmt.Sprintf("Subject: %d\r\n\r\n", i))
	}
	p := s.login(t)
	p.must("SELECT INBOX")
	var gone mail.UIDSet
	for uid := mail.UID(2); uid <= 98; uid += 2 {
		p.must(fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Deleted)`, uid))
		p.must("EXPUNGE") // a row each
		gone.Add(uid)
	}
	late := s.login(t)
	late.must("ENABLE QRESYNC")
	for _, cmd := range []string{"SELECT INBOX (QRESYNC (1065009600 1))", "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)"} {
		var told mail.UIDSet
		for _, line := range late.must(cmd) {
			if x := earlierLine.FindStringSubmatch(line); x != nil {
				for _, uid := range uids(x[1]) {
					told.Add(mail.UID(uid))
				}
			}
		}
		if !slices.Equal(told, gone) {
			t.Errorf("%s tells of %v, want %v", cmd, told, gone)
		}
	}
	// What the client says that it knows bounds it.
	got := strings.Join(late.must("SELECT INBOX (QRESYNC (1065009600 1 1:10))"), "\n")
	if !strings.Contains(got, "* VANISHED (EARLIER) 2,4,6,8,10\n") {
		t.Errorf("of 1:10 it tells %q", got)
	}
}
