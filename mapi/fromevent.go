package mapi

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// event sets the properties of an appointment or a meeting message ([MS-OXOCAL]
// 2.2.1).
func (c *calendarReader) event() {
	f, m := c.f, c.main
	meeting := strings.HasPrefix(upper(f.header.get("X-MS-Message-Class")), "IPM.SCHEDULE")
	start, ok := m.moment("DTSTART")
	if ok {
		c.eventTimes(f, m, start)
	}
	c.text(SetAppointment, 0x8208, m.text("LOCATION"))
	c.text(SetAppointment, 0x8248, m.text("X-MICROSOFT-SKYPETEAMSMEETINGURL"))
	c.number(SetAppointment, 0x8201, "SEQUENCE")
	c.number(SetAppointment, 0x8241, "X-MS-OLK-CONFTYPE")
	if n := busyStatus(m); n >= 0 {
		f.set(SetAppointment, 0x8205, TypeInt32, int32(n))
	}
	state := int32(0)
	if c.attendees() {
		state |= 1
	}
	if upper(m.raw("STATUS")) == "CANCELLED" {
		state |= 4
	}
	if meeting {
		state |= 3 // it came from somebody
	}
	f.set(SetAppointment, 0x8217, TypeInt32, state)
	f.set(SetAppointment, 0x8218, TypeInt32, state&1)
	f.set(SetAppointment, 0x8223, TypeBool, c.rule != nil)
	f.set(SetAppointment, 0x8257, TypeBool, upper(c.object.raw("METHOD")) == "COUNTER")
	f.set(SetCommon, 0x8510, TypeInt32, int32(0x171)) // PidLidSideEffects of appointments
	if t, ok := m.moment("DTSTAMP"); ok && t.Unix() != 0 {
		c.time(SetMeeting, 0x1A, t.Time)
	}
	c.zones()
	if c.rule != nil {
		c.series()
	}
	c.occurrence()
	c.alarm(start)
	if !meeting {
		icon := int32(0x400) + 2*(state&1)
		if c.rule != nil {
			icon++
		}
		f.item.Set(NewTag(idIconIndex, TypeInt32), icon)
	}
}

// eventTimes sets start, end and length of an event.
func (c *calendarReader) eventTimes(f *fromMail, m *component, start moment) {
	end, ok := m.moment("DTEND")
	if !ok {
		end = start
		if start.day && c.rule != nil {
			end.Time = start.AddDate(0, 0, 1)
		}
	}
	from, to := start.instant(c.zone), end.instant(c.zone)
	for _, x := range []struct {
		set      GUID
		from, to uint32
	}{{SetAppointment, 0x820D, 0x820E}, {SetCommon, 0x8516, 0x8517}} {
		f.set(x.set, x.from, TypeTime, TimeOf(from))
		f.set(x.set, x.to, TypeTime, TimeOf(to))
	}
	f.item.Set(NewTag(0x0060, TypeTime), TimeOf(from))
	f.item.Set(NewTag(0x0061, TypeTime), TimeOf(to))
	f.set(SetAppointment, 0x8213, TypeInt32, int32(min(max(0, to.Sub(from)/time.Minute), 1<<30)))
	f.set(SetAppointment, 0x8215, TypeBool, start.day)
}

// busyStatus returns PidLidBusyStatus, -1 where it is not said.
func busyStatus(m *component) int {
	if n := slices.Index([]string{"FREE", "TENTATIVE", "BUSY", "OOF", "WORKINGELSEWHERE"}, upper(m.raw("X-MICROSOFT-CDO-BUSYSTATUS"))); n >= 0 {
		return n
	}
	switch upper(m.raw("TRANSP")) {
	case "TRANSPARENT":
		return 0
	case "OPAQUE":
		return 2
	}
	return -1
}

// zones sets the time zone, in both forms that Outlook knows.
func (c *calendarReader) zones() {
	if c.zone == nil {
		return
	}
	def := c.zone.definition()
	ids := []uint32{0x825E, 0x825F}
	if c.rule != nil {
		ids = append(ids, 0x8260)
		c.f.set(SetAppointment, 0x8233, TypeBinary, c.zone.structure())
	}
	for _, id := range ids {
		c.f.set(SetAppointment, id, TypeBinary, def)
	}
	c.text(SetAppointment, 0x8234, c.zone.name)
}

// series sets the recurrence, with what was changed in it.
func (c *calendarReader) series() {
	f, p := c.f, c.rule
	for _, x := range c.object.find("VEVENT") {
		if at, ok := x.moment("RECURRENCE-ID"); ok && x != c.main && len(p.exceptions) < maxOccurrences {
			c.exception(x, at)
		}
	}
	slices.SortFunc(p.deleted, time.Time.Compare)
	slices.SortFunc(p.changed, time.Time.Compare)
	slices.SortStableFunc(p.exceptions, func(a, b exception) int { return a.start.Compare(b.start) })
	f.set(SetAppointment, 0x8216, TypeBinary, p.encode(true))
	f.set(SetMeeting, 0x0A, TypeBool, true)
	kind := map[int]int32{freqDaily: 1, freqWeekly: 2, freqMonthly: 3, freqYearly: 4}[p.frequency]
	f.set(SetAppointment, 0x8231, TypeInt32, kind)
	first, last := moment{Time: p.first}, moment{Time: p.last}
	c.time(SetAppointment, 0x8235, first.instant(c.zone))
	if p.last.Year() < 4500 {
		c.time(SetAppointment, 0x8236, last.instant(c.zone))
	} else {
		c.time(SetAppointment, 0x8236, p.last)
	}
}

// exception adds a changed occurrence to the series: to its list, and where it has
// a text of its own as the message that Outlook keeps of it ([MS-OXOCAL] 2.2.10.1).
func (c *calendarReader) exception(x *component, at moment) {
	p, local := c.rule, func(m moment) time.Time {
		if m.utc && c.zone != nil {
			return c.zone.local(m.Time)
		}
		return m.Time
	}
	e := exception{original: local(at)}
	if at.day {
		e.original = e.original.Add(p.start)
	}
	start, ok := x.moment("DTSTART")
	if !ok {
		return
	}
	end, ok := x.moment("DTEND")
	if !ok {
		end = start
	}
	e.start, e.end = local(start), local(end)
	if s := x.text("SUMMARY"); s != c.main.text("SUMMARY") {
		e.subject = &s
	}
	if s := x.text("LOCATION"); s != c.main.text("LOCATION") {
		e.location = &s
	}
	if n := busyStatus(x); n >= 0 && n != busyStatus(c.main) {
		e.busy = &n
	}
	if main, ok := c.main.moment("DTSTART"); ok && start.day && !main.day {
		e.allDay = true
	}
	day := e.original.Truncate(24 * time.Hour)
	if !slices.ContainsFunc(p.deleted, day.Equal) {
		p.deleted = append(p.deleted, day)
	}
	p.changed = append(p.changed, e.start.Truncate(24*time.Hour))
	if text := x.text("DESCRIPTION"); text != c.main.text("DESCRIPTION") {
		e.body = true
		c.exceptionMessage(x, &e, text)
	}
	p.exceptions = append(p.exceptions, e)
}

// exceptionMessage embeds the message of a changed occurrence.
func (c *calendarReader) exceptionMessage(x *component, e *exception, text string) {
	inner := &fromMail{item: &Item{}, r: c.f.r}
	inner.item.Set(tagClass, "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}")
	inner.item.Set(NewTag(idSubject, TypeString), x.text("SUMMARY"))
	inner.item.Set(tagBody, text)
	inner.item.Set(tagFlags, int32(1))
	if html := x.text("X-ALT-DESC"); html != "" {
		inner.item.Set(tagHTML, []byte(html))
		inner.item.Set(NewTag(idInternetCodepage, TypeInt32), int32(65001))
	}
	start, _ := x.moment("DTSTART")
	c.eventTimes(inner, x, start)
	original := moment{Time: e.original}.instant(c.zone)
	inner.set(SetAppointment, 0x8228, TypeTime, TimeOf(original))
	if s := x.text("LOCATION"); s != "" {
		inner.set(SetAppointment, 0x8208, TypeString, s)
	}
	a := &Item{Embedded: inner.item}
	a.Set(NewTag(idAttachMethod, TypeInt32), int32(attachEmbedded))
	a.Set(NewTag(idDisplayName, TypeString), "Untitled")
	a.Set(NewTag(idAttachExceptionFlags, TypeInt32), int32(2))
	a.Set(NewTag(idAttachHidden, TypeBool), true)
	a.Set(NewTag(0x7FFB, TypeTime), TimeOf(e.start))
	a.Set(NewTag(0x7FFC, TypeTime), TimeOf(e.end))
	c.f.item.Attached = append(c.f.item.Attached, a)
}

// occurrence sets which occurrence of a series a message is about.
func (c *calendarReader) occurrence() {
	at, ok := c.main.moment("RECURRENCE-ID")
	if !ok {
		return
	}
	c.time(SetAppointment, 0x8228, at.instant(c.zone))
	if b := globalObject(c.main.text("UID")); len(b) >= 20 {
		day := at.Time
		if at.utc && c.zone != nil {
			day = c.zone.local(day)
		}
		copy(b[16:], []byte{byte(day.Year() >> 8), byte(day.Year()), byte(day.Month()), byte(day.Day())})
		c.f.set(SetMeeting, 3, TypeBinary, b)
	}
}

// alarm sets the reminder.
func (c *calendarReader) alarm(start moment) {
	c.f.set(SetCommon, 0x8503, TypeBool, false)
	for _, a := range c.main.find("VALARM") {
		d, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(a.raw("TRIGGER"), "-PT")))
		if err != nil || !strings.HasPrefix(a.raw("TRIGGER"), "-PT") {
			continue
		}
		at := start.instant(c.zone)
		c.f.set(SetCommon, 0x8503, TypeBool, true)
		c.f.set(SetCommon, 0x8501, TypeInt32, int32(min(d/time.Minute, 1<<30)))
		c.time(SetCommon, 0x8502, at)
		next := at.Add(-d)
		if done, err := time.Parse(stampLayout, a.raw("ACKNOWLEDGED")); err == nil {
			next = done.Add(time.Second)
		}
		c.time(SetCommon, 0x8560, next)
		return
	}
}

// attendees makes the recipients those of the event, and tells whether there are
// any.
func (c *calendarReader) attendees() bool {
	any := false
	for _, l := range c.main.lines {
		addr, ok := strings.CutPrefix(l.value, "mailto:")
		if !ok || l.name != "ATTENDEE" && l.name != "ORGANIZER" {
			continue
		}
		any = true
		r := c.recipient(addr)
		if l.name == "ORGANIZER" {
			if r != nil {
				r.Set(NewTag(idRecipientFlags, TypeInt32), int32(3))
			}
			continue
		}
		if upper(c.object.raw("METHOD")) == "REPLY" || upper(c.object.raw("METHOD")) == "COUNTER" {
			continue // it is who answers
		}
		if r == nil {
			r = &Item{}
			name := firstOf(cardParam(l.params, "CN"), addr)
			for id, v := range map[uint16]string{idDisplayName: name, idAddressType: "SMTP", idEmailAddress: addr, idSMTPAddress: addr} {
				r.Set(NewTag(id, TypeString), v)
			}
			r.Set(NewTag(idObjectType, TypeInt32), int32(objectMailUser))
			c.f.item.To = append(c.f.item.To, r)
		}
		kind := map[string]int32{"OPT-PARTICIPANT": 2, "NON-PARTICIPANT": 3}[upper(cardParam(l.params, "ROLE"))]
		r.Set(NewTag(idRecipientType, TypeInt32), max(1, kind))
		r.Set(NewTag(idRecipientFlags, TypeInt32), int32(1))
		if stat := cardParam(l.params, "PARTSTAT"); stat != "" {
			r.Set(NewTag(idRecipientTrackStatus, TypeInt32), map[string]int32{"TENTATIVE": 2, "ACCEPTED": 3, "DECLINED": 4}[stat])
		}
		if cardParam(l.params, "RSVP") == "TRUE" {
			c.f.item.Set(NewTag(0x0063, TypeBool), true)
		}
	}
	return any
}

// recipient returns the recipient of an address, or nil.
func (c *calendarReader) recipient(addr string) *Item {
	for _, r := range c.f.item.To {
		if s, _ := r.values[NewTag(idSMTPAddress, TypeString)].(string); strings.EqualFold(s, addr) {
			return r
		}
	}
	return nil
}

// globalObject makes a GlobalObjectId of a UID, the inverse of uid; nil of none.
func globalObject(uid string) []byte {
	if uid == "" || len(uid) > 1000 {
		return nil
	}
	if b, err := hex.DecodeString(uid); err == nil && len(b) >= 40 && slices.Equal(b[:len(globalID)], globalID) {
		return b
	}
	data := append(append(slices.Clone(foreignID), uid...), 0)
	b := append(slices.Clone(globalID), make([]byte, 20)...)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
}
