package proxy

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// openPOP3 logs in (RFC 1939, RFC 5034).
func (d *dialog) openPOP3(ctx context.Context, h *Host, req *Request) error {
	greeting, err := d.line()
	if err != nil {
		return fmt.Errorf("reading the greeting: %w", err)
	}
	if !hasFold(greeting, "+OK") {
		return fmt.Errorf("the greeting is %q", greeting)
	}
	if d.tls != nil && !d.secured {
		reply, err := d.pop3("STLS")
		if err != nil {
			return err
		}
		if !hasFold(reply, "+OK") {
			return errors.New("it has no STLS: " + reply)
		}
		if err := d.secure(ctx); err != nil {
			return err
		}
	}
	caps, err := d.capa()
	if err != nil {
		return err
	}
	if h.TellClient && req.Client.IsValid() && slices.ContainsFunc(caps, func(c string) bool { return hasFold(c, "XCLIENT") }) {
		if _, err := d.pop3(fmt.Sprintf("XCLIENT ADDR=%s TTL=%d", xclientAddress(req.Client), MaxHops-req.Hops-1)); err != nil {
			return err
		}
	}
	reply, err := d.pop3Login(h, req, caps)
	if err != nil {
		return err
	}
	if !hasFold(reply, "+OK") {
		upper := strings.ToUpper(reply)
		temporary := strings.Contains(upper, "[SYS/TEMP]") || strings.Contains(upper, "[IN-USE]") || strings.Contains(upper, "[LOGIN-DELAY]") ||
			!strings.Contains(upper, "[AUTH]") && soundsTemporary(reply)
		return refused(h, temporary, reply)
	}
	d.greeting = strings.TrimSpace(reply[len("+OK"):])
	return nil
}

// pop3Login logs in, by AUTH PLAIN where the far side has it.
func (d *dialog) pop3Login(h *Host, req *Request, caps []string) (string, error) {
	login, password, authzid := h.credentials(req)
	plain := slices.ContainsFunc(caps, func(c string) bool {
		return hasFold(c, "SASL") && slices.Contains(strings.Fields(strings.ToUpper(c)), "PLAIN")
	})
	switch {
	case plain && !strings.ContainsRune(login+password, 0):
		reply, err := d.pop3("AUTH PLAIN")
		if err != nil || !strings.HasPrefix(reply, "+") || hasFold(reply, "+OK") {
			return reply, err
		}
		return d.pop3(base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + login + "\x00" + password)))
	case authzid != "":
		return "", errors.New("a master login needs SASL PLAIN there")
	case strings.ContainsAny(login+password, "\r\n\x00"):
		return "-ERR [AUTH] USER and PASS cannot carry such a password", nil
	}
	reply, err := d.pop3("USER " + login)
	if err != nil || !hasFold(reply, "+OK") {
		return reply, err
	}
	return d.pop3("PASS " + password)
}

// pop3 sends a command and returns the first line of the answer.
func (d *dialog) pop3(command string) (string, error) {
	if err := d.send(command, "\r\n"); err != nil {
		return "", err
	}
	return d.line()
}

// capa returns the far side's capabilities; none where it has no CAPA.
func (d *dialog) capa() ([]string, error) {
	reply, err := d.pop3("CAPA")
	if err != nil || !hasFold(reply, "+OK") {
		return nil, err
	}
	var list []string
	for range 200 {
		line, err := d.line()
		if err != nil || line == "." {
			return list, err
		}
		list = append(list, line)
	}
	return nil, errors.New("its CAPA has no end")
}
