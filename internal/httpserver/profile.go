package httpserver

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/xml"
	"fmt"
	"net/http"
	"text/template"
)

// profileText is Apple's configuration profile (payloads com.apple.mail.managed
// and com.apple.ldap.account).
//
//go:embed profile.tmpl
var profileText string

// escape makes a value safe in XML.
func escape(s string) (string, error) {
	var b bytes.Buffer
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

// identifier returns a UUID that is the same for the same words, so that a
// profile that is installed again replaces the one before.
func identifier(words ...string) string {
	sum := sha256.Sum256([]byte(fmt.Sprint(words)))
	return fmt.Sprintf("%X-%X-%X-%X-%X", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// profile answers iPhones, iPads and Macs: setup.mobileconfig?email=ADDR.
func (s *Server) profile(w http.ResponseWriter, r *http.Request) {
	addr, ok := s.address(r.FormValue("email"))
	imap, hasIMAP := s.find("IMAP")
	smtp, hasSMTP := s.find("SMTP")
	if !ok || !hasIMAP || !hasSMTP {
		http.Error(w, "give ?email= with an address of this server", http.StatusNotFound)
		return
	}
	t, err := template.New("profile").Funcs(template.FuncMap{"x": escape, "uuid": identifier}).Parse(profileText)
	var b bytes.Buffer
	if err == nil {
		ldap, hasLDAP := s.find("LDAP")
		err = t.Execute(&b, map[string]any{
			"Address": string(addr), "Domain": addr.Domain(), "Host": s.cfg.Hostname, "IMAP": imap, "SMTP": smtp,
			"LDAP": ldap, "HasLDAP": hasLDAP && s.cfg.BaseDN != "", "BaseDN": s.cfg.BaseDN,
		})
	}
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		s.cfg.Log.Error("making a profile", "error", err)
		return
	}
	w.Header().Set("Content-Type", "application/x-apple-aspen-config; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="mail.mobileconfig"`)
	w.Write(b.Bytes())
}
