package httpserver

import (
	_ "embed"
	"html/template"
	"io"
	"net/http"
	"slices"
	"strings"
)

// pageText is the page of instructions.
//
//go:embed instructions.html
var pageText string

// instructions is what the page is made from.
type instructions struct {
	Address, Domain, Host, BaseDN string
	IMAP, POP3, SMTP, LDAP        *Protocol
}

// Security says how the connection is protected, in the words of mail programs.
func (p Protocol) Security() string {
	if p.TLS {
		return "SSL/TLS"
	}
	return "STARTTLS"
}

// WriteInstructions writes a page that tells a user how to set up mail programs
// and phones. Address may be "", for anybody.
func (s *Server) WriteInstructions(w io.Writer, address string) error {
	t, err := template.New("instructions").Parse(pageText)
	if err != nil {
		return err
	}
	in := instructions{Address: address, Host: s.cfg.Hostname, BaseDN: s.cfg.BaseDN}
	if _, domain, ok := strings.Cut(address, "@"); ok {
		in.Domain = domain
	} else if len(s.cfg.Domains) > 0 {
		in.Domain = s.cfg.Domains[0]
	}
	if in.Address == "" {
		in.Address = "your.name@" + in.Domain
	}
	for name, p := range map[string]**Protocol{"IMAP": &in.IMAP, "POP3": &in.POP3, "SMTP": &in.SMTP, "LDAP": &in.LDAP} {
		if i := slices.IndexFunc(s.cfg.Protocols, func(p Protocol) bool { return p.Name == name }); i >= 0 {
			*p = &s.cfg.Protocols[i]
		}
	}
	return t.Execute(w, in)
}

// page shows the instructions.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	addr, _ := s.address(r.FormValue("email"))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := s.WriteInstructions(w, string(addr)); err != nil {
		s.cfg.Log.Debug("writing instructions", "error", err)
	}
}
