package delivery

import (
	"errors"
	"hash/maphash"
	"io"
	"strings"
	"testing"
	"time"

	"expost/internal/mail"
	"expost/internal/message"
)

// TestAuthors submits messages with all kinds of From and Sender.
func TestAuthors(t *testing.T) {
	t.Parallel()
	const shared = "objectClass: expostMailbox\nmailboxType: shared\n"
	o := newOffice(t,
		person("ann", "displayName: Ann B.", "mailAlternateAddress: anna@example.org"), person("bob"),
		person("info", shared+"mailSendAs: "+uid("ann")), person("boss", shared+"publicDelegates: "+uid("ann")),
		person("team", shared+"mailSendAs: "+cn("crew")), group("crew", "member: "+uid("ann")),
		group("sales", "objectClass: expostMailbox", "member: "+uid("bob"), "mailSendAs: "+uid("ann")),
		group("board", "objectClass: expostMailbox", "member: "+uid("ann"), "publicDelegates: "+cn("crew")),
		group("others", "member: "+uid("ann")),
	)
	const date = "Date: d\r\nMessage-ID: <m@x>\r\n"
	added := "Sender: \"Ann B.\" <ann@example.org>\r\n"
	for name, tt := range map[string]struct{ in, want string }{
		"own":                    {"From: Ann <ann@example.org>\r\n", "From: Ann <ann@example.org>\r\n"},
		"alias, folded":          {"From: =?utf-8?q?A?=\r\n <ANNA@Example.ORG>\r\n", "From: =?utf-8?q?A?=\r\n <ANNA@Example.ORG>\r\n"},
		"alias domain":           {"From: ann@example.net\r\n", "From: ann@example.net\r\n"},
		"sub-address":            {"From: ann+shop@example.org\r\n", "From: ann+shop@example.org\r\n"},
		"send as":                {"From: info@example.org\r\n", "From: info@example.org\r\n"},
		"send as, of a group":    {"From: team@example.org\r\n", "From: team@example.org\r\n"},
		"send as a list":         {"From: sales@example.org\r\n", "From: sales@example.org\r\n"},
		"on behalf of a list":    {"From: board@example.org\r\n", "From: board@example.org\r\n" + added},
		"a list of one's own":    {"From: others@example.org\r\n", "5.7.1"},
		"on behalf":              {"From: boss@example.org\r\n", "From: boss@example.org\r\n" + added},
		"on behalf, with Sender": {"Sender: anna@example.org\r\nFrom: boss@example.org\r\n", "From: boss@example.org\r\nSender: anna@example.org\r\n"},
		"on behalf, forged":      {"Sender: boss@example.org\r\nFrom: boss@example.org\r\n", "From: boss@example.org\r\n" + added},
		"Sender of another":      {"From: ann@example.org\r\nSender: bob@example.org\r\n", "From: ann@example.org\r\n"},
		"two authors":            {"From: ann@example.org, info@example.org\r\n", "From: ann@example.org, info@example.org\r\n" + added},
		"none":                   {"Subject: x\r\n", "Subject: x\r\nFrom: \"Ann B.\" <ann@example.org>\r\n"},
		"another's":              {"From: bob@example.org\r\n", "5.7.1"},
		"elsewhere":              {"From: ann@far.example\r\n", "5.7.1"},
		"one of two":             {"From: ann@example.org, bob@example.org\r\n", "5.7.1"},
		"behind a group":         {"From: us: ann@example.org, bob@example.org;\r\n", "5.7.1"},
		"in a name":              {"From: \"ann@example.org\" <bob@example.org>\r\n", "5.7.1"},
		"in a comment":           {"From: bob@example.org (ann@example.org)\r\n", "5.7.1"},
		"twice":                  {"From: ann@example.org\r\nFrom: bob@example.org\r\n", "5.6.0"},
		"empty":                  {"From: \r\n", "5.6.0"},
		"no address":             {"From: Ann\r\n", "5.7.1"},
		"with a space":           {"From : bob@example.org\r\n", "5.7.1"},
		"huge":                   {"From: " + strings.Repeat("\"x\" <ann@example.org>,\r\n ", 4000) + "ann@example.org\r\n", "5.6.0"},
	} {
		env := &Envelope{ID: "T", From: "ann@example.org", SignedInAs: "ann@example.org", Submitted: true, Received: time.Now()}
		msg, err := o.Spool(t.Context(), env, strings.NewReader(date+tt.in+"\r\nbody\r\n"))
		if err != nil {
			if got := describe(nil, err); got != tt.want {
				t.Errorf("%s: %s (%v), want %s", name, got, err, tt.want)
			}
			continue
		}
		body, err := msg.Text()
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if _, err := io.Copy(&b, body); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != date+tt.want+"\r\nbody\r\n" {
			t.Errorf("%s: got\n%q, want\n%q", name, got, date+tt.want+"\r\nbody\r\n")
		}
		body.Close()
		msg.Close()
	}
}

// answering is an entry of an account that answers by itself.
func answering(name string, lines ...string) string {
	return person(name, append(lines, "deliveryMode: reply")...)
}

// TestAnswers sends mail of all kinds to people who answer by themselves.
func TestAnswers(t *testing.T) {
	t.Parallel()
	o := newOffice(t, person("ann"),
		answering("away", "displayName: A. Way", "mailAlternateAddress: gone@example.org", "mailReplyText: Back soon. You wrote %SUBJECT%."),
		answering("silent"), answering("none", "mailReplyText: Moved.", "deliveryMode: nolocal"),
		group("all", "member: "+uid("away")),
	)
	text := func(more string) string {
		return "From: x@far.example\r\nTo: Away <AWAY@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@far>\r\n" + more + "\r\nhi\r\n"
	}
	n := 0
	for name, tt := range map[string]struct {
		text string
		from mail.Address
		to   mail.Address
		want bool
	}{
		"a letter":           {text(""), "", "", true},
		"auto-submitted no":  {text("Auto-Submitted: no\r\n"), "", "", true},
		"to an alias":        {strings.Replace(text(""), "AWAY@", "gone@", 1), "", "gone@example.org", true},
		"by Cc":              {strings.Replace(text(""), "To:", "Cc:", 1), "", "", true},
		"blind":              {strings.Replace(text(""), "AWAY@", "ann@", 1), "", "", false},
		"auto-replied":       {text("Auto-Submitted: auto-replied (vacation)\r\n"), "", "", false},
		"auto-generated":     {text("AUTO-submitted: auto-generated; x=y\r\n"), "", "", false},
		"list":               {text("List-Unsubscribe: <x>\r\n"), "", "", false},
		"bulk":               {text("Precedence: Bulk\r\n"), "", "", false},
		"Exchange says no":   {text("X-Auto-Response-Suppress: DR, OOF\r\n"), "", "", false},
		"report":             {text("Content-Type: multipart/report; report-type=x\r\n"), "", "", false},
		"spam":               {text("X-Spam-Flag: YES\r\n"), "", "", false},
		"from a daemon":      {text(""), "MAILER-DAEMON@far.example", "", false},
		"from a list":        {text(""), "news-request@far.example", "", false},
		"from an owner":      {text(""), "owner-news@far.example", "", false},
		"from nobody":        {text(""), "noreply@far.example", "", false},
		"through a list":     {text(""), "", "all@example.org", false},
		"no text":            {strings.Replace(text(""), "AWAY@", "silent@", 1), "", "silent@example.org", false},
		"without a mailbox":  {strings.Replace(text(""), "AWAY@", "none@", 1), "", "none@example.org", true},
		"a folded word":      {text("Auto-Submitted:\r\n auto-replied\r\n"), "", "", false},
		"from itself":        {text(""), "gone@example.org", "", false},
		"header of its name": {text("Subject2: x\r\n"), "", "", true},
	} {
		n++
		from := tt.from
		if from == "" {
			from = mail.Address(strings.ReplaceAll(name, " ", ".") + "@far.example")
		}
		to := tt.to
		if to == "" {
			to = "away@example.org"
		}
		for range 2 {
			o.wantStatus(name, o.post(letter{from: from, to: []mail.Address{to}, text: tt.text}), "")
		}
		want := 0
		if tt.want {
			want = 1
		}
		answers := o.out.to(from)
		if len(answers) != want {
			t.Errorf("%s: %d answers, want %d", name, len(answers), want)
		}
	}
	answer := o.out.to("a.letter@far.example")[0]
	if answer.From != "" {
		t.Errorf("the answer is from %s", answer.From)
	}
	for _, want := range []string{
		"From: \"A. Way\" <away@example.org>\r\n", "To: <a.letter@far.example>\r\n", "In-Reply-To: <1@far>\r\n", "Auto-Submitted: auto-replied\r\n",
		"\r\n\r\nBack soon. You wrote Grüße.\r\n", "Subject: =?utf-8?q?Auto:_Gr=C3=BC=C3=9Fe?=\r\n",
	} {
		if !strings.Contains(answer.text, want) {
			t.Errorf("no %q in\n%s", want, answer.text)
		}
	}
	o.wantInbox("none", 0)
	o.wantStatus("null sender", o.post(letter{to: []mail.Address{"away@example.org"}, text: text("")}), "")
}

func TestReplyParts(t *testing.T) {
	t.Parallel()
	own, text := replyParts("%HEADER%\nSubject: Away\r\nReply-To: x@y\nX-Evil: a\n\nline one\nline two")
	if own["subject"] != "Away" || own["reply-to"] != "x@y" || text != "line one\nline two" {
		t.Errorf("%q, %q", own, text)
	}
	if own, text = replyParts("just text"); len(own) != 0 || text != "just text" {
		t.Errorf("%q, %q", own, text)
	}
}

// FuzzAuthors compares whom a submitted message was checked to be from with whom
// readers see.
func FuzzAuthors(f *testing.F) {
	for _, s := range []string{
		"From: ann@example.org\r\n\r\n", "From: x\r\n <ann@example.org>\r\nFrom : bob@example.org\r\n\r\n", "Sender: a\r\nFrom\t: \"a\" <ann@example.org>, b@c\r\n\r\n",
		" From: b@c\r\n\r\n", "From: us: ann@example.org;\r\n\r\nFrom: b@c\r\n", "X\r\nFrom: b@c\r\n\r\n", "From: =?utf-8?q?b=40c?= <ann@example.org>\r\n",
		"FROM:(b@c)ann@example.org\r\nResent-From: b@c\r\n\r\n", "From a@b\r\nFrom: ann@example.org\r\n\r\n",
	} {
		f.Add(s)
	}
	refused := errors.New("not hers")
	f.Fuzz(func(t *testing.T, in string) {
		in = strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(in) // as a session hands it on
		h := newHeader()
		h.reset(strings.NewReader(in), maphash.MakeSeed(), 50)
		h.submit(testDate, testID)
		h.check = func(by *authors) ([]byte, error) {
			if by.fromCount > 1 || by.tooLong {
				return nil, refused
			}
			for _, addr := range addressesIn(by.from) {
				if addr != "ann@example.org" {
					return nil, refused
				}
			}
			return nil, nil
		}
		out, err := io.ReadAll(h)
		if err != nil {
			return
		}
		p := message.NewParser(message.Limits{}, nil)
		_, _ = p.Write(out)
		for _, x := range p.Finish().Envelope.From {
			if (x.Host != "" || x.Mailbox != "") && x.Mailbox+"@"+x.Host != "ann@example.org" {
				t.Fatalf("%q is shown as from %q", out, x)
			}
		}
	})
}
