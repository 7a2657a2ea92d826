package mapi

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// event is what one VEVENT is made of: a message, and where it is a changed
// occurrence of a series, that.
type event struct {
	*conversion
	zone       *zone
	recurrence *recurrence
	allDay     bool
}

// calendarObject returns the iCalendar object of a message ([MS-OXCICAL]) and
// its method, "" where the message is no calendar item.
func (c *conversion) calendarObject() (text, method string) {
	method = c.method()
	if method == "" {
		return "", ""
	}
	e := c.event()
	var l lines
	l.raw("BEGIN", "", "VCALENDAR")
	l.raw("VERSION", "", "2.0")
	l.raw("PRODID", "", "-//Expost//MAPI//EN")
	l.raw("METHOD", "", method)
	if e.zone != nil {
		e.zone.write(&l)
	}
	e.write(&l, method)
	l.raw("END", "", "VCALENDAR")
	return l.String(), method
}

// method returns the method of a calendar object by the message's class
// ([MS-OXCICAL] 2.1.3.1.1.1).
func (c *conversion) method() string {
	switch {
	case c.isClass("IPM.APPOINTMENT"), c.isClass("IPM.OLE.CLASS"):
		return "PUBLISH"
	case c.isClass("IPM.SCHEDULE.MEETING.REQUEST"), c.isClass("IPM.SCHEDULE.MEETING.NOTIFICATION"):
		return "REQUEST"
	case c.isClass("IPM.SCHEDULE.MEETING.CANCELED"):
		return "CANCEL"
	case c.isClass("IPM.SCHEDULE.MEETING.RESP"):
		if c.namedBool(SetAppointment, 0x8257) {
			return "COUNTER"
		}
		return "REPLY"
	}
	return ""
}

// event gathers what the times of a message depend on.
func (c *conversion) event() *event {
	e := &event{conversion: c, allDay: c.namedBool(SetAppointment, 0x8215)}
	if b := c.namedBytes(SetAppointment, 0x8216); len(b) > 0 {
		var err error
		if e.recurrence, err = parseRecurrence(b, true, c.cp); err != nil {
			c.report(fmt.Errorf("reading the recurrence of an appointment: %w", err))
		}
	}
	order := []uint32{0x825E, 0x8260, 0x825F} // of the start, of the series, of the end
	if e.recurrence != nil {
		order = []uint32{0x8260, 0x825E, 0x825F}
	}
	for _, id := range order {
		if e.zone = parseZoneDefinition(c.namedBytes(SetAppointment, id)); e.zone != nil {
			return e
		}
	}
	e.zone = parseZoneStruct(c.namedBytes(SetAppointment, 0x8233), c.namedText(SetAppointment, 0x8234))
	return e
}

// times returns start and end as properties tell them, in UTC.
func (c *conversion) times() (start, end time.Time, ok bool) {
	start, ok = c.namedTime(SetAppointment, 0x820D)
	if !ok {
		if start, ok = c.namedTime(SetCommon, 0x8516); !ok {
			start, ok = c.instant(0x0060) // PidTagStartDate
		}
	}
	end, ended := c.namedTime(SetAppointment, 0x820E)
	if !ended {
		if end, ended = c.namedTime(SetCommon, 0x8517); !ended {
			end, ended = c.instant(0x0061)
		}
	}
	if !ended || end.Before(start) {
		minutes, _ := c.namedInt(SetAppointment, 0x8213)
		end = start.Add(time.Duration(max(0, minutes)) * time.Minute)
	}
	return start, end, ok
}

// day returns the date of an instant that is midnight in the event's zone.
func (e *event) day(t time.Time) time.Time {
	if e.zone != nil {
		return nearestDay(e.zone.local(t))
	}
	return nearestDay(t)
}

// when adds a DATE, a local time with its zone, or an instant.
func (e *event) when(l *lines, name string, utc time.Time) {
	switch {
	case e.allDay:
		l.raw(name, ";VALUE=DATE", e.day(utc).Format(dateLayout))
	case e.zone != nil:
		l.raw(name, param("TZID", e.zone.name), e.zone.local(utc).Format(localLayout))
	default:
		l.raw(name, "", utc.Format(stampLayout))
	}
}

// whenLocal is when for a time that is local already.
func (e *event) whenLocal(l *lines, name string, local time.Time, allDay bool) {
	switch {
	case allDay:
		l.raw(name, ";VALUE=DATE", local.Format(dateLayout))
	case e.zone != nil:
		l.raw(name, param("TZID", e.zone.name), local.Format(localLayout))
	default:
		l.raw(name, "", local.Format(localLayout)) // floating
	}
}

// write adds the VEVENT, and one for each changed occurrence.
func (e *event) write(l *lines, method string) {
	uid := e.uid()
	l.raw("BEGIN", "", "VEVENT")
	l.text("UID", "", uid)
	start, end, ok := e.times()
	switch p := e.recurrence; {
	case p != nil:
		e.series(l, p)
	case ok:
		e.when(l, "DTSTART", start)
		if !end.Equal(start) && !(e.allDay && e.day(end).Equal(e.day(start))) {
			e.when(l, "DTEND", end)
		}
		if at, ok := e.namedTime(SetAppointment, 0x8228); ok && len(e.namedBytes(SetMeeting, 3)) > 0 && method != "PUBLISH" {
			e.when(l, "RECURRENCE-ID", at)
		}
	}
	e.details(l)
	e.attendees(l, method)
	e.marks(l)
	l.raw("END", "", "VEVENT")
	if p := e.recurrence; p != nil {
		bodies := e.exceptionMessages()
		for i := range p.exceptions {
			e.exception(l, uid, &p.exceptions[i], bodies)
		}
	}
}

// series adds the times of a series: those of its pattern, which are local.
func (e *event) series(l *lines, p *recurrence) {
	first := p.first.Add(p.start)
	e.whenLocal(l, "DTSTART", first, e.allDay)
	if last := p.first.Add(p.finish); last.After(first) {
		e.whenLocal(l, "DTEND", last, e.allDay)
	}
	l.raw("RRULE", "", p.rule(func(day time.Time) string {
		switch at := day.Add(p.start); {
		case e.allDay:
			return day.Format(dateLayout)
		case e.zone != nil:
			return e.zone.utc(at).Format(stampLayout)
		default:
			return at.Format(localLayout)
		}
	}))
	for _, d := range p.removed() {
		e.whenLocal(l, "EXDATE", d.Add(p.start), e.allDay)
	}
}

// details adds what people see of the event.
func (e *event) details(l *lines) {
	l.text("SUMMARY", "", e.subject())
	l.text("LOCATION", "", e.namedText(SetAppointment, 0x8208))
	e.describe(l)
	l.list("CATEGORIES", "", ",", e.categories()...)
	status, _ := e.namedInt(SetAppointment, 0x8217)
	busy, known := e.namedInt(SetAppointment, 0x8205)
	switch {
	case status&4 != 0 || e.isClass("IPM.SCHEDULE.MEETING.CANCELED"):
		l.raw("STATUS", "", "CANCELLED")
	case known && busy == 1:
		l.raw("STATUS", "", "TENTATIVE")
	default:
		l.raw("STATUS", "", "CONFIRMED")
	}
	if known {
		writeBusy(l, busy)
	}
	if e.allDay {
		l.raw("X-MICROSOFT-CDO-ALLDAYEVENT", "", "TRUE")
	}
	e.writeClass(l)
	if n, ok := e.int(idImportance); ok && n != 1 {
		l.number("PRIORITY", map[int]int{0: 9, 2: 1}[n], n == 0 || n == 2)
	}
	n, ok := e.namedInt(SetAppointment, 0x8201)
	l.number("SEQUENCE", max(0, n), ok)
}

// describe adds the text of the message.
func (c *conversion) describe(l *lines) {
	text := c.text(idBody)
	bodies, _ := c.bodies()
	for _, b := range bodies {
		switch kind := b.fields[0].value; {
		case strings.HasPrefix(kind, "text/plain") && strings.TrimSpace(text) == "":
			text = string(b.text)
		case strings.HasPrefix(kind, "text/html; charset=utf-8") && len(b.text) < 64<<10:
			l.text("X-ALT-DESC", ";FMTTYPE=text/html", string(b.text))
		}
	}
	l.text("DESCRIPTION", "", text)
}

func writeBusy(l *lines, busy int) {
	if busy == 0 {
		l.raw("TRANSP", "", "TRANSPARENT")
	} else {
		l.raw("TRANSP", "", "OPAQUE")
	}
	if busy >= 0 && busy <= 4 {
		l.raw("X-MICROSOFT-CDO-BUSYSTATUS", "", []string{"FREE", "TENTATIVE", "BUSY", "OOF", "WORKINGELSEWHERE"}[busy])
	}
}

func (c *conversion) writeClass(l *lines) {
	switch n, _ := c.int(idSensitivity); {
	case n == 3:
		l.raw("CLASS", "", "CONFIDENTIAL")
	case n == 1 || n == 2 || c.namedBool(SetCommon, 0x8506):
		l.raw("CLASS", "", "PRIVATE")
	}
}

// partStat are the values of a response, PidLidResponseStatus and
// PidTagRecipientTrackStatus ([MS-OXOCAL] 2.2.1.11).
var partStat = map[int]string{2: "TENTATIVE", 3: "ACCEPTED", 4: "DECLINED", 0: "NEEDS-ACTION", 5: "NEEDS-ACTION"}

// attendees adds the organizer and the attendees of a meeting.
func (e *event) attendees(l *lines, method string) {
	if method == "REPLY" || method == "COUNTER" {
		e.answer(l)
		return
	}
	state, _ := e.namedInt(SetAppointment, 0x8217)
	people := e.people
	if method == "PUBLISH" && state&1 == 0 {
		return // an appointment of one's own
	}
	organizer := e.from()
	for _, p := range people {
		if flags, _ := p.view.int(idRecipientFlags); flags&2 != 0 {
			organizer = p
		}
	}
	own := e.smtp(organizer.Address, organizer.smtp)
	if isSMTP(own) {
		l.raw("ORGANIZER", param("CN", organizer.Name), "mailto:"+own)
	}
	for _, p := range people {
		addr := e.smtp(p.Address, p.smtp)
		if flags, _ := p.view.int(idRecipientFlags); !isSMTP(addr) || flags&2 != 0 || p.kind < 1 || p.kind > 3 {
			continue
		}
		role := []string{";ROLE=REQ-PARTICIPANT", ";ROLE=OPT-PARTICIPANT", ";CUTYPE=RESOURCE;ROLE=NON-PARTICIPANT"}[p.kind-1]
		status, ok := p.view.int(idRecipientTrackStatus)
		if stat := partStat[status]; ok && stat != "" {
			role += ";PARTSTAT=" + stat
		}
		if e.bool(0x0063) && method == "REQUEST" { // PidTagResponseRequested
			role += ";RSVP=TRUE"
		}
		l.raw("ATTENDEE", role+param("CN", p.Name), "mailto:"+addr)
	}
}

// from returns who a message is from.
func (c *conversion) from() person {
	p := person{Address: Address{c.text(idRepresentingName), upper(c.text(idRepresentingType)), c.text(idRepresentingAddress)}, smtp: c.text(idRepresentingSMTP)}
	p.Address = complete(p.Address, c.bytes(idRepresentingEntryID), c.cp)
	if p.Email == "" && p.smtp == "" {
		p = person{Address: Address{c.text(idSenderName), upper(c.text(idSenderType)), c.text(idSenderAddress)}, smtp: c.text(idSenderSMTP)}
		p.Address = complete(p.Address, c.bytes(idSenderEntryID), c.cp)
	}
	return p
}

// answer adds who answers, how, and to whom.
func (e *event) answer(l *lines) {
	if len(e.people) > 0 {
		if to := e.smtp(e.people[0].Address, e.people[0].smtp); isSMTP(to) {
			l.raw("ORGANIZER", param("CN", e.people[0].Name), "mailto:"+to)
		}
	}
	stat := "NEEDS-ACTION"
	for suffix, s := range map[string]string{"POS": "ACCEPTED", "NEG": "DECLINED", "TENT": "TENTATIVE"} {
		if strings.HasSuffix(e.class, ".RESP."+suffix) {
			stat = s
		}
	}
	from := e.from()
	if addr := e.smtp(from.Address, from.smtp); isSMTP(addr) {
		l.raw("ATTENDEE", ";PARTSTAT="+stat+param("CN", from.Name), "mailto:"+addr)
	}
}

// marks adds times of the item and its reminder.
func (e *event) marks(l *lines) {
	stamp, ok := e.namedTime(SetMeeting, 0x1A)
	for _, id := range []uint16{idModificationTime, idCreationTime, idClientSubmitTime, idDeliveryTime} {
		if !ok {
			stamp, ok = e.instant(id)
		}
	}
	writeStamp(l, stamp)
	created, ok := e.instant(idCreationTime)
	l.stamp("CREATED", created, ok)
	modified, ok := e.instant(idModificationTime)
	l.stamp("LAST-MODIFIED", modified, ok)
	for name, id := range map[string]uint32{"X-MS-OLK-CONFTYPE": 0x8241} {
		n, ok := e.namedInt(SetAppointment, id)
		l.number(name, n, ok && n != 0)
	}
	l.text("X-MICROSOFT-SKYPETEAMSMEETINGURL", "", e.namedText(SetAppointment, 0x8248))
	next, ok := e.namedTime(SetCommon, 0x8560)
	e.alarm(l, next, ok && e.recurrence != nil)
}

// writeStamp adds the DTSTAMP that every component must have.
func writeStamp(l *lines, t time.Time) {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	l.stamp("DTSTAMP", t, true)
}

// alarm adds the reminder. That of a series has been dealt with up to the next one
// (PidLidReminderSignalTime): a program that knows RFC 9074 does not show those of
// years once more.
func (c *conversion) alarm(l *lines, next time.Time, series bool) {
	minutes, _ := c.namedInt(SetCommon, 0x8501)
	if !c.namedBool(SetCommon, 0x8503) || minutes < 0 || minutes > 60*24*3660 { // 0x5AE980E1 stands for 15
		if minutes != 0x5AE980E1 || !c.namedBool(SetCommon, 0x8503) {
			return
		}
		minutes = 15
	}
	l.raw("BEGIN", "", "VALARM")
	l.raw("ACTION", "", "DISPLAY")
	l.text("DESCRIPTION", "", firstOf(c.subject(), "Reminder"))
	l.raw("TRIGGER", "", fmt.Sprintf("-PT%dM", minutes))
	start, _, _ := c.times()
	first := start.Add(-time.Duration(minutes) * time.Minute)
	l.stamp("ACKNOWLEDGED", next.Add(-time.Second), series && next.After(first)) // RFC 9074 §6.1
	l.raw("END", "", "VALARM")
}

// globalID is what Outlook's own GlobalObjectIds begin with ([MS-OXOCAL]
// 2.2.1.27), and foreignID what stands before a foreign UID in one.
var (
	globalID  = []byte{0x04, 0, 0, 0, 0x82, 0, 0xE0, 0, 0x74, 0xC5, 0xB7, 0x10, 0x1A, 0x82, 0xE0, 0x08}
	foreignID = []byte("vCal-Uid\x01\x00\x00\x00")
)

// uid returns the UID that all copies of a meeting share ([MS-OXCICAL]
// 2.1.3.1.1.20.26).
func (c *conversion) uid() string {
	b := c.namedBytes(SetMeeting, 0x23)
	if len(b) == 0 {
		b = bytes.Clone(c.namedBytes(SetMeeting, 3))
		if len(b) >= 20 {
			copy(b[16:20], []byte{0, 0, 0, 0}) // the occurrence
		}
	}
	if len(b) >= 52 && bytes.HasPrefix(b, globalID) && bytes.HasPrefix(b[40:], foreignID) {
		uid, _, _ := bytes.Cut(b[40+len(foreignID):], []byte{0})
		return strings.ToValidUTF8(string(uid), "")
	}
	if len(b) > 0 {
		return strings.ToUpper(hex.EncodeToString(b))
	}
	return strings.Trim(c.messageID(), "<>")
}

// exceptionMessages returns the messages of changed occurrences, by their
// original start in UTC ([MS-OXOCAL] 2.2.10.1).
func (e *event) exceptionMessages() map[time.Time]*conversion {
	out := map[time.Time]*conversion{}
	for i := range e.attached {
		a := &e.attached[i]
		if flags, _ := a.int(idAttachExceptionFlags); flags&2 == 0 || !a.embedded || e.depth > 0 {
			continue
		}
		inner := e.Converter.conversion(a.message, e.r, e.depth+1)
		if t, ok := inner.namedTime(SetAppointment, 0x8228); ok {
			out[t] = inner
		} else if t, ok := a.instant(0x7FFB); ok {
			out[t] = inner
		}
	}
	return out
}

// exception adds a changed occurrence.
func (e *event) exception(l *lines, uid string, x *exception, messages map[time.Time]*conversion) {
	l.raw("BEGIN", "", "VEVENT")
	l.text("UID", "", uid)
	original := x.original
	if original.Equal(original.Truncate(24 * time.Hour)) { // some writers give the day only
		original = original.Add(e.recurrence.start)
	}
	e.whenLocal(l, "RECURRENCE-ID", original, e.allDay)
	allDay := e.allDay || x.allDay
	e.whenLocal(l, "DTSTART", x.start, allDay)
	if x.end.After(x.start) {
		e.whenLocal(l, "DTEND", x.end, allDay)
	}
	own := messages[original]
	if own == nil && e.zone != nil {
		own = messages[e.zone.utc(original)]
	}
	subject, location := e.subject(), e.namedText(SetAppointment, 0x8208)
	if x.subject != nil {
		subject = *x.subject
	}
	if x.location != nil {
		location = *x.location
	}
	l.text("SUMMARY", "", subject)
	l.text("LOCATION", "", location)
	if own != nil {
		own.describe(l)
		if state, _ := e.namedInt(SetAppointment, 0x8217); state&1 != 0 {
			(&event{conversion: own, zone: e.zone}).attendees(l, "REQUEST")
		}
	} else {
		l.text("DESCRIPTION", "", e.text(idBody))
	}
	busy, known := e.namedInt(SetAppointment, 0x8205)
	if x.busy != nil {
		busy, known = *x.busy, true
	}
	if known {
		writeBusy(l, busy)
	}
	e.writeClass(l)
	stamp, _ := e.instant(idModificationTime)
	writeStamp(l, stamp)
	l.raw("END", "", "VEVENT")
}
