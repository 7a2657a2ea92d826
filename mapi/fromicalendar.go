package mapi

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// component is a part of an iCalendar object (RFC 5545 §3.4).
type component struct {
	name  string
	lines []contentLine
	below []*component
}

// contentLine is a line of a vCard or of iCalendar: its value as it is.
type contentLine struct{ name, params, value string }

// maxComponents bounds the components of an object, and how deep they lie.
const maxComponents = 10000

// contentLines splits a vCard or an iCalendar object into its lines.
func contentLines(b []byte) []contentLine {
	var out []contentLine
	text := strings.NewReplacer("\r\n ", "", "\r\n\t", "", "\n ", "", "\n\t", "").Replace(string(b))
	for line := range strings.SplitSeq(text, "\n") {
		head, value, ok := strings.Cut(strings.TrimRight(line, "\r"), ":")
		for ok && strings.Count(head, `"`)%2 != 0 { // the colon is in a quoted parameter
			var more string
			more, value, ok = strings.Cut(value, ":")
			head += ":" + more
		}
		if ok {
			name, params, _ := strings.Cut(head, ";")
			out = append(out, contentLine{strings.ToUpper(name), params, value})
		}
	}
	return out
}

// parseCalendar returns the VCALENDAR of an iCalendar object, nil where it is none.
func parseCalendar(b []byte) *component {
	var root *component
	var open []*component
	n := 0
	for _, l := range contentLines(b) {
		switch {
		case l.name == "BEGIN":
			c := &component{name: upper(l.value)}
			if n++; n > maxComponents {
				return nil
			}
			if len(open) > 0 {
				up := open[len(open)-1]
				up.below = append(up.below, c)
			} else if root == nil {
				root = c
			}
			open = append(open, c)
		case len(open) == 0:
		case l.name == "END":
			open = open[:len(open)-1]
		default:
			c := open[len(open)-1]
			c.lines = append(c.lines, l)
		}
	}
	if root == nil || root.name != "VCALENDAR" {
		return nil
	}
	return root
}

// find returns the components of a name.
func (c *component) find(name string) (out []*component) {
	for _, d := range c.below {
		if d.name == name {
			out = append(out, d)
		}
	}
	return out
}

// line returns the first line of a name.
func (c *component) line(name string) (contentLine, bool) {
	i := slices.IndexFunc(c.lines, func(l contentLine) bool { return l.name == name })
	if i < 0 {
		return contentLine{}, false
	}
	return c.lines[i], true
}

// raw returns a value as it is written.
func (c *component) raw(name string) string {
	l, _ := c.line(name)
	return strings.TrimSpace(l.value)
}

// text returns a text.
func (c *component) text(name string) string {
	l, _ := c.line(name)
	return unescapeText(l.value)
}

// number returns a number, and false where there is none.
func (c *component) number(name string) (int32, bool) {
	n, err := strconv.ParseInt(c.raw(name), 10, 32)
	return int32(n), err == nil
}

// unescapeText takes the escapes out of a text. Line ends become CRLF.
func unescapeText(s string) string {
	return strings.Join(cardParts(strings.NewReplacer(`\;`, `\;`, ";", `\;`).Replace(s)), ";")
}

// moment is a DATE or DATE-TIME: local or in UTC, labelled UTC.
type moment struct {
	time.Time
	day, utc bool
}

// moment returns a time, and false where there is none.
func (c *component) moment(name string) (moment, bool) {
	l, ok := c.line(name)
	if !ok {
		return moment{}, false
	}
	return parseMoment(strings.TrimSpace(l.value))
}

func parseMoment(s string) (moment, bool) {
	for _, layout := range []string{stampLayout, localLayout, dateLayout} {
		if t, err := time.Parse(layout, s); err == nil {
			return moment{t, layout == dateLayout, layout == stampLayout}, true
		}
	}
	return moment{}, false
}

// instant returns the moment in UTC.
func (m moment) instant(z *zone) time.Time {
	if m.utc || z == nil {
		return m.Time
	}
	return z.utc(m.Time)
}

// calendarItem makes an appointment, meeting message, task, journal entry or note
// again of a mail that Converter made of one: of its iCalendar object, which it
// takes out of the attachments. It reports whether it did.
func (f *fromMail) calendarItem(s *section) bool {
	class := f.header.get("X-MS-Message-Class")
	if s.kind != "text/calendar" || f.card || s.to-s.from > maxCard {
		return false
	}
	is := func(prefix string) bool { return upper(class) == prefix || strings.HasPrefix(upper(class), prefix+".") }
	var name string
	switch {
	case is("IPM.APPOINTMENT"), is("IPM.SCHEDULE.MEETING"):
		name = "VEVENT"
	case is("IPM.TASK"):
		name = "VTODO"
	case is("IPM.ACTIVITY"), is("IPM.STICKYNOTE"):
		name = "VJOURNAL"
	default:
		return false
	}
	b, err := io.ReadAll(s.decoded(f.r))
	if err != nil {
		return false
	}
	object := parseCalendar(b)
	if object == nil || len(object.find(name)) == 0 {
		return false
	}
	c := &calendarReader{f: f, object: object, main: object.find(name)[0]}
	if i := slices.IndexFunc(object.find(name), func(x *component) bool { _, ok := x.line("RECURRENCE-ID"); return !ok }); i >= 0 {
		c.main = object.find(name)[i]
	}
	if zones := object.find("VTIMEZONE"); len(zones) > 0 {
		c.zone = parseVTimezone(zones[0])
	}
	if !c.recurs() {
		return false // a rule that Outlook cannot have: the file stays
	}
	f.card = true
	f.item.Set(tagClass, class)
	if !is("IPM.SCHEDULE.MEETING") { // its text says what the file says
		delete(f.item.values, tagBody)
		f.item.Attached = slices.DeleteFunc(f.item.Attached, func(a *Item) bool { return slices.Contains(f.texts, a) })
		if text := c.main.text("DESCRIPTION"); text != "" {
			f.item.Set(tagBody, text)
		}
	}
	c.common()
	switch {
	case name == "VEVENT":
		c.event()
	case name == "VTODO":
		c.task()
	case is("IPM.ACTIVITY"):
		c.journal()
	default:
		c.note()
	}
	return true
}

// calendarReader sets the properties of a calendar item.
type calendarReader struct {
	f            *fromMail
	object, main *component
	zone         *zone
	rule         *recurrence
}

// set sets a named property.
func (f *fromMail) set(set GUID, id uint32, typ Type, v any) {
	f.item.Set(NewTag(f.nameID(set, id), typ), v)
}

func (c *calendarReader) text(set GUID, id uint32, s string) {
	if s != "" {
		c.f.set(set, id, TypeString, s)
	}
}

func (c *calendarReader) number(set GUID, id uint32, name string) {
	if n, ok := c.main.number(name); ok {
		c.f.set(set, id, TypeInt32, n)
	}
}

func (c *calendarReader) time(set GUID, id uint32, t time.Time) {
	c.f.set(set, id, TypeTime, TimeOf(t))
}

// common sets what all of them have.
func (c *calendarReader) common() {
	f, m := c.f, c.main
	if s := m.text("SUMMARY"); s != "" && f.header.get("Subject") == "" {
		f.item.Set(NewTag(idSubject, TypeString), s)
		f.item.Set(NewTag(idNormalizedSubject, TypeString), s)
	}
	for name, id := range map[string]uint16{"CREATED": idCreationTime, "LAST-MODIFIED": idModificationTime} {
		if t, ok := m.moment(name); ok {
			f.item.Set(NewTag(id, TypeTime), TimeOf(t.instant(c.zone)))
		}
	}
	if class := upper(m.raw("CLASS")); class == "PRIVATE" || class == "CONFIDENTIAL" {
		f.set(SetCommon, 0x8506, TypeBool, true)
		if !f.header.has("Sensitivity") {
			f.item.Set(NewTag(idSensitivity, TypeInt32), map[string]int32{"PRIVATE": 2, "CONFIDENTIAL": 3}[class])
		}
	}
	if n, ok := m.number("PRIORITY"); ok && !f.header.has("Importance") {
		level := int32(1)
		if n >= 1 && n <= 4 {
			level = 2
		} else if n >= 6 {
			level = 0
		}
		f.item.Set(NewTag(idImportance, TypeInt32), level)
	}
	c.text(SetCommon, 0x8535, m.text("X-MS-BILLING"))
	c.text(SetCommon, 0x8534, m.text("X-MS-MILEAGE"))
	if l, ok := m.line("X-MS-COMPANIES"); ok {
		f.set(SetCommon, 0x8539, TypeString|MultiValued, listParts(l.value))
	}
	var contacts []string
	for _, l := range m.lines {
		if l.name == "CONTACT" {
			contacts = append(contacts, unescapeText(l.value))
		}
	}
	if len(contacts) > 0 {
		f.set(SetCommon, 0x853A, TypeString|MultiValued, contacts)
	}
	if b := globalObject(m.text("UID")); b != nil && m.text("UID") != strings.Trim(f.header.get("Message-ID"), "<>") || m.name == "VEVENT" {
		f.set(SetMeeting, 3, TypeBinary, b)
		f.set(SetMeeting, 0x23, TypeBinary, b)
	}
}

// listParts splits a list at its commas.
func listParts(s string) []string {
	return cardParts(strings.NewReplacer(`\,`, `\,`, `\;`, `\;`, ";", `\;`, ",", ";").Replace(s))
}

// task sets the properties of a task ([MS-OXOTASK] 2.2.2).
func (c *calendarReader) task() {
	f, m := c.f, c.main
	for name, ids := range map[string][2]uint32{"DTSTART": {0x8104, 0x8516}, "DUE": {0x8105, 0x8517}, "COMPLETED": {0x810F, 0}} {
		if t, ok := m.moment(name); ok {
			day := t.Truncate(24 * time.Hour)
			c.time(SetTask, ids[0], day)
			if ids[1] != 0 {
				c.time(SetCommon, ids[1], day)
			}
		}
	}
	status := map[string]int32{"IN-PROCESS": 1, "COMPLETED": 2}[upper(m.raw("STATUS"))]
	if n := map[string]int32{"WAITING": 3, "DEFERRED": 4}[upper(m.raw("X-MS-OLK-STATUS"))]; n != 0 {
		status = n
	}
	f.set(SetTask, 0x8101, TypeInt32, status)
	f.set(SetTask, 0x811C, TypeBool, status == 2)
	if n, ok := m.number("PERCENT-COMPLETE"); ok {
		f.set(SetTask, 0x8102, TypeFloat64, float64(n)/100)
	}
	c.number(SetTask, 0x8110, "X-MS-OLK-ACTUALWORK")
	c.number(SetTask, 0x8111, "X-MS-OLK-TOTALWORK")
	c.text(SetTask, 0x811F, m.text("X-MS-OLK-OWNER"))
	c.text(SetTask, 0x8121, m.text("X-MS-OLK-DELEGATOR"))
	f.set(SetTask, 0x8126, TypeBool, c.rule != nil)
	if c.rule != nil {
		f.set(SetTask, 0x8116, TypeBinary, c.rule.encode(false))
	}
	f.set(SetTask, 0x8113, TypeInt32, int32(1)) // it was never assigned to somebody
	f.set(SetTask, 0x8129, TypeInt32, int32(0))
	f.set(SetCommon, 0x8518, TypeInt32, int32(0))
	f.item.Set(NewTag(idIconIndex, TypeInt32), int32(0x500))
	f.set(SetCommon, 0x8503, TypeBool, false)
	for _, a := range m.find("VALARM") {
		if t, ok := a.moment("TRIGGER"); ok {
			f.set(SetCommon, 0x8503, TypeBool, true)
			c.time(SetCommon, 0x8502, t.instant(c.zone))
			c.time(SetCommon, 0x8560, t.instant(c.zone))
		}
	}
}

// journal sets the properties of a journal entry ([MS-OXOJRNL] 2.2.1).
func (c *calendarReader) journal() {
	for name, ids := range map[string][2]uint32{"DTSTART": {0x8706, 0x8516}, "X-MS-OLK-END": {0x8708, 0x8517}} {
		if t, ok := c.main.moment(name); ok {
			c.time(SetLog, ids[0], t.instant(c.zone))
			c.time(SetCommon, ids[1], t.instant(c.zone))
		}
	}
	c.number(SetLog, 0x8707, "X-MS-OLK-DURATION")
	kind := c.main.text("X-MS-OLK-TYPE")
	c.text(SetLog, 0x8700, kind)
	c.text(SetLog, 0x8712, kind)
	c.f.item.Set(NewTag(idIconIndex, TypeInt32), int32(0x601))
}

// note sets the properties of a sticky note ([MS-OXONOTE] 2.2.1).
func (c *calendarReader) note() {
	if n := slices.Index([]string{"lightblue", "lightgreen", "pink", "yellow", "white"}, strings.ToLower(c.main.raw("COLOR"))); n >= 0 {
		c.f.set(SetNote, 0x8B00, TypeInt32, int32(n))
		c.f.item.Set(NewTag(idIconIndex, TypeInt32), int32(0x300+n))
	}
	for name, id := range map[string]uint32{"X-MS-OLK-WIDTH": 0x8B02, "X-MS-OLK-HEIGHT": 0x8B03, "X-MS-OLK-X": 0x8B04, "X-MS-OLK-Y": 0x8B05} {
		c.number(SetNote, id, name)
	}
}
