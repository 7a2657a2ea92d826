package imap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"expost/internal/mail"
	"expost/internal/migrate"
	"expost/internal/migrate/imapclient"
	"expost/internal/preflight"
)

// Probe looks at a server before a migration from it begins: connection,
// certificate, ways to log in, every mailbox, and the settings of Exchange that
// change what IMAP shows. Each finding that is not in order says what to type on
// the Exchange side. Nothing is written there.
type Probe struct {
	Config Config
	Admin  string // "DOMAIN\admin" or "admin@example.org": whose logins for others are tried; "": none
	Users  []migrate.User
	At     int // mailboxes looked at at once: 4
	Report func(preflight.Finding)
}

// Spelling is one way to log in to the mailbox of another user.
type Spelling struct{ Login, Authzid string }

// Spellings returns the ways in which servers take the login of an
// administrator for a user, in the order in which they are tried: SASL's own,
// that of Exchange 2007 and later in both forms, that of Exchange 5.5 to 2003,
// and that of shared mailboxes in Exchange Online. The alias in them is
// mailNickname, which is not always the local part.
func Spellings(admin string) []Spelling {
	if admin == "" {
		return nil
	}
	out := []Spelling{{admin, "{address}"}}
	domain, name, windows := strings.Cut(admin, `\`)
	if windows {
		out = append(out, Spelling{admin + `\{local}`, ""}, Spelling{domain + "/" + name + "/{local}", ""})
	} else {
		out = append(out, Spelling{admin + `\{local}`, ""}, Spelling{admin + "/{local}", ""})
	}
	return append(out, Spelling{admin + `\{address}`, ""})
}

// say reports a finding.
func (p *Probe) say(level preflight.Level, about, what, do string) {
	p.Report(preflight.Finding{Level: level, About: about, What: what, Do: do})
}

// Run looks at everything. It returns the configuration with the spelling of
// the login that worked, and false where no mailbox can be read.
func (p *Probe) Run(ctx context.Context) (Config, bool) {
	if !p.connect(ctx) || len(p.Users) == 0 {
		return p.Config, false
	}
	if !p.login(ctx) {
		return p.Config, false
	}
	return p.Config, p.mailboxes(ctx)
}

// connect looks at the way to the server and what it says of itself.
func (p *Probe) connect(ctx context.Context) bool {
	address := p.Config.Address
	c, err := imapclient.Dial(ctx, address, p.Config.Client)
	switch {
	case mail.KindOf(err) == mail.KindPermission:
		p.say(preflight.Fail, address, err.Error(), "give the certificate of the server, or of who signed it, as source.tls-ca; "+
			"or assign one that names the host: Enable-ExchangeCertificate -Thumbprint … -Services IMAP")
		return false
	case err != nil:
		p.say(preflight.Fail, address, err.Error(), "IMAP is off by default. On the Exchange server: "+
			"Set-Service MSExchangeImap4 -StartupType Automatic; Start-Service MSExchangeImap4; from 2013 on also MSExchangeIMAP4BE; and open the port in the firewall")
		return false
	}
	defer c.Close()
	p.say(preflight.OK, address, "answers: "+c.Greeting(), "")
	if off, err := c.Has("LOGINDISABLED"); err == nil && off {
		plain, _ := c.Has("AUTH=PLAIN") // known by now
		if !plain {
			p.say(preflight.Fail, address, "takes no password on this connection (LOGINDISABLED)", `use port 993, or tls = "starttls"; or: Set-ImapSettings -LoginType SecureLogin`)
			return false
		}
	}
	return true
}

// login finds a way to log in for the first of the users, or for one behind it:
// that one's mailbox may be the very one that is not in order. With several
// spellings it stops at the second, lest the administrator be locked out.
func (p *Probe) login(ctx context.Context) bool {
	most := samples
	if p.Admin != "" {
		most = 2
	}
	var refusals []string
	for i, u := range p.Users[:min(most, len(p.Users))] {
		refused, ok := p.loginFor(ctx, u)
		if ok {
			return true
		}
		if i == 0 {
			refusals = refused
		}
	}
	u := p.Users[0]
	p.say(preflight.Fail, u.Source, "no login opens the mailbox: "+strings.Join(refusals, "; "), adviceFor(refusals, u.Source))
	return false
}

// loginFor tries the spellings for one user, and returns what the server said.
func (p *Probe) loginFor(ctx context.Context, u migrate.User) (refusals []string, ok bool) {
	tries := []Spelling{{p.Config.Login, p.Config.Authzid}}
	if p.Admin != "" {
		tries = Spellings(p.Admin)
		if p.Config.Login != "" {
			tries = append([]Spelling{{p.Config.Login, p.Config.Authzid}}, tries...)
		}
	}
	for _, s := range tries {
		cfg := p.Config
		cfg.Login, cfg.Authzid = s.Login, s.Authzid
		c, err := Dial(ctx, cfg, u)
		if err == nil {
			err = examineInbox(c)
			c.Close()
		}
		name := expand(s.Login, u.Source)
		if s.Login == "" {
			name = u.Source
		}
		if s.Authzid != "" {
			name += " for " + expand(s.Authzid, u.Source)
		}
		if err == nil {
			p.say(preflight.OK, u.Source, "the login "+name+" opens the mailbox", "")
			p.Config = cfg
			return nil, true
		}
		if d, ok := throttled(err); ok {
			p.sayThrottled(u.Source, d.String())
		}
		refusals = append(refusals, name+": "+shortError(err))
	}
	return refusals, false
}

// adviceFor says what may be behind refused logins.
func adviceFor(refusals []string, user string) string {
	all := strings.Join(refusals, "\n")
	if strings.Contains(all, "authenticated but not connected") {
		return fmt.Sprintf("the login is right, but it has no right to the mailbox: Add-MailboxPermission -Identity %s -User ADMIN -AccessRights FullAccess -AutoMapping $false "+
			"(the built-in Administrator is always refused, and an administrator needs a mailbox of its own)", user)
	}
	return fmt.Sprintf("look at the password; switch IMAP on for the mailbox: Set-CASMailbox -Identity %s -ImapEnabled $true; "+
		"and for an administrator: a mailbox of its own, and Add-MailboxPermission -Identity %s -User ADMIN -AccessRights FullAccess -AutoMapping $false. "+
		"The alias in a login is mailNickname (Get-Mailbox %s | fl Alias)", user, user, user)
}

// shortError is an error without what is long in it.
func shortError(err error) string {
	if s, ok := errors.AsType[*imapclient.StatusError](err); ok {
		return s.Error()
	}
	return mail.PublicText(err)
}

// examineInbox opens INBOX for reading: some servers say only then that a
// password was wrong.
func examineInbox(c *imapclient.Client) error {
	return c.Command("EXAMINE", nil, imapclient.Text(mail.Inbox))
}

// sayThrottled reports that the server asks to be left alone.
func (p *Probe) sayThrottled(about, wait string) {
	p.say(preflight.Warn, about, "the server throttles ("+wait+"): a run waits as long as it says, and takes longer for that",
		"for the time of the migration: New-ThrottlingPolicy Migration -ImapMaxConcurrency Unlimited -ImapMaxBurst Unlimited -ImapRechargeRate Unlimited -ImapCutoffBalance Unlimited; "+
			"Set-Mailbox -Identity ADMIN -ThrottlingPolicy Migration (2010: -IMAPPercentTimeInCAS and the like)")
}

// mailboxes opens every mailbox, several at once, and looks into the first.
func (p *Probe) mailboxes(ctx context.Context) bool {
	at := p.At
	if at <= 0 {
		at = 4
	}
	var mu sync.Mutex
	opened, refused := 0, 0
	turns := make(chan struct{}, at)
	var all sync.WaitGroup
	for i, u := range p.Users {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			err := p.mailbox(ctx, u, i < samples)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				opened++
				return
			}
			refused++
			p.say(preflight.Fail, u.Source, shortError(err), p.adviceForMailbox(u, err))
		})
	}
	all.Wait()
	p.say(preflight.OK, p.Config.Address, fmt.Sprintf("%d of %d mailboxes were opened, %d at once", opened, len(p.Users), min(at, len(p.Users))), "")
	return opened > 0
}

// samples is into how many mailboxes it looks.
const samples = 3

// adviceForMailbox says what may be behind a mailbox that does not open.
func (p *Probe) adviceForMailbox(u migrate.User, err error) string {
	text := strings.ToLower(fmt.Sprint(err))
	if mail.KindOf(err) == mail.KindUnavailable || strings.Contains(text, "too many") || strings.Contains(text, "maximum") {
		return "the server may take no more connections: Set-ImapSettings -MaxConnectionFromSingleIP 200 -MaxConnectionsPerUser 100, then restart the IMAP4 service; or set run.workers lower"
	}
	return adviceFor([]string{text}, u.Source)
}

// mailbox opens one mailbox; a sample is looked into.
func (p *Probe) mailbox(ctx context.Context, u migrate.User, sample bool) error {
	a, err := New(p.Config).Open(ctx, u)
	if err != nil {
		return err
	}
	defer a.Close()
	folders, err := a.Folders(ctx)
	if err != nil {
		return err
	}
	acct, ok := a.(*account)
	if !ok {
		return errors.New("the source is another one")
	}
	if err := acct.try(ctx, func() error { return examineInbox(acct.c) }); err != nil {
		return err
	}
	if !sample {
		return nil
	}
	l := &look{probe: p, user: u}
	for _, f := range folders {
		if f.State.Messages > 0 && !f.NoItems {
			if err := l.folder(ctx, a, f); err != nil {
				p.say(preflight.Warn, u.Source, fmt.Sprintf("folder %q: %v", f.Name, err), "such items are set aside by a run; if they are many, look at the mailbox: New-MailboxRepairRequest")
			}
		}
	}
	l.conclude()
	return nil
}

// look is what a few messages of a mailbox show of the server's settings.
type look struct {
	probe    *Probe
	user     migrate.User
	messages int
	wrong    int // sizes that are not those of the bytes
	html     int
	tnef     int
	links    int // calendar items that are only a link
}

// lookAt is how many messages of a folder it looks at, and into how much of each.
const (
	lookAt    = 8
	lookBytes = 1 << 20
)

// folder looks at the newest messages of a folder.
func (l *look) folder(ctx context.Context, a migrate.SourceAccount, f migrate.Folder) error {
	var items []migrate.Item
	_, err := a.Scan(ctx, f, migrate.State{}, func(batch []migrate.Item) error {
		items = append(items, batch...)
		items = items[max(0, len(items)-lookAt):]
		return nil
	})
	if err != nil {
		return err
	}
	return a.Fetch(ctx, f, items, func(it migrate.Item, r io.Reader, err error) error {
		if err != nil {
			l.probe.say(preflight.Warn, l.user.Source, fmt.Sprintf("folder %q: message %s: %v", f.Name, it.Key, err), "a run sets it aside and goes on")
			return nil
		}
		var start bytes.Buffer
		n, err := io.Copy(&start, io.LimitReader(r, lookBytes))
		if err != nil {
			return err
		}
		rest, err := io.Copy(io.Discard, r)
		if err != nil {
			return err
		}
		l.message(start.String(), n+rest, it.Size, isCalendar(f.Name))
		return nil
	})
}

// isCalendar tells the calendar by its name.
func isCalendar(name string) bool {
	switch strings.ToLower(name) {
	case "calendar", "kalender", "calendrier", "calendario", "agenda", "calendário":
		return true
	}
	return false
}

// message notes what one message shows.
func (l *look) message(text string, size, said int64, calendar bool) {
	lower := strings.ToLower(text)
	l.messages++
	if said > 0 && said != size {
		l.wrong++
	}
	if strings.Contains(lower, "text/html") {
		l.html++
	}
	if strings.Contains(lower, "application/ms-tnef") {
		l.tnef++
	}
	if calendar && !strings.Contains(lower, "text/calendar") {
		l.links++
	}
}

// conclude says what the messages show.
func (l *look) conclude() {
	about := l.user.Source
	if l.wrong > 0 {
		l.probe.say(preflight.Warn, about, fmt.Sprintf("%d of %d messages have another size than the server says", l.wrong, l.messages),
			"a run does not rely on them, mail programs do: Set-ImapSettings -EnableExactRFC822Size $true (one mailbox: Set-CASMailbox -ImapUseProtocolDefaults $false -ImapEnableExactRFC822Size $true)")
	}
	if l.tnef > 0 {
		l.probe.say(preflight.Warn, about, fmt.Sprintf("%d of %d messages come as winmail.dat (TNEF)", l.tnef, l.messages),
			"unless this is wanted: Set-ImapSettings -MessageRetrievalMimeFormat BestBodyFormat (one mailbox: Set-CASMailbox -ImapUseProtocolDefaults $false -ImapMessagesRetrievalMimeFormat BestBodyFormat), restart the IMAP4 service")
	}
	const enough = 10
	if l.messages >= enough && l.html == 0 && l.tnef == 0 {
		l.probe.say(preflight.Warn, about, fmt.Sprintf("none of %d messages has HTML: the server may be set to plain text, and formatting would be lost", l.messages),
			"Get-ImapSettings | fl MessageRetrievalMimeFormat; Set-ImapSettings -MessageRetrievalMimeFormat HtmlAndTextAlternative, restart the IMAP4 service")
	}
	if l.links > 0 {
		l.probe.say(preflight.Warn, about, fmt.Sprintf("%d items of the calendar come as a link, not as iCalendar", l.links),
			"Set-ImapSettings -CalendarItemRetrievalOption iCalendar, restart the IMAP4 service; or take the calendar from a PST")
	}
}
