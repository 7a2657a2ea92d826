package httpserver

import "fmt"

// Records returns the DNS records that a domain needs for mail to come here and
// for mail programs to find this server, as lines of a zone file: RFC 6186 and
// RFC 8314 §5.1 for the service records.
func Records(domain string, cfg Config) []string {
	out := []string{
		fmt.Sprintf("%s. IN MX 10 %s.", domain, cfg.Hostname),
		fmt.Sprintf("%s. IN TXT \"v=spf1 mx -all\"", domain),
		fmt.Sprintf("_dmarc.%s. IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@%s\"", domain, domain),
	}
	if cfg.Hostname != "autodiscover."+domain {
		out = append(out, fmt.Sprintf("autodiscover.%s. IN CNAME %s.", domain, cfg.Hostname))
	}
	if cfg.Hostname != "autoconfig."+domain {
		out = append(out, fmt.Sprintf("autoconfig.%s. IN CNAME %s.", domain, cfg.Hostname))
	}
	out = append(out, fmt.Sprintf("_autodiscover._tcp.%s. IN SRV 0 0 443 %s.", domain, cfg.Hostname))
	services := map[string][2]string{"IMAP": {"_imap", "_imaps"}, "POP3": {"_pop3", "_pop3s"}, "SMTP": {"_submission", "_submissions"}, "LDAP": {"_ldap", "_ldaps"}}
	priority := map[string]int{}
	for _, p := range cfg.Protocols {
		name := services[p.Name][0]
		if p.TLS {
			name = services[p.Name][1]
		}
		out = append(out, fmt.Sprintf("%s._tcp.%s. IN SRV %d 1 %d %s.", name, domain, priority[p.Name], p.Port, cfg.Hostname))
		priority[p.Name] += 10
	}
	for _, missing := range []struct{ name, service string }{{"POP3", "_pop3"}, {"POP3", "_pop3s"}} {
		if _, ok := (&Server{cfg}).find(missing.name); !ok { // "." says that there is none (RFC 6186 §3.4)
			out = append(out, fmt.Sprintf("%s._tcp.%s. IN SRV 0 0 0 .", missing.service, domain))
		}
	}
	return out
}
