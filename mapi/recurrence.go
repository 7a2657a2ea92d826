package mapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"expost/mapi/codepage"
)

// recurrence is a RecurrencePattern with what appointments add to it
// ([MS-OXOCAL] 2.2.1.44). Times are local, labelled UTC.
type recurrence struct {
	frequency, pattern, calendar int
	period, weekdays, day, nth   int
	end, count, firstDay         int
	deleted                      []time.Time // days, those that were changed among them
	changed                      []time.Time // days on which changed ones are now
	first, last                  time.Time
	start, finish                time.Duration // of the day
	exceptions                   []exception
}

// exception is a changed occurrence. What is not changed is nil.
type exception struct {
	start, end, original      time.Time
	subject, location         *string
	busy, reminder            *int
	reminderSet, allDay, body bool
}

// blob reads a binary structure. Beyond its end everything is zero, and bad is
// set.
type blob struct {
	b   []byte
	bad bool
}

func (r *blob) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *blob) u16() int {
	if b := r.bytes(2); b != nil {
		return int(binary.LittleEndian.Uint16(b))
	}
	return 0
}

func (r *blob) u32() int {
	if b := r.bytes(4); b != nil {
		return int(binary.LittleEndian.Uint32(b))
	}
	return 0
}

// minutes reads a time: minutes since 1601, local.
func (r *blob) minutes() time.Time { return minutesTime(r.u32()) }

func minutesTime(n int) time.Time {
	return time.Unix(int64(n)*60-epochSeconds, 0).UTC()
}

// The values of RecurFrequency, PatternType and EndType.
const (
	freqDaily   = 0x200A
	freqWeekly  = 0x200B
	freqMonthly = 0x200C
	freqYearly  = 0x200D

	patternDay      = 0
	patternWeek     = 1
	patternMonth    = 2
	patternNth      = 3
	patternMonthEnd = 4
	patternHijri    = 8 // added to those of months

	endByDate = 0x2021
	endCount  = 0x2022
)

// maxOccurrences bounds the lists of a recurrence.
const maxOccurrences = 20000

// parseRecurrence reads a RecurrencePattern, and where appointment is set the
// rest of an AppointmentRecurrencePattern; cp is the code page of its 8-bit text.
func parseRecurrence(b []byte, appointment bool, cp int) (*recurrence, error) {
	r := &blob{b: b}
	r.bytes(4) // versions of reader and writer
	p := &recurrence{frequency: r.u16(), pattern: r.u16(), calendar: r.u16()}
	r.u32() // FirstDateTime
	p.period = r.u32()
	r.u32() // SlidingFlag
	switch p.pattern &^ patternHijri {
	case patternDay:
	case patternWeek:
		p.weekdays = r.u32()
	case patternMonth, patternMonthEnd:
		p.day = r.u32()
	case patternNth:
		p.weekdays, p.nth = r.u32(), r.u32()
	default:
		return nil, fmt.Errorf("a recurrence has the pattern %#x", p.pattern)
	}
	p.end, p.count, p.firstDay = r.u32(), r.u32(), r.u32()
	p.deleted, p.changed = r.days(), r.days()
	p.first, p.last = r.minutes(), r.minutes()
	if r.bad || p.frequency < freqDaily || p.frequency > freqYearly {
		return nil, errors.New("a recurrence ends too early or is none")
	}
	if appointment {
		p.readExceptions(r, cp)
	}
	return p, nil
}

func (r *blob) days() []time.Time {
	n := r.u32()
	if n > maxOccurrences || 4*n > len(r.b) {
		r.bad = true
		return nil
	}
	out := make([]time.Time, n)
	for i := range out {
		out[i] = r.minutes()
	}
	return out
}

// The flags of an exception ([MS-OXOCAL] 2.2.1.44.2).
const (
	overSubject     = 1 << 0
	overMeetingType = 1 << 1
	overReminder    = 1 << 2
	overReminderSet = 1 << 3
	overLocation    = 1 << 4
	overBusy        = 1 << 5
	overAttachment  = 1 << 6
	overAllDay      = 1 << 7
	overColor       = 1 << 8
	overBody        = 1 << 9
)

// readExceptions reads what follows the pattern of an appointment. What is
// damaged ends it: the exceptions before stay.
func (p *recurrence) readExceptions(r *blob, cp int) {
	r.u32()
	writer := r.u32()
	p.start, p.finish = time.Duration(r.u32())*time.Minute, time.Duration(r.u32())*time.Minute
	n := r.u16()
	flags := make([]int, 0, min(n, maxOccurrences))
	for range n {
		e, f := readException(r, cp)
		if r.bad {
			return
		}
		p.exceptions, flags = append(p.exceptions, e), append(flags, f)
	}
	r.bytes(r.u32())
	for i := range p.exceptions { // ExtendedException: the text in Unicode
		if writer >= 0x3009 {
			r.bytes(r.u32())
		}
		r.bytes(r.u32())
		if flags[i]&(overSubject|overLocation) == 0 {
			continue
		}
		r.bytes(12)
		var subject, location *string
		if flags[i]&overSubject != 0 {
			subject = wide(r)
		}
		if flags[i]&overLocation != 0 {
			location = wide(r)
		}
		r.bytes(r.u32())
		if r.bad {
			return
		}
		if subject != nil {
			p.exceptions[i].subject = subject
		}
		if location != nil {
			p.exceptions[i].location = location
		}
	}
}

func wide(r *blob) *string {
	s := wideText(r.bytes(2 * r.u16()))
	return &s
}

func readException(r *blob, cp int) (exception, int) {
	e := exception{start: r.minutes(), end: r.minutes(), original: r.minutes()}
	f := r.u16()
	number := func(flag int) *int {
		if f&flag == 0 {
			return nil
		}
		n := int(int32(r.u32()))
		return &n
	}
	text := func(flag int) *string {
		if f&flag == 0 {
			return nil
		}
		r.u16()
		s := codepage.Decode(cp, r.bytes(r.u16()))
		return &s
	}
	e.subject = text(overSubject)
	number(overMeetingType)
	e.reminder = number(overReminder)
	if n := number(overReminderSet); n != nil {
		e.reminderSet = *n != 0
	}
	e.location = text(overLocation)
	e.busy = number(overBusy)
	number(overAttachment)
	if n := number(overAllDay); n != nil {
		e.allDay = *n != 0
	}
	number(overColor)
	e.body = f&overBody != 0
	return e, f
}

// rule returns the RRULE (RFC 5545 §3.3.10); until makes a value of the last
// day.
func (p *recurrence) rule(until func(day time.Time) string) string {
	period := max(1, p.period)
	var s []string
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	if p.pattern&patternHijri != 0 {
		add("RSCALE=ISLAMIC-CIVIL")
	}
	switch pattern := p.pattern &^ patternHijri; {
	case pattern == patternDay:
		add("FREQ=DAILY")
		period = max(1, period/(24*60))
	case pattern == patternWeek:
		add("FREQ=WEEKLY")
	case p.frequency == freqYearly && period%12 == 0:
		add("FREQ=YEARLY")
		period /= 12
		add("BYMONTH=%d", int(p.first.Month()))
	default:
		add("FREQ=MONTHLY")
	}
	if period > 1 {
		add("INTERVAL=%d", period)
	}
	switch p.pattern &^ patternHijri {
	case patternWeek:
		add("BYDAY=%s", dayNames(p.weekdays))
		if p.firstDay >= 0 && p.firstDay < 7 {
			add("WKST=%s", weekdays[p.firstDay])
		}
	case patternMonth:
		s = append(s, monthDay(p.day))
	case patternMonthEnd:
		add("BYMONTHDAY=-1")
	case patternNth:
		n := p.nth
		if n == 5 {
			n = -1
		}
		add("BYDAY=%s;BYSETPOS=%d", dayNames(p.weekdays), n)
	}
	switch p.end {
	case endByDate:
		add("UNTIL=%s", until(p.last))
	case endCount:
		add("COUNT=%d", max(1, p.count))
	}
	return strings.Join(s, ";")
}

// monthDay is a day of the month. In months that are shorter Outlook takes the
// last.
func monthDay(day int) string {
	switch {
	case day >= 31:
		return "BYMONTHDAY=-1"
	case day == 30:
		return "BYMONTHDAY=28,29,30;BYSETPOS=-1"
	case day == 29:
		return "BYMONTHDAY=28,29;BYSETPOS=-1"
	}
	return fmt.Sprintf("BYMONTHDAY=%d", max(1, day))
}

func dayNames(mask int) string {
	var out []string
	for i, name := range weekdays {
		if mask&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return "MO"
	}
	return strings.Join(out, ",")
}

// removed returns the days whose occurrences were deleted and not only changed.
func (p *recurrence) removed() []time.Time {
	changed := map[time.Time]bool{}
	for _, e := range p.exceptions {
		changed[e.original.Truncate(24*time.Hour)] = true
	}
	var out []time.Time
	for _, d := range p.deleted {
		if !changed[d.Truncate(24*time.Hour)] {
			out = append(out, d)
		}
	}
	return out
}
