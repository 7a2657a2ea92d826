package storetest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// noise returns n bytes that do not compress.
func noise(n int, seed uint64) string {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	b := make([]byte, n)
	r.Read(b)
	return string(b)
}

func testSpool(f *fixture) {
	ctx := f.context()
	in, err := f.store.Spool(ctx, []byte("Received: by us\r\n"), strings.NewReader(text(1)), 0)
	f.check(err)
	defer in.Close()
	want := "Received: by us\r\n" + text(1)
	equal(f, "size", in.Size(), int64(len(want)))
	equal(f, "parsed size", in.Message().Size, int64(len(want)))
	equal(f, "subject", in.Message().Envelope.Subject, "message 1")
	body, err := in.Open()
	f.check(err)
	defer body.Close()
	var b strings.Builder
	_, err = body.WriteTo(&b)
	f.check(err)
	equal(f, "bytes", b.String(), want)

	_, err = f.store.Spool(ctx, nil, strings.NewReader(text(1)), 20)
	f.wantKind(err, mail.KindTooBig)
	_, err = f.store.Spool(ctx, nil, strings.NewReader(noise(1<<20, 1)), 1<<19)
	f.wantKind(err, mail.KindTooBig)
	lost := errors.New("the line was cut")
	_, err = f.store.Spool(ctx, nil, io.MultiReader(strings.NewReader(text(1)), failing{lost}), 0)
	if !errors.Is(err, lost) {
		f.Errorf("error %v, want the reader's", err)
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (r failing) Read([]byte) (int, error) { return 0, r.err }

func testBodies(f *fixture) {
	inbox := f.box("INBOX").ID
	header := "Subject: big\r\n\r\n"
	for _, content := range []string{
		"", "x", text(1), header + strings.Repeat("a line\r\n", 100_000), header + noise(3000, 1),
		header + noise(5000, 2), header + noise(1<<20, 3), noise(256<<10, 4), noise(256<<10+1, 5), noise(512<<10, 6),
	} {
		in := f.spool(content)
		got, err := f.a.Append(f.context(), inbox, in, store.AppendOptions{})
		f.check(err)
		f.check(in.Close())
		if f.body(got.Email) != content {
			f.Fatalf("a message of %d bytes came back different", len(content))
		}
		f.readAnywhere(got.Email, content)
	}
	_, err := f.a.Body(f.context(), 9999)
	f.wantKind(err, mail.KindNotExist)
	f.bodiesTogether()
}

// bodiesTogether reads many bodies at once, in any order, some twice, some
// missing, some large.
func (f *fixture) bodiesTogether() {
	ctx, inbox := f.context(), f.box("INBOX").ID
	want := make(map[mail.EmailID]string)
	var ids []mail.EmailID
	for i := range 150 {
		content := fmt.Sprintf("Subject: %d\r\n\r\n", i) + noise(i*197, uint64(i))
		if i%70 == 30 {
			content = noise(300<<10, uint64(i))
		}
		in := f.spool(content)
		got, err := f.a.Append(ctx, inbox, in, store.AppendOptions{})
		f.check(err)
		f.check(in.Close())
		want[got.Email] = content
		ids = append(ids, got.Email)
	}
	shuffled := append(slices.Clone(ids), ids[3], ids[3], 9999, ids[40])
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	backwards := slices.Clone(ids)
	slices.Reverse(backwards)
	for _, ask := range [][]mail.EmailID{ids, backwards, shuffled, {9999}, {9999, ids[0], 9998}, ids[:1], nil} {
		next := 0
		f.check(f.a.Bodies(ctx, ask, func(i int, b *store.Body) error {
			equal(f, "order", i, next)
			next++
			content, there := want[ask[i]]
			if there != (b != nil) {
				f.Fatalf("email %s: it is there: %v, it is found: %v", ask[i], there, b != nil)
			}
			if b == nil {
				return nil
			}
			got, err := io.ReadAll(b.Section(0, b.Size()))
			if err == nil && string(got) != content {
				f.Fatalf("the bytes of email %s came back different", ask[i])
			}
			return err
		}))
		equal(f, "bodies", next, len(ask))
	}
	stop := errors.New("stop")
	if err := f.a.Bodies(ctx, ids, func(int, *store.Body) error { return stop }); !errors.Is(err, stop) {
		f.Fatalf("error %v", err)
	}
}

// readAnywhere reads parts of a body.
func (f *fixture) readAnywhere(id mail.EmailID, want string) {
	b, err := f.a.Body(f.context(), id)
	f.check(err)
	defer b.Close()
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		from := r.IntN(len(want) + 1)
		to := from + r.IntN(len(want)-from+1)
		part, err := io.ReadAll(b.Section(int64(from), int64(to)))
		f.check(err)
		if string(part) != want[from:to] {
			f.Fatalf("bytes %d to %d of %d differ", from, to, len(want))
		}
		p := make([]byte, to-from+1)
		n, err := b.ReadAt(p, int64(from))
		if string(p[:n]) != want[from:from+n] || n < len(p) && err != io.EOF {
			f.Fatalf("reading %d bytes at %d of %d: %d bytes, error %v", len(p), from, len(want), n, err)
		}
	}
}

// testSharedBody delivers one large message to several accounts and mailboxes,
// and takes it away again.
func testSharedBody(f *fixture) {
	ctx := f.context()
	in := f.spool("Subject: shared\r\n\r\n" + noise(1<<20, 7))
	want := noise(1<<20, 7)
	inbox := f.box("INBOX").ID
	one, err := f.a.Append(ctx, inbox, in, store.AppendOptions{Flags: mail.Deleted})
	f.check(err)
	two, err := f.a.Append(ctx, inbox, in, store.AppendOptions{})
	f.check(err)
	f.check(f.store.Create(ctx, "example.org/bis"))
	other := f.openAccount("example.org/bis")
	box, err := other.Mailbox(ctx, "INBOX")
	f.check(err)
	three, err := other.Append(ctx, box.ID, in, store.AppendOptions{})
	f.check(err)
	f.check(in.Close())

	_, err = f.a.Expunge(ctx, inbox, nil)
	f.check(err)
	f.reopen() // what is expunged has been removed when the account is closed
	if _, err := f.a.Body(ctx, one.Email); err != nil {
		f.wantKind(err, mail.KindNotExist)
	}
	if !strings.HasSuffix(f.body(two.Email), want) {
		f.Error("expunging one message has damaged another with the same bytes")
	}
	other.Release()
	other = f.openAccount("example.org/bis")
	defer other.Release()
	b, err := other.Body(ctx, three.Email)
	f.check(err)
	f.check(b.Close())
}

func testDetails(f *fixture) {
	inbox := f.box("INBOX").ID
	var ids []mail.EmailID
	for n := range 20 {
		ids = append(ids, f.append(inbox, n).Email)
	}
	ask := []mail.EmailID{ids[3], 4711, ids[3], ids[19], ids[0], ids[1], ids[2]}
	want := []string{"message 3", "", "message 3", "message 19", "message 0", "message 1", "message 2"}
	for range 200 { // more than one batch
		ask, want = append(ask, ids[7], ids[5]), append(want, "message 7", "message 5")
	}
	var got []string
	err := f.a.Details(f.context(), ask, func(i int, m *message.Message) error {
		equal(f, "place", i, len(got))
		subject := ""
		if m != nil {
			subject = m.Envelope.Subject
		}
		got = append(got, subject)
		return nil
	})
	f.check(err)
	equalSlices(f, "subjects", got, want)
	stop := errors.New("enough")
	err = f.a.Details(f.context(), ids, func(int, *message.Message) error { return stop })
	if !errors.Is(err, stop) {
		f.Errorf("error %v, want the function's", err)
	}
}

func testThreads(f *fixture) {
	inbox := f.box("INBOX").ID
	thread := func(headers string) mail.ThreadID {
		in := f.spool(headers + "\r\n\r\nhello\r\n")
		defer in.Close()
		got, err := f.a.Append(f.context(), inbox, in, store.AppendOptions{})
		f.check(err)
		messages := f.messages("INBOX")
		last := messages[len(messages)-1]
		equal(f, "email", last.Email, got.Email)
		return last.Thread
	}
	first := thread("Message-ID: <1@x>")
	reply := thread("Message-ID: <2@x>\r\nIn-Reply-To: <1@x>")
	equal(f, "thread of a reply", reply, first)
	equal(f, "thread of a reply to the reply", thread("Message-ID: <3@x>\r\nReferences: <1@x> <2@x>"), first)
	// The parent comes after two of its children.
	child := thread("Message-ID: <11@x>\r\nReferences: <10@x>")
	equal(f, "thread of a sibling", thread("Message-ID: <12@x>\r\nReferences: <10@x>"), child)
	equal(f, "thread of a late parent", thread("Message-ID: <10@x>"), child)
	if alone := thread("Subject: alone"); alone == first || alone == child || alone == thread("Subject: alone") {
		f.Error("messages without ids share a thread")
	}
	f.reopen()
	equal(f, "thread after a restart", thread("References: <2@x>"), first)
}
