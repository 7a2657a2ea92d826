package migrate

import (
	"bytes"
	netmail "net/mail"
	"strings"
	"time"

	"expost/internal/mail"
)

// HeaderDate returns when a message was received, as far as its header tells:
// the time of the last Received field (the topmost), else Date.
func HeaderDate(message []byte) (mail.Date, bool) {
	var date string
	for _, field := range headerFields(message) {
		name, value, ok := strings.Cut(field, ":")
		if !ok {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "received":
			if i := strings.LastIndexByte(value, ';'); i >= 0 {
				if d, ok := parseHeaderDate(value[i+1:]); ok {
					return d, true
				}
			}
		case "date":
			if date == "" {
				date = value
			}
		}
	}
	return parseHeaderDate(date)
}

// headerFields returns the fields of a message's header, unfolded, as far as
// message reaches.
func headerFields(message []byte) []string {
	var fields []string
	for line := range bytes.Lines(message) {
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0:
			return fields
		case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
			fields[len(fields)-1] += " " + string(bytes.TrimSpace(line))
		default:
			fields = append(fields, string(line))
		}
	}
	return fields
}

// parseHeaderDate reads a date-time (RFC 5322 §3.3) of a plausible year.
func parseHeaderDate(s string) (mail.Date, bool) {
	s = strings.Join(strings.Fields(s), " ")
	if s == "" {
		return mail.Date{}, false
	}
	t, err := netmail.ParseDate(s)
	if err != nil {
		for _, layout := range []string{time.ANSIC, "Mon, 2 Jan 2006 15:04:05", "2 Jan 2006 15:04:05", "Mon, 2 Jan 06 15:04:05 -0700", time.RFC3339} {
			if t, err = time.Parse(layout, s); err == nil {
				break
			}
		}
	}
	if err != nil || t.Year() < 1970 || t.Year() > 2200 {
		return mail.Date{}, false
	}
	return mail.DateOf(t), true
}
