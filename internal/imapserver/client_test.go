package imapserver_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// appendWith appends a message with the client.
func appendWith(t *testing.T, c *imapclient.Client, box, msg string, opt *imap.AppendOptions) *imap.AppendData {
	t.Helper()
	cmd := c.Append(box, int64(len(msg)), opt)
	if _, err := cmd.Write([]byte(msg)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := cmd.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestGoIMAP drives the server with a client that somebody else wrote.
func TestGoIMAP(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	c, err := imapclient.DialInsecure(s.addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.Login("ajay", "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Create("Übung/日本", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	boxes, err := c.List("", "*", &imap.ListOptions{ReturnStatus: &imap.StatusOptions{NumMessages: true}, ReturnSubscribed: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(boxes, func(b *imap.ListData) bool {
		return b.Mailbox == "Übung/日本" && b.Status != nil && *b.Status.NumMessages == 0
	}) {
		t.Errorf("LIST gives %+v", boxes)
	}
	date := time.Date(1994, 2, 1, 21, 52, 25, 0, time.FixedZone("", -8*3600))
	msg := "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nSubject: Hello\r\nMessage-ID: <1@example.org>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: application/pdf; name=x.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n"
	data := appendWith(t, c, "Übung/日本", msg, &imap.AppendOptions{Flags: []imap.Flag{imap.FlagFlagged, "$Label1"}, Time: date})
	sel, err := c.Select("Übung/日本", &imap.SelectOptions{CondStore: true}).Wait()
	if err != nil || sel.NumMessages != 1 || sel.UIDValidity != data.UIDValidity || sel.HighestModSeq == 0 {
		t.Fatalf("SELECT gives %+v, %v", sel, err)
	}
	whole := &imap.FetchItemBodySection{Peek: true}
	msgs, err := c.Fetch(imap.UIDSetNum(data.UID), &imap.FetchOptions{Envelope: true, Flags: true, InternalDate: true, RFC822Size: true, UID: true, ModSeq: true,
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, BodySection: []*imap.FetchItemBodySection{whole, {Part: []int{1}, Peek: true}}}).Collect()
	if err != nil || len(msgs) != 1 {
		t.Fatalf("FETCH gives %d messages, %v", len(msgs), err)
	}
	m := msgs[0]
	if m.Envelope.Subject != "Hello" || m.Envelope.From[0].Name != "Jürgen" || !m.InternalDate.Equal(date) || m.RFC822Size != int64(len(msg)) || !slices.Contains(m.Flags, "$Label1") {
		t.Errorf("FETCH gives %+v", m)
	}
	if !bytes.Equal(m.FindBodySection(whole), []byte(msg)) {
		t.Error("the body differs")
	}
	if bs, ok := m.BodyStructure.(*imap.BodyStructureMultiPart); !ok || len(bs.Children) != 2 || bs.Subtype != "mixed" {
		t.Errorf("body structure is %+v", m.BodyStructure)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Text: []string{"HELLO"}, Since: date.AddDate(0, 0, -1)}, &imap.SearchOptions{ReturnAll: true, ReturnCount: true}).Wait()
	if err != nil || found.Count != 1 || !slices.Equal(found.AllUIDs(), []imap.UID{data.UID}) {
		t.Errorf("SEARCH gives %+v, %v", found, err)
	}
	if err := c.Store(imap.UIDSetNum(data.UID), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagSeen}, Silent: true}, nil).Close(); err != nil {
		t.Error(err)
	}
	copied, err := c.Copy(imap.UIDSetNum(data.UID), "Archive").Wait()
	if err != nil || !slices.Equal(mustNums(t, copied.DestUIDs), []imap.UID{1}) {
		t.Errorf("COPY gives %+v, %v", copied, err)
	}
	if _, err := c.Move(imap.UIDSetNum(data.UID), "Trash").Wait(); err != nil {
		t.Error(err)
	}
	status, err := c.Status("Trash", &imap.StatusOptions{NumMessages: true, NumUnseen: true, Size: true}).Wait()
	if err != nil || *status.NumMessages != 1 || *status.NumUnseen != 0 || *status.Size != int64(len(msg)) {
		t.Errorf("STATUS gives %+v, %v", status, err)
	}
	if err := c.Logout().Wait(); err != nil {
		t.Error(err)
	}
}

func mustNums(t *testing.T, set imap.UIDSet) []imap.UID {
	t.Helper()
	nums, ok := set.Nums()
	if !ok {
		t.Errorf("dynamic set %v", set)
	}
	return nums
}

// TestGoIMAPIdle sees what another client does.
func TestGoIMAPIdle(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	grown := make(chan uint32, 10)
	c, err := imapclient.DialInsecure(s.addr, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				grown <- *d.NumMessages
			}
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.Login("ajay", "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	s.deliver(t, "INBOX", "Subject: x\r\n\r\n"+strings.Repeat("x", 100))
	select {
	case n := <-grown:
		if n != 1 {
			t.Errorf("%d messages", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing was told")
	}
	if err := idle.Close(); err != nil {
		t.Error(err)
	}
}
