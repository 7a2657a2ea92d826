package imap_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/migrate/migratetest"
	"expost/internal/migrate/source/imap"
	"expost/internal/preflight"
)

// probe runs a probe and returns what it found, the configuration and whether
// it is of use.
func probe(t *testing.T, p imap.Probe, address string) (found []preflight.Finding, cfg imap.Config, ok bool) {
	t.Helper()
	var mu sync.Mutex
	p.Config.Address, p.Config.Password = address, "secret"
	p.Config.Client = imapclient.Options{Security: imapclient.Plain}
	if p.Users == nil {
		p.Users = []migrate.User{{Source: "ajay@example.org"}}
	}
	p.Report = func(f preflight.Finding) {
		mu.Lock()
		defer mu.Unlock()
		found = append(found, f)
	}
	cfg, ok = p.Run(t.Context())
	return found, cfg, ok
}

// says tells whether a finding of the level holds the words, in what is found
// and in what is to be done.
func says(found []preflight.Finding, level preflight.Level, what, do string) bool {
	for _, f := range found {
		if f.Level == level && strings.Contains(f.What, what) && strings.Contains(f.Do, do) {
			return true
		}
	}
	return false
}

func mailbox(name string, bodies ...string) *migratetest.Box {
	b := &migratetest.Box{Name: name, UIDValidity: 1, UIDNext: mail.UID(len(bodies) + 1)}
	for i, body := range bodies {
		b.Messages = append(b.Messages, migratetest.Message{UID: mail.UID(i + 1), Date: " 5-May-2003 10:00:00 +0200", Body: body})
	}
	return b
}

func TestProbeFindsTheSpelling(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		admin, takes, want string
	}{
		{`EXAMPLE\admin`, `"EXAMPLE\\admin\\ajay"`, `EXAMPLE\admin\{local}`},
		{`EXAMPLE\admin`, `"EXAMPLE/admin/ajay"`, "EXAMPLE/admin/{local}"},
		{"admin@example.org", `"admin@example.org\\ajay"`, `admin@example.org\{local}`},
		{"admin@example.org", `"admin@example.org\\ajay@example.org"`, `admin@example.org\{address}`},
	} {
		s := migratetest.StartIMAP(t, migratetest.Quirks{Command: func(_ int, line string) string {
			switch {
			case strings.HasPrefix(line, "AUTHENTICATE"):
				return "BAD unknown command"
			case strings.HasPrefix(line, "LOGIN") && !strings.HasPrefix(line, "LOGIN "+c.takes+" "):
				return "NO LOGIN failed."
			}
			return ""
		}}, mailbox("INBOX"))
		found, cfg, ok := probe(t, imap.Probe{Admin: c.admin}, s.Address)
		if !ok || cfg.Login != c.want || cfg.Authzid != "" {
			t.Errorf("%s: login %q, %t; %+v", c.takes, cfg.Login, ok, found)
		}
	}
}

func TestProbeRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command  func(int, string) string
		level    preflight.Level
		what, do string
	}{
		"login": {func(_ int, line string) string {
			return map[bool]string{true: "NO LOGIN failed."}[strings.HasPrefix(line, "LOGIN")]
		}, preflight.Fail, "LOGIN failed", "Set-CASMailbox"},
		"no right": {func(_ int, line string) string {
			return map[bool]string{true: "NO User is authenticated but not connected."}[strings.HasPrefix(line, "EXAMINE")]
		}, preflight.Fail, "not connected", "Add-MailboxPermission"},
		"throttled": {func(_ int, line string) string {
			return map[bool]string{true: "BAD Request is throttled. Suggested Backoff Time: 1 milliseconds"}[strings.HasPrefix(line, "LOGIN")]
		}, preflight.Warn, "throttles", "New-ThrottlingPolicy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := migratetest.StartIMAP(t, migratetest.Quirks{Command: c.command}, mailbox("INBOX"))
			if found, _, ok := probe(t, imap.Probe{}, s.Address); ok || !says(found, c.level, c.what, c.do) {
				t.Errorf("%t, %+v", ok, found)
			}
		})
	}
	t.Run("away", func(t *testing.T) {
		t.Parallel()
		if found, _, ok := probe(t, imap.Probe{}, "127.0.0.1:1"); ok || !says(found, preflight.Fail, "connecting", "MSExchangeImap4") {
			t.Errorf("%t, %+v", ok, found)
		}
	})
}

func TestProbeOneMailboxOfMany(t *testing.T) {
	t.Parallel()
	s := migratetest.StartIMAP(t, migratetest.Quirks{Command: func(_ int, line string) string {
		return map[bool]string{true: "NO LOGIN failed."}[strings.HasPrefix(line, `LOGIN "anup`)]
	}}, mailbox("INBOX"))
	users := []migrate.User{{Source: "ajay@example.org"}, {Source: "anup@example.org"}, {Source: "biswajit@example.org"}}
	found, _, ok := probe(t, imap.Probe{Users: users}, s.Address)
	if !ok || !says(found, preflight.OK, "2 of 3 mailboxes", "") || !says(found, preflight.Fail, "LOGIN failed", "Set-CASMailbox -Identity anup@example.org") {
		t.Errorf("%t, %+v", ok, found)
	}
}

func TestProbeSettings(t *testing.T) {
	t.Parallel()
	var plain []string
	for i := range 12 {
		plain = append(plain, fmt.Sprintf("Subject: %d\r\nContent-Type: text/plain\r\n\r\ntext\r\n", i))
	}
	tnef := "Subject: x\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\n\r\nx\r\n"
	for name, c := range map[string]struct {
		quirks   migratetest.Quirks
		boxes    []*migratetest.Box
		what, do string
	}{
		"sizes":     {migratetest.Quirks{Size: func(m migratetest.Message) int { return len(m.Body) + 7 }}, []*migratetest.Box{mailbox("INBOX", plain[0])}, "another size", "EnableExactRFC822Size"},
		"text only": {migratetest.Quirks{}, []*migratetest.Box{mailbox("INBOX", plain...), mailbox("Sent", plain...)}, "HTML", "MessageRetrievalMimeFormat"},
		"TNEF":      {migratetest.Quirks{}, []*migratetest.Box{mailbox("INBOX", tnef)}, "winmail.dat", "MessageRetrievalMimeFormat"},
		"calendar":  {migratetest.Quirks{}, []*migratetest.Box{mailbox("INBOX"), mailbox("Calendar", plain[0])}, "as a link", "CalendarItemRetrievalOption"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := migratetest.StartIMAP(t, c.quirks, c.boxes...)
			if found, _, ok := probe(t, imap.Probe{}, s.Address); !ok || !says(found, preflight.Warn, c.what, c.do) {
				t.Errorf("%t, %+v", ok, found)
			}
		})
	}
}

// A first user whose mailbox is not in order hides nobody behind it.
func TestProbeGoesOnBehindARefusedUser(t *testing.T) {
	t.Parallel()
	s := migratetest.StartIMAP(t, migratetest.Quirks{Command: func(_ int, line string) string {
		if strings.HasPrefix(line, "LOGIN") && strings.Contains(line, "anita") {
			return "NO LOGIN failed."
		}
		return ""
	}}, mailbox("INBOX"))
	users := []migrate.User{{Source: "anita@example.org"}, {Source: "ajay@example.org"}}
	found, _, ok := probe(t, imap.Probe{Users: users}, s.Address)
	if !ok || !says(found, preflight.Fail, "LOGIN failed", "Set-CASMailbox -Identity anita@example.org") || !says(found, preflight.OK, "1 of 2 mailboxes were opened", "") {
		t.Errorf("%t; %+v", ok, found)
	}
	if _, _, ok := probe(t, imap.Probe{Users: users[:1]}, s.Address); ok {
		t.Error("no mailbox opens, and the probe is content")
	}
}
