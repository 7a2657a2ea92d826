package mapi

import (
	"fmt"
	"time"
)

// todoObject returns the iCalendar object of a task (VTODO), a journal entry or
// a note (VJOURNAL), "" where the message is none.
func (c *conversion) todoObject() string {
	var l lines
	l.raw("BEGIN", "", "VCALENDAR")
	l.raw("VERSION", "", "2.0")
	l.raw("PRODID", "", "-//Expost//MAPI//EN")
	switch {
	case c.isClass("IPM.TASK"):
		c.task(&l)
	case c.isClass("IPM.ACTIVITY"):
		c.journal(&l)
	case c.isClass("IPM.STICKYNOTE"):
		c.note(&l)
	default:
		return ""
	}
	l.raw("END", "", "VCALENDAR")
	return l.String()
}

// common adds what all of them have.
func (c *conversion) common(l *lines) {
	l.text("UID", "", c.uid())
	stamp, ok := c.instant(idModificationTime)
	if !ok {
		stamp, _ = c.instant(idCreationTime)
	}
	writeStamp(l, stamp)
	l.text("SUMMARY", "", c.subject())
	c.describe(l)
	l.list("CATEGORIES", "", ",", c.categories()...)
	c.writeClass(l)
	created, ok := c.instant(idCreationTime)
	l.stamp("CREATED", created, ok)
	modified, ok := c.instant(idModificationTime)
	l.stamp("LAST-MODIFIED", modified, ok)
	l.list("X-MS-COMPANIES", "", ",", c.namedTexts(SetCommon, 0x8539)...)
	for _, name := range c.namedTexts(SetCommon, 0x853A) {
		l.text("CONTACT", "", name)
	}
	l.text("X-MS-BILLING", "", c.namedText(SetCommon, 0x8535))
	l.text("X-MS-MILEAGE", "", c.namedText(SetCommon, 0x8534))
}

// task adds a VTODO ([MS-OXOTASK] 2.2.2). Its dates have no time.
func (c *conversion) task(l *lines) {
	l.raw("BEGIN", "", "VTODO")
	c.common(l)
	day := func(name string, id uint32) {
		if t, ok := c.namedTime(SetTask, id); ok {
			l.raw(name, ";VALUE=DATE", nearestDay(t).Format(dateLayout))
		}
	}
	day("DTSTART", 0x8104)
	day("DUE", 0x8105)
	status, _ := c.namedInt(SetTask, 0x8101)
	if c.namedBool(SetTask, 0x811C) {
		status = 2
	}
	if status >= 0 && status <= 4 {
		l.raw("STATUS", "", []string{"NEEDS-ACTION", "IN-PROCESS", "COMPLETED", "NEEDS-ACTION", "NEEDS-ACTION"}[status])
		l.raw("X-MS-OLK-STATUS", "", []string{"", "", "", "WAITING", "DEFERRED"}[status])
	}
	if part, ok := namedValue[float64](&c.view, SetTask, 0x8102, TypeFloat64); ok && part >= 0 && part <= 1 {
		l.raw("PERCENT-COMPLETE", "", fmt.Sprint(int(part*100+0.5)))
	}
	if t, ok := c.namedTime(SetTask, 0x810F); ok {
		l.stamp("COMPLETED", nearestDay(t), true)
	}
	if b := c.namedBytes(SetTask, 0x8116); len(b) > 0 {
		if p, err := parseRecurrence(b, false, c.cp); err != nil {
			c.report(fmt.Errorf("reading the recurrence of a task: %w", err))
		} else {
			l.raw("RRULE", "", p.rule(func(day time.Time) string { return day.Format(dateLayout) }))
		}
	}
	if n, ok := c.int(idImportance); ok && n >= 0 && n <= 2 {
		l.raw("PRIORITY", "", []string{"9", "5", "1"}[n])
	}
	for _, x := range []struct {
		name string
		id   uint32
	}{{"X-MS-OLK-ACTUALWORK", 0x8110}, {"X-MS-OLK-TOTALWORK", 0x8111}} {
		n, ok := c.namedInt(SetTask, x.id) // minutes
		l.number(x.name, n, ok && n != 0)
	}
	l.text("X-MS-OLK-OWNER", "", c.namedText(SetTask, 0x811F))
	l.text("X-MS-OLK-DELEGATOR", "", c.namedText(SetTask, 0x8121))
	if t, ok := c.namedTime(SetCommon, 0x8502); ok && c.namedBool(SetCommon, 0x8503) {
		l.raw("BEGIN", "", "VALARM")
		l.raw("ACTION", "", "DISPLAY")
		l.text("DESCRIPTION", "", firstOf(c.subject(), "Reminder"))
		l.raw("TRIGGER", ";VALUE=DATE-TIME", t.Format(stampLayout))
		l.raw("END", "", "VALARM")
	}
	l.raw("END", "", "VTODO")
}

// journal adds the VJOURNAL of a journal entry ([MS-OXOJRNL] 2.2.1).
func (c *conversion) journal(l *lines) {
	l.raw("BEGIN", "", "VJOURNAL")
	c.common(l)
	if t, ok := c.namedTime(SetLog, 0x8706); ok {
		l.stamp("DTSTART", t, true)
	}
	if t, ok := c.namedTime(SetLog, 0x8708); ok {
		l.stamp("X-MS-OLK-END", t, true)
	}
	n, ok := c.namedInt(SetLog, 0x8707)
	l.number("X-MS-OLK-DURATION", n, ok) // minutes
	l.text("X-MS-OLK-TYPE", "", firstOf(c.namedText(SetLog, 0x8700), c.namedText(SetLog, 0x8712)))
	l.raw("END", "", "VJOURNAL")
}

// note adds the VJOURNAL of a sticky note ([MS-OXONOTE] 2.2.1).
func (c *conversion) note(l *lines) {
	l.raw("BEGIN", "", "VJOURNAL")
	c.common(l)
	if n, ok := c.namedInt(SetNote, 0x8B00); ok && n >= 0 && n <= 4 {
		l.raw("COLOR", "", []string{"lightblue", "lightgreen", "pink", "yellow", "white"}[n])
	}
	for _, x := range []struct {
		name string
		id   uint32
	}{{"X-MS-OLK-WIDTH", 0x8B02}, {"X-MS-OLK-HEIGHT", 0x8B03}, {"X-MS-OLK-X", 0x8B04}, {"X-MS-OLK-Y", 0x8B05}} {
		n, ok := c.namedInt(SetNote, x.id)
		l.number(x.name, n, ok)
	}
	l.raw("END", "", "VJOURNAL")
}
