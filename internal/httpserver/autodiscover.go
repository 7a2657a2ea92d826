package httpserver

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"

	"expost/internal/mail"
)

// The schemas of [MS-OXDSCLI] §2.2.2.
const (
	requestSchema  = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
	responseSchema = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
	outlookSchema  = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
)

// discoverRequest is what Outlook asks ([MS-OXDSCLI] §2.2.3).
type discoverRequest struct {
	XMLName xml.Name `xml:"Autodiscover"`
	Request struct {
		Address string `xml:"EMailAddress"`
		Schema  string `xml:"AcceptableResponseSchema"`
	} `xml:"Request"`
}

// The answer ([MS-OXDSCLI] §2.2.4).
type discoverResponse struct {
	XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
	Response any      `xml:"Response"`
}

type discovered struct {
	XMLName xml.Name        `xml:"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a Response"`
	User    discoverUser    `xml:"User"`
	Account discoverAccount `xml:"Account"`
}

type discoverUser struct {
	Name string `xml:"DisplayName"`
}

type discoverAccount struct {
	Type      string             `xml:"AccountType"`
	Action    string             `xml:"Action"`
	Protocols []discoverProtocol `xml:"Protocol"`
}

type discoverProtocol struct {
	Type       string `xml:"Type"`
	Server     string `xml:"Server"`
	Port       int    `xml:"Port"`
	Domain     string `xml:"DomainRequired"`
	Login      string `xml:"LoginName"`
	SPA        string `xml:"SPA"`
	SSL        string `xml:"SSL"`
	Encryption string `xml:"Encryption"`
	Auth       string `xml:"AuthRequired"`
	UsePOPAuth string `xml:"UsePOPAuth,omitempty"`
	SMTPLast   string `xml:"SMTPLast,omitempty"`
}

type discoverFailure struct {
	XMLName xml.Name      `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Response"`
	Error   discoverError `xml:"Error"`
}

type discoverError struct {
	Time    string `xml:"Time,attr"`
	ID      string `xml:"Id,attr"`
	Code    int    `xml:"ErrorCode"`
	Message string `xml:"Message"`
	Data    string `xml:"DebugData"`
}

// autodiscover answers Outlook.
func (s *Server) autodiscover(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "ask with POST", http.StatusMethodNotAllowed)
		return
	}
	var req discoverRequest
	if err := xml.NewDecoder(r.Body).Decode(&req); err != nil {
		s.failure(w, 600, "Invalid Request")
		return
	}
	if schema := req.Request.Schema; schema != "" && !strings.EqualFold(schema, outlookSchema) {
		s.failure(w, 601, "Provider is not available")
		return
	}
	addr, ok := s.address(req.Request.Address)
	if !ok {
		s.failure(w, 500, "The e-mail address cannot be found")
		return
	}
	s.writeXML(w, discoverResponse{Response: discovered{
		User:    discoverUser{string(addr)},
		Account: discoverAccount{Type: "email", Action: "settings", Protocols: s.discoverProtocols(addr)},
	}})
}

// discoverProtocols are the ways in: IMAP first, which Outlook takes then.
func (s *Server) discoverProtocols(addr mail.Address) []discoverProtocol {
	var out []discoverProtocol
	for _, name := range []string{"IMAP", "POP3", "SMTP"} {
		p, ok := s.find(name)
		if !ok {
			continue
		}
		d := discoverProtocol{
			Type: name, Server: s.cfg.Hostname, Port: p.Port, Domain: "off", Login: string(addr), SPA: "off",
			SSL: "on", Encryption: "SSL", Auth: "on",
		}
		if !p.TLS {
			d.Encryption = "TLS"
		}
		if name == "SMTP" {
			d.UsePOPAuth, d.SMTPLast = "on", "off"
		}
		out = append(out, d)
	}
	return out
}

// failure writes an error as [MS-OXDSCLI] §2.2.4.1.2 has it.
func (s *Server) failure(w http.ResponseWriter, code int, text string) {
	now := time.Now()
	s.writeXML(w, discoverResponse{Response: discoverFailure{Error: discoverError{
		Time: now.Format("15:04:05.0000000"), ID: fmt.Sprint(now.UnixMilli() % 1e10), Code: code, Message: text,
	}}})
}

// writeXML writes a document.
func (s *Server) writeXML(w http.ResponseWriter, doc any) {
	b, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		s.cfg.Log.Error("making XML", "error", err)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.Write([]byte(xml.Header))
	w.Write(b)
}

// autodiscoverJSON answers the probe of newer Outlooks and phones: where a
// protocol is found. Only the XML of autodiscover is here; for Exchange's own
// protocols the answer is that there is no such thing.
func (s *Server) autodiscoverJSON(w http.ResponseWriter, r *http.Request) {
	address := r.PathValue("address")
	if address == "" {
		address = r.FormValue("Email")
	}
	reply := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(v); err != nil {
			s.cfg.Log.Debug("answering autodiscover", "error", err)
		}
	}
	type failure struct {
		Code    string `json:"ErrorCode"`
		Message string `json:"ErrorMessage"`
	}
	protocol := r.FormValue("Protocol")
	_, ours := s.address(address)
	switch {
	case protocol == "":
		reply(http.StatusBadRequest, failure{"MandatoryParameterMissing", "A valid value must be provided for the query parameter 'Protocol'"})
	case !ours:
		reply(http.StatusNotFound, failure{"UserNotFound", "The given address is none of this server"})
	case strings.EqualFold(protocol, "AutodiscoverV1"):
		reply(http.StatusOK, struct {
			Protocol string
			URL      string `json:"Url"`
		}{"AutodiscoverV1", "https://" + s.cfg.Hostname + "/autodiscover/autodiscover.xml"})
	default:
		reply(http.StatusBadRequest, failure{"InvalidProtocol", "The given protocol value '" + protocol + "' is invalid. Supported values are 'AutodiscoverV1'"})
	}
}
