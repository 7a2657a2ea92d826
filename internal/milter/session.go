package milter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-milter"
)

// Session follows one SMTP connection. It is not for concurrent use.
type Session struct {
	chain  *Chain
	client Client
	peers  []*peer
	env    Envelope
	hold   string // why the message is to be quarantined; empty: it is not
}

// peer is one filter as the session knows it.
type peer struct {
	*Filter
	chain   *Chain
	link    *link
	cs      *milter.ClientSession
	pass    bool    // it wants to hear no more of this connection, or is away and that does not matter
	done    bool    // it wants to hear no more of this message
	open    bool    // it knows of a message
	skips   bool    // it wants to hear no more events of the present kind
	modern  bool    // it speaks the present version of the protocol
	refused Verdict // it refused the client, with all its mail
}

// Session returns a Session for a connection; Close it.
func (c *Chain) Session() *Session {
	s := &Session{chain: c}
	for i := range c.filters {
		s.peers = append(s.peers, &peer{Filter: &c.filters[i], chain: c})
	}
	return s
}

// Close ends the connections to the filters.
func (s *Session) Close() {
	for _, p := range s.peers {
		p.close()
	}
}

func (p *peer) close() {
	if p.cs != nil {
		p.link.within(p.CommandTimeout)
		_ = p.cs.Close()
		_ = p.link.Close()
		p.cs = nil
	}
}

// Abort ends a message that comes to nothing.
func (s *Session) Abort() {
	s.hold = ""
	for _, p := range s.peers {
		p.abort()
	}
}

func (p *peer) abort() {
	if p.cs != nil && p.open {
		p.link.within(p.CommandTimeout)
		if err := p.cs.Abort(); err != nil {
			p.drop()
		}
	}
	p.open, p.done = false, false
}

// drop forgets a connection that does not work.
func (p *peer) drop() {
	_ = p.link.Close()
	p.cs, p.open = nil, false
}

// Mail tells the filters of a new message, and before the first one of the client.
func (s *Session) Mail(ctx context.Context, client Client, env Envelope) Verdict {
	s.Abort()
	changed := s.client != client // another HELO, TLS, a login
	s.client, s.env = client, env
	for _, p := range s.peers {
		if changed && p.cs != nil && !p.pass {
			p.close()
		}
		v, err := s.greet(ctx, p)
		if err != nil {
			v = s.away(p, err)
		}
		if v.final() {
			return v
		}
	}
	return Verdict{}
}

// greet brings one filter to where a message begins.
func (s *Session) greet(ctx context.Context, p *peer) (Verdict, error) {
	switch {
	case p.refused.final():
		return p.refused, nil
	case p.pass:
		return Verdict{}, nil
	case p.cs != nil:
		if v, err := s.mail(p); err == nil {
			return v, nil
		}
		p.drop() // it may have been started anew meanwhile
	}
	if err := p.dial(ctx); err != nil {
		return Verdict{}, err
	}
	if v, err := s.connect(p); err != nil || v.final() || p.pass {
		p.refused = v
		return v, err
	}
	return s.mail(p)
}

// connect tells a filter of the client.
func (s *Session) connect(p *peer) (Verdict, error) {
	c := &s.client
	p.link.within(p.CommandTimeout)
	if err := p.cs.Macros(milter.CodeConn, s.connectMacros()...); err != nil {
		return Verdict{}, err
	}
	if p.tells(Connect) {
		family := milter.FamilyInet
		if c.Address.Unmap().Is6() {
			family = milter.FamilyInet6
		}
		act, err := p.cs.Conn(nameOf(c), family, c.Port, c.Address.Unmap().String())
		if v, err := p.verdict(act, err); err != nil || v.final() || p.done {
			p.pass, p.done = p.done, false
			return v, err
		}
	}
	if err := p.cs.Macros(milter.CodeHelo, s.heloMacros()...); err != nil {
		return Verdict{}, err
	}
	if !p.tells(Helo) {
		return Verdict{}, nil
	}
	v, err := p.verdict(p.cs.Helo(c.Helo))
	p.pass, p.done = p.done, false
	return v, err
}

// mail tells a filter of the sender.
func (s *Session) mail(p *peer) (Verdict, error) {
	p.link.within(p.CommandTimeout)
	if err := p.cs.Macros(milter.CodeMail, s.mailMacros()...); err != nil {
		return Verdict{}, err
	}
	p.open = true
	if !p.tells(Mail) {
		return Verdict{}, nil
	}
	return p.verdict(p.cs.Mail(s.env.From, s.env.Args))
}

// Rcpt tells the filters of a recipient. A verdict is about this one alone, but
// for Discard.
func (s *Session) Rcpt(to string, args []string) Verdict {
	for _, p := range s.peers {
		if p.pass || p.done || p.cs == nil || !p.tells(Rcpt) {
			continue
		}
		p.link.within(p.CommandTimeout)
		err := p.cs.Macros(milter.CodeRcpt, s.rcptMacros(to)...)
		var v Verdict
		if err == nil {
			v, err = p.verdict(p.cs.Rcpt(to, args))
		}
		if err != nil {
			v = s.away(p, err)
		}
		if v.final() {
			return v
		}
	}
	return Verdict{}
}

// tells tells whether the filter hears of an event.
func (p *peer) tells(e Event) bool { return !slices.Contains(p.Skip, e) }

// away returns what becomes of mail while a filter does not work.
func (s *Session) away(p *peer, err error) Verdict {
	s.chain.log.Error("a content filter does not work", slog.String("filter", p.Name), slog.String("id", s.env.ID),
		slog.String("mail", string(p.Default)), slog.Any("error", err))
	if p.cs != nil {
		p.drop()
	}
	p.done = true
	switch p.Default {
	case Accept:
		return Verdict{}
	case Quarantine:
		s.hold = "the content filter " + p.Name + " was away"
		return Verdict{}
	case Reject:
		return Verdict{Action: Refuse, Code: 554, Status: "5.7.1", Text: "mail cannot be checked now", Filter: p.Name}
	}
	return Verdict{Action: Refuse, Code: 451, Status: "4.7.1", Text: "mail cannot be checked now, try again later", Filter: p.Name}
}

// verdict reads a filter's answer to an event.
func (p *peer) verdict(act *milter.Action, err error) (Verdict, error) {
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Filter: p.Name}
	switch act.Code {
	case milter.ActContinue:
		return Verdict{}, nil
	case milter.ActSkip: // of the present kind of event it wants no more
		p.skips = true
		return Verdict{}, nil
	case milter.ActAccept:
		p.done = true
		return Verdict{}, nil
	case milter.ActDiscard:
		v.Action = Discard
	case milter.ActTempFail:
		v.Action, v.Code, v.Status, v.Text = Refuse, 451, "4.7.1", "try again later"
	case milter.ActReject:
		v.Action, v.Code, v.Status, v.Text = Refuse, 550, "5.7.1", "the message was refused"
	case milter.ActReplyCode:
		if act.SMTPCode < 400 || act.SMTPCode > 599 {
			return Verdict{}, fmt.Errorf("the filter answers with reply code %d", act.SMTPCode)
		}
		v.Action, v.Code = Refuse, act.SMTPCode
		v.Status, v.Text = cutStatus(act.SMTPCode, act.SMTPText)
	default:
		return Verdict{}, fmt.Errorf("the filter answers with %q", byte(act.Code))
	}
	return v, nil
}

// cutStatus takes the enhanced status code off a reply's text.
func cutStatus(code int, text string) (status, rest string) {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "%%", "%"), "\r\n", " ")
	class := strconv.Itoa(code / 100)
	status, rest, _ = strings.Cut(text, " ")
	if strings.HasPrefix(status, class+".") && strings.Count(status, ".") == 2 && strings.Trim(status, "0123456789.") == "" {
		return status, rest
	}
	return class + ".7.1", text
}

// all is what we let a filter do, and what it may ask not to be told of.
const (
	allActions = milter.OptAddHeader | milter.OptChangeBody | milter.OptAddRcpt | milter.OptRemoveRcpt |
		milter.OptChangeHeader | milter.OptQuarantine | milter.OptChangeFrom
	oldActions  = allActions &^ milter.OptChangeFrom
	oldProtocol = milter.OptNoConnect | milter.OptNoHelo | milter.OptNoMailFrom | milter.OptNoRcptTo | milter.OptNoBody |
		milter.OptNoHeaders | milter.OptNoEOH
	allProtocol = oldProtocol | milter.OptNoUnknown | milter.OptNoData | milter.OptNoHeaderReply | milter.OptNoConnReply |
		milter.OptNoHeloReply | milter.OptNoMailReply | milter.OptNoRcptReply | milter.OptNoDataReply |
		milter.OptNoUnknownReply | milter.OptNoEOHReply | milter.OptNoBodyReply | milter.OptSkip
)

// dial connects to the filter and agrees with it, by the present version of the
// protocol or, with a filter that is older, by version 2.
func (p *peer) dial(ctx context.Context) error {
	err := p.negotiate(ctx, allActions, allProtocol)
	if errors.Is(err, milter.ErrUnsupportedMilterVersion) {
		err = p.negotiate(ctx, oldActions, oldProtocol)
	}
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", p.Address, err)
	}
	return nil
}

func (p *peer) negotiate(ctx context.Context, actions milter.OptAction, protocol milter.OptProtocol) error {
	d := &dialer{ctx: ctx, timeout: p.ConnectTimeout}
	client := milter.NewClientWithOptions(p.Network, p.Address, milter.ClientOptions{
		Dialer: d, ReadTimeout: p.MessageTimeout, WriteTimeout: p.MessageTimeout, ActionMask: actions, ProtocolMask: protocol,
	})
	cs, err := client.Session()
	if err != nil {
		if d.link != nil {
			_ = d.link.Close()
		}
		return err
	}
	p.link, p.cs, p.modern = d.link, cs, protocol == allProtocol
	return nil
}

// dialer makes a link.
type dialer struct {
	ctx     context.Context
	timeout time.Duration
	link    *link
}

// Dial implements milter.Dialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	nd := net.Dialer{Timeout: d.timeout}
	nc, err := nd.DialContext(d.ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.link = &link{Conn: nc}
	d.link.within(d.timeout)
	d.link.stop = context.AfterFunc(d.ctx, func() { _ = nc.Close() })
	return d.link, nil
}

// maxAnswer is how many bytes a filter may send about one event or message.
const maxAnswer = 160 << 20

// link is a connection to a filter with bounds on time and bytes.
type link struct {
	net.Conn
	stop     func() bool
	deadline time.Time
	left     int64
}

// within starts an exchange that may take so long.
func (l *link) within(d time.Duration) { l.deadline, l.left = time.Now().Add(d), maxAnswer }

// Close closes the connection.
func (l *link) Close() error {
	l.stop()
	return l.Conn.Close()
}

// Read implements net.Conn.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n, errors.New("the filter's answer does not end")
	}
	return n, err
}

// SetReadDeadline keeps the exchange within its time.
func (l *link) SetReadDeadline(time.Time) error { return l.Conn.SetReadDeadline(l.deadline) }

// SetWriteDeadline keeps the exchange within its time.
func (l *link) SetWriteDeadline(time.Time) error { return l.Conn.SetWriteDeadline(l.deadline) }
