package mapi

import (
	"fmt"
	"mime"
	"strings"
	"time"
)

// groupware returns the parts that a message of a class other than mail has
// beside its text: a summary to read and the file for programs. A meeting
// message has its calendar object as one more form of its text.
func (c *conversion) groupware() (summary, file, form *part) {
	if c.isContact() {
		p := c.contact()
		return c.summary(p.about(c)), dataPart("text/vcard; charset=utf-8", firstOf(p.Name, "contact")+".vcf", c.vcard(p)), nil
	}
	if text, method := c.calendarObject(); text != "" {
		if method != "PUBLISH" {
			form := textPart("calendar", "utf-8; method="+method, []byte(text))
			return nil, nil, form
		}
		return c.summary(c.aboutEvent()), dataPart("text/calendar; charset=utf-8; method=PUBLISH; component=VEVENT", firstOf(c.subject(), "appointment")+".ics", text), nil
	}
	if text := c.todoObject(); text != "" {
		component := "VJOURNAL"
		if c.isClass("IPM.TASK") {
			component = "VTODO"
			summary = c.summary(c.aboutTask())
		}
		return summary, dataPart("text/calendar; charset=utf-8; component="+component, firstOf(c.subject(), "item")+".ics", text), nil
	}
	return nil, nil, nil
}

func (c *conversion) summary(text string) *part {
	if text == "" {
		return nil
	}
	return textPart("plain", "utf-8", []byte(text))
}

// dataPart is a file of UTF-8 text.
func dataPart(kind, name, text string) *part {
	name = fileName(name)
	base, params, _ := mime.ParseMediaType(kind)
	if params == nil {
		params = map[string]string{}
	}
	params["name"] = name
	value := mime.FormatMediaType(base, params)
	if value == "" {
		value = kind
	}
	return &part{text: []byte(text), fields: []field{{"Content-Type", strings.ReplaceAll(value, "; ", ";\r\n\t")},
		{"Content-Disposition", contentDisposition("attachment", name)}}}
}

// fileName makes a name that every file system takes.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
	if r := []rune(s); len(r) > 100 {
		s = string(r[:95]) + s[strings.LastIndexByte(s, '.'):]
	}
	return s
}

// aboutEvent returns when and where an appointment is.
func (c *conversion) aboutEvent() string {
	e := c.event()
	var b strings.Builder
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", label, value)
		}
	}
	if start, end, ok := c.times(); ok {
		layout, zone := "Monday, 2 January 2006 15:04", "UTC"
		if e.allDay {
			layout, zone = "Monday, 2 January 2006", ""
			start, end = e.day(start), e.day(end).AddDate(0, 0, -1)
		} else if e.zone != nil {
			start, end, zone = e.zone.local(start), e.zone.local(end), e.zone.name
		}
		when := start.Format(layout)
		if end.After(start) {
			when += " to " + end.Format(layout)
		}
		line("When", strings.TrimSpace(when+" "+zone))
	}
	line("Where", c.namedText(SetAppointment, 0x8208))
	if e.recurrence != nil {
		line("Recurrence", firstOf(c.namedText(SetAppointment, 0x8232), e.recurrence.rule(func(day time.Time) string { return day.Format("2006-01-02") })))
	}
	if s := c.text(idRepresentingName); len(c.people) > 0 {
		line("Organizer", s)
		names := make([]string, 0, len(c.people))
		for _, p := range c.people {
			names = append(names, p.Name)
		}
		line("Attendees", strings.Join(names, "; "))
	}
	return b.String()
}

// aboutTask returns how far a task is.
func (c *conversion) aboutTask() string {
	var b strings.Builder
	for _, x := range []struct {
		label string
		id    uint32
	}{{"Start", 0x8104}, {"Due", 0x8105}, {"Completed", 0x810F}} {
		if t, ok := c.namedTime(SetTask, x.id); ok {
			fmt.Fprintf(&b, "%s: %s\r\n", x.label, nearestDay(t).Format("Monday, 2 January 2006"))
		}
	}
	if part, ok := namedValue[float64](&c.view, SetTask, 0x8102, TypeFloat64); ok {
		fmt.Fprintf(&b, "Done: %.0f %%\r\n", part*100)
	}
	return b.String()
}
