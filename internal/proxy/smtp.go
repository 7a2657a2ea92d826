package proxy

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// openSMTP logs in for submission (RFC 6409, RFC 4954).
func (d *dialog) openSMTP(ctx context.Context, h *Host, req *Request) error {
	if code, text, err := d.smtpReply(); err != nil || code != "220" {
		return fmt.Errorf("the greeting is %q: %w", text, err)
	}
	extensions, err := d.ehlo()
	if err != nil {
		return err
	}
	if d.tls != nil && !d.secured {
		if code, text, err := d.smtp("STARTTLS"); err != nil || code != "220" {
			return fmt.Errorf("it has no STARTTLS: %q: %w", text, err)
		}
		if err := d.secure(ctx); err != nil {
			return err
		}
		if extensions, err = d.ehlo(); err != nil {
			return err
		}
	}
	if offers := wordsOf(extensions, "XCLIENT"); h.TellClient && req.Client.IsValid() && slices.Contains(offers, "ADDR") {
		command := "XCLIENT ADDR=" + xclientAddress(req.Client)
		if slices.Contains(offers, "TTL") {
			command += fmt.Sprintf(" TTL=%d", MaxHops-req.Hops-1)
		}
		if _, _, err := d.smtp(command); err != nil {
			return err
		}
		if extensions, err = d.ehlo(); err != nil {
			return err
		}
	}
	code, text, err := d.smtpLogin(h, req, wordsOf(extensions, "AUTH"))
	switch {
	case err != nil:
		return err
	case code != "235":
		return refused(h, strings.HasPrefix(code, "4") || code != "535" && soundsTemporary(text), code+" "+text)
	}
	d.greeting = text
	return nil
}

// smtpLogin logs in with AUTH PLAIN or else LOGIN, which is all that Exchange
// offers at times.
func (d *dialog) smtpLogin(h *Host, req *Request, mechanisms []string) (code, text string, err error) {
	login, password, authzid := h.credentials(req)
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	switch {
	case slices.Contains(mechanisms, "PLAIN") && !strings.ContainsRune(login+password, 0):
		if code, text, err = d.smtp("AUTH PLAIN"); err != nil || code != "334" {
			return code, text, err
		}
		return d.smtp(b64(authzid + "\x00" + login + "\x00" + password))
	case authzid != "":
		return "", "", errors.New("a master login needs AUTH PLAIN there")
	case !slices.Contains(mechanisms, "LOGIN"):
		return "", "", errors.New("it offers neither AUTH PLAIN nor LOGIN")
	}
	for _, line := range []string{"AUTH LOGIN", b64(login)} {
		if code, text, err = d.smtp(line); err != nil || code != "334" {
			return code, text, err
		}
	}
	return d.smtp(b64(password))
}

// ehlo returns the far side's extensions.
func (d *dialog) ehlo() ([]string, error) {
	if err := d.send("EHLO ", d.hostname, "\r\n"); err != nil {
		return nil, err
	}
	lines, err := d.smtpLines()
	if err != nil {
		return nil, err
	}
	var list []string
	for _, l := range lines {
		if l[:3] != "250" {
			return nil, fmt.Errorf("it answers EHLO with %q", l)
		}
		list = append(list, l[min(4, len(l)):])
	}
	return list, nil
}

// wordsOf returns what stands behind an extension's keyword, in upper case.
func wordsOf(extensions []string, keyword string) []string {
	for _, e := range extensions {
		if hasFold(e, keyword) {
			return strings.Fields(strings.ToUpper(e))[1:]
		}
	}
	return nil
}

// smtp sends a command and returns the reply.
func (d *dialog) smtp(command string) (code, text string, err error) {
	if err := d.send(command, "\r\n"); err != nil {
		return "", "", err
	}
	return d.smtpReply()
}

// smtpReply returns the code and the last line of a reply.
func (d *dialog) smtpReply() (code, text string, err error) {
	lines, err := d.smtpLines()
	if err != nil {
		return "", "", err
	}
	last := lines[len(lines)-1]
	return last[:3], last[min(4, len(last)):], nil
}

// smtpLines reads a reply.
func (d *dialog) smtpLines() ([]string, error) {
	var lines []string
	for range 200 {
		line, err := d.line()
		if err != nil {
			return nil, err
		}
		if len(line) < 3 {
			return nil, fmt.Errorf("it says %q", line)
		}
		lines = append(lines, line)
		if len(line) == 3 || line[3] != '-' {
			return lines, nil
		}
	}
	return nil, errors.New("its reply has no end")
}
