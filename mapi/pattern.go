package mapi

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// recurs reads the RRULE and EXDATEs of the item, and tells whether Outlook can
// have such a rule; where there is none it can.
func (c *calendarReader) recurs() bool {
	text := c.main.raw("RRULE")
	if text == "" {
		return true
	}
	start, ok := c.main.moment("DTSTART")
	if !ok && c.main.name == "VTODO" {
		start, ok = c.main.moment("DUE")
	}
	if !ok {
		start.Time = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	local := start.Time
	if start.utc && c.zone != nil {
		local = c.zone.local(local)
	}
	p := parseRule(text, local, c.zone)
	if p == nil {
		return false
	}
	end, ok := c.main.moment("DTEND")
	if !ok || c.main.name == "VTODO" {
		end = start
	}
	p.finish = p.start + max(0, end.Sub(start.Time))
	if start.day && !ok {
		p.finish = 24 * time.Hour
	}
	for _, l := range c.main.lines {
		if l.name != "EXDATE" {
			continue
		}
		for value := range strings.SplitSeq(l.value, ",") {
			if m, ok := parseMoment(strings.TrimSpace(value)); ok && len(p.deleted) < maxOccurrences {
				if m.utc && c.zone != nil {
					m.Time = c.zone.local(m.Time)
				}
				p.deleted = append(p.deleted, m.Truncate(24*time.Hour))
			}
		}
	}
	c.rule = p
	return true
}

// parseRule reads a RRULE, the inverse of recurrence.rule, of a series that begins
// at a local time. It returns nil for rules that Outlook does not have.
func parseRule(text string, start time.Time, z *zone) *recurrence {
	parts := map[string]string{}
	for part := range strings.SplitSeq(strings.ToUpper(text), ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[key] = value
	}
	p := &recurrence{period: 1, end: 0x2023, count: 10, first: start.Truncate(24 * time.Hour)}
	p.start = start.Sub(p.first)
	if n, err := strconv.Atoi(parts["INTERVAL"]); err == nil && n > 0 && n < 1000 {
		p.period = n
	}
	if !p.setPattern(parts) {
		return nil
	}
	if strings.HasPrefix(parts["RSCALE"], "ISLAMIC") && p.pattern >= patternMonth {
		p.pattern |= patternHijri
		p.calendar = 6
	}
	switch {
	case parts["COUNT"] != "":
		n, err := strconv.Atoi(parts["COUNT"])
		if err != nil || n < 1 || n > maxOccurrences {
			return nil
		}
		p.end, p.count = endCount, n
		p.last = p.occurrence(n)
	case parts["UNTIL"] != "":
		m, ok := parseMoment(parts["UNTIL"])
		if !ok {
			return nil
		}
		if m.utc && z != nil {
			m.Time = z.local(m.Time)
		}
		p.end, p.last = endByDate, m.Truncate(24*time.Hour)
		p.count = p.countTo(p.last)
	default:
		p.last = minutesTime(0x5AE980DF) // the end of time
	}
	return p
}

// setPattern sets frequency and pattern by the parts of a rule.
func (p *recurrence) setPattern(parts map[string]string) bool {
	days, single := 0, 0
	for day := range strings.FieldsFuncSeq(parts["BYDAY"], func(r rune) bool { return r == ',' }) {
		i := slices.Index(weekdays[:], day[max(0, len(day)-2):])
		if i < 0 {
			return false
		}
		days |= 1 << i
		if n, err := strconv.Atoi(day[:len(day)-2]); err == nil {
			single = n
		}
	}
	nth := single
	if n, err := strconv.Atoi(parts["BYSETPOS"]); err == nil && parts["BYMONTHDAY"] == "" {
		nth = n
	}
	if nth == -1 {
		nth = 5
	}
	switch parts["FREQ"] {
	case "DAILY":
		p.frequency, p.pattern = freqDaily, patternDay
		p.period *= 24 * 60
		return days == 0
	case "WEEKLY":
		p.frequency, p.pattern, p.weekdays = freqWeekly, patternWeek, days
		if days == 0 {
			p.weekdays = 1 << int(p.first.Weekday())
		}
		p.firstDay = max(0, slices.Index(weekdays[:], parts["WKST"]))
		if parts["WKST"] == "" {
			p.firstDay = 1
		}
		return true
	case "YEARLY":
		p.frequency = freqYearly
		if month := parts["BYMONTH"]; month != "" && month != strconv.Itoa(int(p.first.Month())) {
			return false
		}
		p.period *= 12
	case "MONTHLY":
		p.frequency = freqMonthly
	default:
		return false
	}
	if days != 0 {
		p.pattern, p.weekdays, p.nth = patternNth, days, nth
		return nth >= 1 && nth <= 5
	}
	p.pattern = patternMonth
	switch list := parts["BYMONTHDAY"]; {
	case list == "":
		p.day = p.first.Day()
	case list == "-1":
		p.day = 31
	case list == "28,29,30":
		p.day = 30
	case list == "28,29":
		p.day = 29
	default:
		n, err := strconv.Atoi(list)
		if err != nil || n < 1 || n > 31 {
			return false
		}
		p.day = n
	}
	return true
}

// days yields the days of the series in order, without what was changed, as many
// as can be.
func (p *recurrence) days(yield func(time.Time) bool) {
	const most = 200_000
	period := max(1, p.period)
	switch p.pattern &^ patternHijri {
	case patternDay:
		for i := range most {
			if !yield(p.first.AddDate(0, 0, i*max(1, period/(24*60)))) {
				return
			}
		}
	case patternWeek:
		week := p.first.AddDate(0, 0, -((int(p.first.Weekday()) - p.firstDay + 7) % 7))
		for i := range most {
			for d := range 7 {
				day := week.AddDate(0, 0, 7*period*i+d)
				if !day.Before(p.first) && p.weekdays&(1<<int(day.Weekday())) != 0 && !yield(day) {
					return
				}
			}
		}
	default:
		month := time.Date(p.first.Year(), p.first.Month(), 1, 0, 0, 0, 0, time.UTC)
		for i := range most {
			if day := p.inMonth(month.AddDate(0, i*period, 0)); !day.Before(p.first) && !yield(day) {
				return
			}
		}
	}
}

// inMonth returns the day of the series in a month.
func (p *recurrence) inMonth(month time.Time) time.Time {
	last := month.AddDate(0, 1, -1).Day()
	if p.pattern&^patternHijri != patternNth {
		return month.AddDate(0, 0, min(max(1, p.day), last)-1)
	}
	var found time.Time
	n := 0
	for d := range last {
		if day := month.AddDate(0, 0, d); p.weekdays&(1<<int(day.Weekday())) != 0 {
			if n++; n <= p.nth {
				found = day
			}
		}
	}
	return found
}

// occurrence returns the day of the nth occurrence.
func (p *recurrence) occurrence(n int) (day time.Time) {
	for d := range p.days {
		day = d
		if n--; n <= 0 {
			break
		}
	}
	return day
}

// countTo returns how many occurrences there are to a day.
func (p *recurrence) countTo(last time.Time) (n int) {
	for d := range p.days {
		if d.After(last) || n >= maxOccurrences {
			break
		}
		n++
	}
	return n
}

// toMinutes is the inverse of minutesTime.
func toMinutes(t time.Time) uint32 { return uint32((t.Unix() + epochSeconds) / 60) }

// encode returns the RecurrencePattern, the inverse of parseRecurrence.
func (p *recurrence) encode(appointment bool) []byte {
	le := binary.LittleEndian
	var b []byte
	u16 := func(n int) { b = le.AppendUint16(b, uint16(n)) }
	u32 := func(n int) { b = le.AppendUint32(b, uint32(n)) }
	day := func(t time.Time) { b = le.AppendUint32(b, toMinutes(t.Truncate(24*time.Hour))) }
	u16(0x3004)
	u16(0x3004)
	u16(p.frequency)
	u16(p.pattern)
	u16(p.calendar)
	u32(p.phase())
	u32(p.period)
	u32(0) // it does not slide
	switch p.pattern &^ patternHijri {
	case patternWeek:
		u32(p.weekdays)
	case patternMonth, patternMonthEnd:
		u32(p.day)
	case patternNth:
		u32(p.weekdays)
		u32(p.nth)
	}
	u32(p.end)
	u32(p.count)
	u32(p.firstDay)
	for _, list := range [][]time.Time{p.deleted, p.changed} {
		u32(len(list))
		for _, t := range list {
			day(t)
		}
	}
	day(p.first)
	if p.end == endByDate || p.end == endCount {
		day(p.last)
	} else {
		u32(0x5AE980DF)
	}
	if !appointment {
		return b
	}
	u32(0x3006)
	u32(0x3009)
	u32(int(p.start / time.Minute))
	u32(int(p.finish / time.Minute))
	return p.appendExceptions(b)
}

// phase returns FirstDateTime: where in its period the series begins ([MS-OXOCAL]
// 2.2.1.44.1).
func (p *recurrence) phase() int {
	start, period := int(toMinutes(p.first)), max(1, p.period)
	switch p.pattern &^ patternHijri {
	case patternDay:
		return start % period
	case patternWeek:
		week := start - (int(p.first.Weekday())-p.firstDay+7)%7*24*60
		return week % (period * 7 * 24 * 60)
	}
	months := ((p.first.Year()-1601)*12 + int(p.first.Month()) - 1) % period
	return int(toMinutes(time.Date(1601, time.Month(1+months), 1, 0, 0, 0, 0, time.UTC)))
}

// appendExceptions appends the changed occurrences, in both forms.
func (p *recurrence) appendExceptions(b []byte) []byte {
	le := binary.LittleEndian
	times := func(b []byte, e *exception) []byte {
		for _, t := range []time.Time{e.start, e.end, e.original} {
			b = le.AppendUint32(b, toMinutes(t))
		}
		return b
	}
	b = le.AppendUint16(b, uint16(len(p.exceptions)))
	for i := range p.exceptions {
		e := &p.exceptions[i]
		b = times(b, e)
		at, flags := len(b), 0
		b = le.AppendUint16(b, 0)
		if e.subject != nil {
			flags |= overSubject
			b = appendCounted(b, *e.subject)
		}
		if e.location != nil {
			flags |= overLocation
			b = appendCounted(b, *e.location)
		}
		if e.busy != nil {
			flags |= overBusy
			b = le.AppendUint32(b, uint32(*e.busy))
		}
		if e.allDay {
			flags |= overAllDay
			b = le.AppendUint32(b, 1)
		}
		if e.body {
			flags |= overBody
		}
		le.PutUint16(b[at:], uint16(flags))
	}
	b = le.AppendUint32(b, 0)
	for i := range p.exceptions {
		e := &p.exceptions[i]
		b = le.AppendUint32(le.AppendUint32(b, 4), 0) // ChangeHighlight
		b = le.AppendUint32(b, 0)
		if e.subject == nil && e.location == nil {
			continue
		}
		b = times(b, e)
		for _, s := range []*string{e.subject, e.location} {
			if s != nil {
				units := utf16.Encode([]rune(*s))
				units = units[:min(len(units), 0x7FFF)]
				b = le.AppendUint16(b, uint16(len(units)))
				for _, u := range units {
					b = le.AppendUint16(b, u)
				}
			}
		}
		b = le.AppendUint32(b, 0)
	}
	return le.AppendUint32(b, 0)
}

// appendCounted appends 8-bit text; what is not ASCII is in the other form.
func appendCounted(b []byte, s string) []byte {
	var text []byte
	for _, r := range s {
		if r > 0x7E {
			r = '?'
		}
		text = append(text, byte(r))
	}
	text = text[:min(len(text), 0x7FFF)]
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)+1))
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(text))), text...)
}
