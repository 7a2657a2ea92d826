package config

import (
	"slices"
	"time"

	"expost/internal/milter"
)

// Milter is a content filter.
type Milter struct {
	Name           string         `toml:"name"`     // for the log; the socket where it is not given
	Socket         string         `toml:"socket"`   // unix:/path, inet:host:port
	Default        milter.Default `toml:"default"`  // tempfail | accept | reject | quarantine, while it is away
	Services       []string       `toml:"services"` // smtp, submission, lmtp
	Events         []milter.Event `toml:"events"`   // what it is told of besides the end of a message; default all
	ConnectTimeout Duration       `toml:"connect-timeout"`
	CommandTimeout Duration       `toml:"command-timeout"`
	MessageTimeout Duration       `toml:"message-timeout"`
}

func (m *Milter) check(wrong func(key, format string, args ...any) error) error {
	if _, _, err := milter.ParseSocket(m.Socket); err != nil {
		return wrong("milter.socket", "%q: %v", m.Socket, err)
	}
	if m.Default != "" && !slices.Contains([]milter.Default{milter.TempFail, milter.Accept, milter.Reject, milter.Quarantine}, m.Default) {
		return wrong("milter.default", "%q is none of tempfail, accept, reject, quarantine", m.Default)
	}
	for _, s := range m.Services {
		if s != "smtp" && s != "submission" && s != "lmtp" {
			return wrong("milter.services", "%q is none of smtp, submission, lmtp", s)
		}
	}
	for _, e := range m.Events {
		if !slices.Contains(milter.Events(), e) {
			return wrong("milter.events", "%q is none of %v", e, milter.Events())
		}
	}
	if m.ConnectTimeout < 0 || m.CommandTimeout < 0 || m.MessageTimeout < 0 {
		return wrong("milter", "a timeout must be above zero")
	}
	return nil
}

// Filters returns the content filters of a service: "smtp", "submission", "lmtp".
func (c *Config) Filters(service string) []milter.Filter {
	var list []milter.Filter
	for _, m := range c.Milters {
		services := m.Services
		if len(services) == 0 {
			services = []string{"smtp", "submission"}
		}
		network, address, err := milter.ParseSocket(m.Socket)
		if err != nil || !slices.Contains(services, service) {
			continue
		}
		f := milter.Filter{
			Name: m.Name, Network: network, Address: address, Default: m.Default,
			ConnectTimeout: time.Duration(m.ConnectTimeout), CommandTimeout: time.Duration(m.CommandTimeout), MessageTimeout: time.Duration(m.MessageTimeout),
		}
		if f.Name == "" {
			f.Name = m.Socket
		}
		for _, e := range milter.Events() {
			if len(m.Events) > 0 && !slices.Contains(m.Events, e) {
				f.Skip = append(f.Skip, e)
			}
		}
		list = append(list, f)
	}
	return list
}
