package proxy

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// imapDialog is IMAP as a client, as far as the login.
type imapDialog struct {
	*dialog
	caps []string // in upper case; nil: not known yet
	tag  int
}

// openIMAP logs in.
func (d *dialog) openIMAP(ctx context.Context, h *Host, req *Request) error {
	m := &imapDialog{dialog: d}
	greeting, err := d.line()
	if err != nil {
		return fmt.Errorf("reading the greeting: %w", err)
	}
	if !hasFold(greeting, "* OK") {
		return fmt.Errorf("the greeting is %q", greeting)
	}
	m.hear(greeting)
	if d.tls != nil && !d.secured {
		if err := m.starttls(ctx); err != nil {
			return err
		}
	}
	if m.caps == nil {
		if _, err := m.command("CAPABILITY"); err != nil {
			return err
		}
	}
	if h.TellClient && m.has("ID") {
		if _, err := m.command(idOf(req)); err != nil {
			return err
		}
	}
	login, password, authzid := h.credentials(req)
	before := m.caps
	m.caps = nil
	done, err := m.login(before, login, password, authzid)
	if err != nil {
		return err
	}
	if !done.ok() {
		return refused(h, done.temporary(), done.text)
	}
	if m.caps == nil {
		if _, err := m.command("CAPABILITY"); err != nil {
			return err
		}
	}
	// A client that logs out for another login would be that other unseen by us.
	m.caps = slices.DeleteFunc(m.caps, func(c string) bool { return c == "UNAUTHENTICATE" })
	d.greeting = strings.Join(m.caps, " ")
	return nil
}

// starttls is STARTTLS (RFC 9051 §6.2.1).
func (m *imapDialog) starttls(ctx context.Context) error {
	done, err := m.command("STARTTLS")
	if err != nil {
		return err
	}
	if !done.ok() {
		return errors.New("it has no STARTTLS: " + done.text)
	}
	m.caps = nil
	return m.secure(ctx)
}

// has tells whether the far side has a capability.
func (m *imapDialog) has(name string) bool { return slices.Contains(m.caps, name) }

// hear takes a list of capabilities out of a response.
func (m *imapDialog) hear(line string) {
	upper := strings.ToUpper(line)
	list, found := strings.CutPrefix(upper, "* CAPABILITY ")
	if !found {
		if _, list, found = strings.Cut(upper, "[CAPABILITY "); found {
			list, _, found = strings.Cut(list, "]")
		}
	}
	if found {
		m.caps = strings.Fields(list)
	}
}

// tagged is how a command ended.
type tagged struct{ text string }

func (t tagged) ok() bool { return hasFold(t.text, "OK") }

// temporary tells whether a NO to a login says nothing of the password (RFC 5530).
func (t tagged) temporary() bool {
	_, rest, _ := strings.Cut(t.text, "[")
	code, _, coded := strings.Cut(rest, "]")
	code, _, _ = strings.Cut(strings.ToUpper(code), " ")
	switch {
	case hasFold(t.text, "BAD"):
		return true
	case coded && slices.Contains([]string{"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "CONTACTADMIN", "NOPERM"}, code):
		return false
	case coded && slices.Contains([]string{"UNAVAILABLE", "LIMIT", "INUSE", "SERVERBUG", "CLIENTBUG", "CANNOT"}, code):
		return true
	}
	return soundsTemporary(t.text)
}

// hasFold tells whether a line starts with words, in any case.
func hasFold(line, words string) bool {
	return len(line) >= len(words) && strings.EqualFold(line[:len(words)], words) && (len(line) == len(words) || line[len(words)] == ' ')
}

// command sends a command and reads to its end.
func (m *imapDialog) command(text string) (tagged, error) {
	m.tag++
	if err := m.send("x", strconv.Itoa(m.tag), " ", text, "\r\n"); err != nil {
		return tagged{}, err
	}
	return m.finish(nil)
}

// finish reads to a command's end. next returns what to say to a continuation.
func (m *imapDialog) finish(next func(challenge string) (string, error)) (tagged, error) {
	tag := "x" + strconv.Itoa(m.tag) + " "
	for range 1000 {
		line, err := m.line()
		if err != nil {
			return tagged{}, err
		}
		if text, ok := strings.CutPrefix(line, tag); ok {
			m.hear(text)
			return tagged{text}, nil
		}
		switch {
		case strings.HasPrefix(line, "+"):
			if next == nil {
				return tagged{}, fmt.Errorf("an unexpected continuation: %q", line)
			}
			answer, err := next(strings.TrimPrefix(line[1:], " "))
			if err != nil {
				return tagged{}, err
			}
			if err := m.send(answer); err != nil {
				return tagged{}, err
			}
		case hasFold(line, "* BYE"):
			return tagged{}, errors.New("it says " + line)
		default:
			m.hear(line)
		}
	}
	return tagged{}, errors.New("it talks without an end")
}

// login logs in, by AUTHENTICATE PLAIN where the far side has it, which takes
// any bytes but NUL, or else by LOGIN with literals.
func (m *imapDialog) login(caps []string, login, password, authzid string) (tagged, error) {
	has := func(name string) bool { return slices.Contains(caps, name) }
	m.tag++
	tag := "x" + strconv.Itoa(m.tag) + " "
	plain := has("AUTH=PLAIN") && !strings.ContainsRune(login+password, 0)
	switch {
	case plain:
		message := base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + login + "\x00" + password))
		if has("SASL-IR") {
			if err := m.send(tag, "AUTHENTICATE PLAIN ", message, "\r\n"); err != nil {
				return tagged{}, err
			}
			return m.finish(nil)
		}
		if err := m.send(tag, "AUTHENTICATE PLAIN\r\n"); err != nil {
			return tagged{}, err
		}
		return m.finish(func(string) (string, error) { return message + "\r\n", nil })
	case has("LOGINDISABLED"):
		return tagged{}, errors.New("it takes no password on this connection")
	case authzid != "":
		return tagged{}, errors.New("a master login needs AUTH=PLAIN there")
	}
	return m.loginCommand(tag, login, password)
}

// loginCommand is LOGIN (RFC 9051 §6.2.3).
func (m *imapDialog) loginCommand(tag, login, password string) (tagged, error) {
	pieces := []string{tag + "LOGIN "}
	add := func(s string) {
		last := len(pieces) - 1
		if quotable(s) {
			pieces[last] += `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
			return
		}
		pieces[last] += "{" + strconv.Itoa(len(s)) + "}\r\n"
		pieces = append(pieces, s)
	}
	add(login)
	pieces[len(pieces)-1] += " "
	add(password)
	pieces[len(pieces)-1] += "\r\n"
	if err := m.send(pieces[0]); err != nil {
		return tagged{}, err
	}
	at := 0
	return m.finish(func(string) (string, error) {
		if at++; at >= len(pieces) {
			return "", errors.New("it wants more of LOGIN than there is")
		}
		return pieces[at], nil
	})
}

// quotable tells whether a quoted string may hold s (RFC 9051 §9: no CR, LF,
// NUL, nor 8-bit characters before UTF-8 is agreed on).
func quotable(s string) bool {
	for i := range len(s) {
		if s[i] == 0 || s[i] == '\r' || s[i] == '\n' || s[i] >= 0x80 {
			return false
		}
	}
	return len(s) < 1000
}

// idOf is the ID command that tells whom we log in for, in the words of Dovecot,
// which another Expost takes too.
func idOf(req *Request) string {
	fields := []string{`"x-proxy-ttl" "` + strconv.Itoa(MaxHops-req.Hops-1) + `"`}
	if req.Client.IsValid() {
		fields = append(fields, `"x-originating-ip" "`+req.Client.String()+`"`)
	}
	return "ID (" + strings.Join(fields, " ") + ")"
}

// xclientAddress is an address as XCLIENT has it.
func xclientAddress(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "IPV6:" + a.String()
}
