package delivery

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/message"
	"expost/internal/store"
)

// TestSuccessReport checks what a sender who asked for it is told.
func TestSuccessReport(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		from    mail.Address
		notify  string
		reports int
	}{
		"asked for":        {"ann@example.org", "DELAY,SUCCESS", 1},
		"not asked for":    {"ann@example.org", "FAILURE", 0},
		"never":            {"ann@example.org", "NEVER", 0},
		"by nobody":        {"", "SUCCESS", 0},
		"by somebody away": {"x@gmail.example", "SUCCESS", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := testAgent(people())
			a.store = newStore(t)
			ctx := context.Background()
			route, err := a.Resolve(ctx, Query{Address: "bob@example.org"})
			if err != nil {
				t.Fatal(err)
			}
			env := &Envelope{
				ID: "TEST", From: tt.from, EnvID: "order 7", Received: time.Now(),
				Recipients: []Recipient{{Address: "bob@example.org", Notify: tt.notify, Original: "rfc822;robert@example.org", Route: route}},
			}
			msg, err := a.Spool(ctx, env, strings.NewReader("Subject: x\r\n\r\nprivate\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(a.Deliver(ctx, env, msg)...); err != nil {
				t.Fatal(err)
			}
			if err := a.store.Create(ctx, "example.org/ann"); err != nil {
				t.Fatal(err)
			}
			if got := count(t, a.store, "example.org/ann", mail.Inbox); got != tt.reports {
				t.Fatalf("%d reports, want %d", got, tt.reports)
			}
			if tt.reports > 0 {
				checkReport(t, []byte(texts(t, a.store, "example.org/ann", mail.Inbox)[0]))
			}
		})
	}
}

func checkReport(t *testing.T, text []byte) {
	t.Helper()
	p := message.NewParser(message.Limits{}, nil)
	_, _ = p.Write(text)
	m := p.Finish()
	var types []string
	for _, part := range m.Parts {
		types = append(types, part.Type+"/"+part.Subtype)
	}
	if got := strings.Join(types[:3], " "); got != "multipart/report text/plain message/delivery-status" || types[len(types)-1] != "text/rfc822-headers" {
		t.Errorf("parts: %v", types)
	}
	for _, want := range []string{
		"Original-Envelope-Id: order 7\r\n", "Original-Recipient: rfc822; robert@example.org\r\n",
		"Final-Recipient: rfc822; bob@example.org\r\nAction: delivered\r\nStatus: 2.0.0\r\n", "Auto-Submitted: auto-replied\r\n", "\r\nSubject: x\r\n",
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if bytes.Contains(text, []byte("private")) {
		t.Error("the report shows the body")
	}
}

// texts returns the messages of a mailbox.
func texts(t *testing.T, st *store.Store, id mail.AccountID, box string) []string {
	t.Helper()
	ctx := context.Background()
	acct, err := st.Open(ctx, id)
	if mail.KindOf(err) == mail.KindNotExist {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer acct.Release()
	v, err := acct.Examine(ctx, box)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var list []string
	for i := range v.Snapshot().Len() {
		body, err := acct.Body(ctx, v.Snapshot().At(i+1).Email)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if _, err := body.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		body.Close()
		list = append(list, b.String())
	}
	return list
}
