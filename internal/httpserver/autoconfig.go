package httpserver

import (
	"encoding/xml"
	"net/http"
)

// clientConfig is Mozilla's configuration file, version 1.1.
type clientConfig struct {
	XMLName  xml.Name       `xml:"clientConfig"`
	Version  string         `xml:"version,attr"`
	Provider configProvider `xml:"emailProvider"`
}

type configProvider struct {
	ID       string         `xml:"id,attr"`
	Domains  []string       `xml:"domain"`
	Name     string         `xml:"displayName"`
	Short    string         `xml:"displayShortName"`
	Incoming []configServer `xml:"incomingServer"`
	Outgoing []configServer `xml:"outgoingServer"`
}

type configServer struct {
	Type     string `xml:"type,attr"`
	Host     string `xml:"hostname"`
	Port     int    `xml:"port"`
	Socket   string `xml:"socketType"`
	Username string `xml:"username"`
	Auth     string `xml:"authentication"`
}

// autoconfig answers Thunderbird, K-9 and others. They ask for the domain, or
// with emailaddress for an address.
func (s *Server) autoconfig(w http.ResponseWriter, r *http.Request) {
	if text := r.FormValue("emailaddress"); text != "" {
		if _, ok := s.address(text); !ok {
			http.Error(w, "not a domain of this server", http.StatusNotFound)
			return
		}
	}
	p := configProvider{ID: s.cfg.Hostname, Domains: s.cfg.Domains, Name: s.cfg.Hostname, Short: s.cfg.Hostname}
	if len(s.cfg.Domains) > 0 {
		p.ID, p.Name, p.Short = s.cfg.Domains[0], s.cfg.Domains[0]+" Mail", s.cfg.Domains[0]
	}
	for _, proto := range s.cfg.Protocols {
		c := configServer{Host: s.cfg.Hostname, Port: proto.Port, Socket: "SSL", Username: "%EMAILADDRESS%", Auth: "password-cleartext"}
		if !proto.TLS {
			c.Socket = "STARTTLS"
		}
		switch proto.Name {
		case "IMAP":
			c.Type = "imap"
			p.Incoming = append(p.Incoming, c)
		case "POP3":
			c.Type = "pop3"
			p.Incoming = append(p.Incoming, c)
		case "SMTP":
			c.Type = "smtp"
			p.Outgoing = append(p.Outgoing, c)
		}
	}
	s.writeXML(w, clientConfig{Version: "1.1", Provider: p})
}
