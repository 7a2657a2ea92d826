package milter

import (
	"strconv"
	"strings"
	"time"
)

// The macros are those that Postfix sends, and some more that spamass-milter
// asks for. A filter that misses one says so in its own log.

// nameOf returns the client's name, as Postfix has it.
func nameOf(c *Client) string {
	if c.Name == "" {
		return "unknown"
	}
	return c.Name
}

func (s *Session) connectMacros() []string {
	c := &s.client
	ip := c.Address.Unmap().String()
	return []string{
		"j", s.chain.host, "{daemon_name}", s.chain.host, "{daemon_addr}", c.Local.Unmap().String(), "{daemon_port}", strconv.Itoa(int(c.LocalPort)),
		"v", s.chain.version, "_", nameOf(c) + " [" + ip + "]", "{if_addr}", c.Local.Unmap().String(), "{if_name}", s.chain.host,
		"{client_addr}", ip, "{client_name}", nameOf(c), "{client_ptr}", nameOf(c), "{client_port}", strconv.Itoa(int(c.Port)),
	}
}

func (s *Session) heloMacros() []string {
	c := &s.client
	m := []string{"s", c.Helo, "r", c.Protocol}
	if c.TLSVersion != "" {
		m = append(m, "{tls_version}", c.TLSVersion, "{cipher}", c.Cipher, "{cipher_bits}", strconv.Itoa(c.CipherBits))
	}
	return m
}

func (s *Session) mailMacros() []string {
	e := &s.env
	m := []string{"i", e.ID, "b", time.Now().Format(time.RFC1123Z), "f", e.From, "{mail_addr}", e.From, "{mail_host}", domainOf(e.From), "{mail_mailer}", "smtp"}
	if e.Login != "" {
		m = append(m, "{auth_type}", e.Method, "{auth_authen}", e.Login, "{auth_author}", e.Login)
	}
	return m
}

func (s *Session) rcptMacros(to string) []string {
	return []string{"i", s.env.ID, "{rcpt_addr}", to, "{rcpt_host}", domainOf(to), "{rcpt_mailer}", "local"}
}

func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
