package mapi

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// zone is a time zone as Windows keeps one: rules by year ([MS-OXOCAL]
// 2.2.1.41).
type zone struct {
	name  string
	rules []zoneRule // by year, one at least
}

// zoneRule is a rule from a year on.
type zoneRule struct {
	year              int
	bias, std, dst    int // minutes west of UTC; std and dst are added to bias
	toStd, toDaylight transition
}

// transition is a SYSTEMTIME that says when a change is: the day-th weekday of
// the month, 5 the last, or where it has a year, a date. A month of 0 is none.
type transition struct {
	year, month, weekday, day int
	at                        time.Duration // of the day
}

func readTransition(b []byte) transition {
	n := func(i int) int { return int(binary.LittleEndian.Uint16(b[2*i:])) }
	t := transition{n(0), n(1), n(2), n(3), time.Duration(n(4)%24)*time.Hour + time.Duration(n(5)%60)*time.Minute + time.Duration(n(6)%60)*time.Second}
	if t.month > 12 || t.weekday > 6 || t.day > 31 || t.month > 0 && t.day == 0 {
		return transition{}
	}
	return t
}

// parseZoneDefinition reads a PidLidAppointmentTimeZoneDefinition… ([MS-OXOCAL]
// 2.2.1.41).
func parseZoneDefinition(b []byte) *zone {
	le := binary.LittleEndian
	if len(b) < 8 || b[0] != 2 {
		return nil
	}
	head := int(le.Uint16(b[2:])) + 4
	if head > len(b) || head < 8 {
		return nil
	}
	n := 2 * int(le.Uint16(b[6:]))
	if 8+n+2 > len(b) {
		return nil
	}
	z := &zone{name: wideText(b[8 : 8+n])}
	const size = 66
	for b = b[head:]; len(b) >= size; b = b[size:] {
		z.rules = append(z.rules, zoneRule{int(le.Uint16(b[6:])), int(int32(le.Uint32(b[22:]))), int(int32(le.Uint32(b[26:]))), int(int32(le.Uint32(b[30:]))),
			readTransition(b[34:]), readTransition(b[50:])})
		if len(z.rules) > 500 {
			break
		}
	}
	return z.sane()
}

// parseZoneStruct reads a PidLidTimeZoneStruct ([MS-OXOCAL] 2.2.1.39).
func parseZoneStruct(b []byte, name string) *zone {
	if len(b) < 48 {
		return nil
	}
	le := binary.LittleEndian
	n := func(i int) int { return int(int32(le.Uint32(b[i:]))) }
	r := zoneRule{0, n(0), n(4), n(8), readTransition(b[14:]), readTransition(b[32:])}
	return (&zone{name, []zoneRule{r}}).sane()
}

// sane returns nil for what no time zone can be.
func (z *zone) sane() *zone {
	for _, r := range z.rules {
		for _, m := range []int{r.bias, r.bias + r.std, r.bias + r.dst} {
			if m < -24*60 || m > 24*60 {
				return nil
			}
		}
	}
	if len(z.rules) == 0 {
		return nil
	}
	for i := 1; i < len(z.rules); i++ {
		if z.rules[i].year < z.rules[i-1].year {
			z.rules = z.rules[:i]
		}
	}
	if z.name = strings.TrimSpace(strings.Trim(z.name, "\x00")); z.name == "" {
		z.name = fmt.Sprintf("UTC%s", offsetText(-z.rules[0].bias))
	}
	return z
}

// rule returns the rule of a year.
func (z *zone) rule(year int) zoneRule {
	r := z.rules[0]
	for _, next := range z.rules[1:] {
		if next.year <= year {
			r = next
		}
	}
	return r
}

// in returns when the change is in a year, as local time before it (labelled
// UTC), and false where there is none.
func (t transition) in(year int) (time.Time, bool) {
	switch {
	case t.month == 0 || t.year != 0 && t.year != year:
		return time.Time{}, false
	case t.year != 0:
		return time.Date(year, time.Month(t.month), t.day, 0, 0, 0, 0, time.UTC).Add(t.at), true
	}
	first := time.Date(year, time.Month(t.month), 1, 0, 0, 0, 0, time.UTC)
	day := first.AddDate(0, 0, (t.weekday-int(first.Weekday())+7)%7+7*(min(t.day, 5)-1))
	for day.Month() != first.Month() {
		day = day.AddDate(0, 0, -7)
	}
	return day.Add(t.at), true
}

// daylight tells whether daylight time holds at an instant.
func (r zoneRule) daylight(utc time.Time) bool {
	year := utc.Add(-time.Duration(r.bias) * time.Minute).Year()
	on, ok1 := r.toDaylight.in(year)
	off, ok2 := r.toStd.in(year)
	if !ok1 || !ok2 {
		return false
	}
	on = on.Add(time.Duration(r.bias+r.std) * time.Minute)   // local standard time
	off = off.Add(time.Duration(r.bias+r.dst) * time.Minute) // local daylight time
	if on.Before(off) {
		return !utc.Before(on) && utc.Before(off)
	}
	return !utc.Before(on) || utc.Before(off)
}

// offset returns the minutes east of UTC at an instant.
func (z *zone) offset(utc time.Time) int {
	r := z.rule(utc.Year())
	if r.daylight(utc) {
		return -(r.bias + r.dst)
	}
	return -(r.bias + r.std)
}

// local returns an instant as local time, labelled UTC.
func (z *zone) local(utc time.Time) time.Time {
	return utc.Add(time.Duration(z.offset(utc)) * time.Minute)
}

// utc is the inverse of local.
func (z *zone) utc(local time.Time) time.Time {
	t := local.Add(-time.Duration(z.offset(local)) * time.Minute)
	return local.Add(-time.Duration(z.offset(t)) * time.Minute)
}

func offsetText(minutes int) string {
	sign := '+'
	if minutes < 0 {
		sign, minutes = '-', -minutes
	}
	return fmt.Sprintf("%c%02d%02d", sign, minutes/60, minutes%60)
}

// write adds the VTIMEZONE (RFC 5545 §3.6.5).
func (z *zone) write(l *lines) {
	l.raw("BEGIN", "", "VTIMEZONE")
	l.text("TZID", "", z.name)
	for i, r := range z.rules {
		from, until := r.year, 0
		if i+1 < len(z.rules) {
			until = z.rules[i+1].year
		}
		if i == 0 {
			from = 1601
		}
		if until > 0 && until <= from {
			continue
		}
		std, dst := -(r.bias + r.std), -(r.bias + r.dst)
		_, ok1 := r.toDaylight.in(max(from, r.toDaylight.year))
		_, ok2 := r.toStd.in(max(from, r.toStd.year))
		if !ok1 || !ok2 {
			zonePart(l, "STANDARD", transition{month: 1, day: 1, year: from}, [2]int{from, 0}, std, std)
			continue
		}
		zonePart(l, "STANDARD", r.toStd, [2]int{from, until}, dst, std)
		zonePart(l, "DAYLIGHT", r.toDaylight, [2]int{from, until}, std, dst)
	}
	l.raw("END", "", "VTIMEZONE")
}

// zonePart adds a STANDARD or DAYLIGHT that holds from the first of the years to
// before the second, for ever where that is 0.
func zonePart(l *lines, kind string, t transition, years [2]int, before, after int) {
	from, until := years[0], years[1]
	start, _ := t.in(max(from, t.year))
	l.raw("BEGIN", "", kind)
	l.raw("DTSTART", "", start.Format(localLayout))
	l.raw("TZOFFSETFROM", "", offsetText(before))
	l.raw("TZOFFSETTO", "", offsetText(after))
	if t.year == 0 {
		n := min(t.day, 5)
		if n == 5 {
			n = -1
		}
		rule := fmt.Sprintf("FREQ=YEARLY;BYDAY=%d%s;BYMONTH=%d", n, weekdays[t.weekday], t.month)
		if until > 0 {
			last, _ := t.in(until - 1)
			rule += ";UNTIL=" + last.Add(-time.Duration(before)*time.Minute).Format(stampLayout)
		}
		l.raw("RRULE", "", rule)
	}
	l.raw("END", "", kind)
}

var weekdays = [7]string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}

// parseVTimezone reads a VTIMEZONE, the inverse of write; nil where it has no rules.
func parseVTimezone(c *component) *zone {
	z := &zone{name: c.text("TZID")}
	years := []int{}
	for _, d := range c.below {
		if m, ok := d.moment("DTSTART"); ok && !slices.Contains(years, m.Year()) && len(years) < 500 {
			years = append(years, m.Year())
		}
	}
	slices.Sort(years)
	for _, year := range years {
		r := zoneRule{year: year}
		offsets := map[string]int{}
		for _, d := range c.below {
			m, ok := d.moment("DTSTART")
			until := parseUntil(d.raw("RRULE"))
			if !ok || m.Year() > year || until != 0 && until < year || d.name == "DAYLIGHT" && d.raw("RRULE") == "" && m.Year() != year {
				continue
			}
			offset, ok := parseOffset(d.raw("TZOFFSETTO"))
			if !ok {
				continue
			}
			offsets[d.name] = offset
			if t := parseTransition(d, m.Time); d.name == "DAYLIGHT" {
				r.toDaylight = t
			} else {
				r.toStd = t
			}
		}
		std, ok := offsets["STANDARD"]
		dst, both := offsets["DAYLIGHT"]
		if !ok {
			std = dst
		}
		r.bias = -std
		if both {
			r.dst = std - dst
		}
		if !ok || !both {
			r.toStd, r.toDaylight = transition{}, transition{}
		}
		z.rules = append(z.rules, r)
	}
	return z.sane()
}

func parseUntil(rule string) int {
	_, rest, ok := strings.Cut(rule, "UNTIL=")
	if !ok || len(rest) < 4 {
		return 0
	}
	n, _ := strconv.Atoi(rest[:4]) // 0 where it is no number
	return n
}

// parseOffset returns minutes east of UTC.
func parseOffset(s string) (int, bool) {
	if len(s) < 5 {
		return 0, false
	}
	h, err1 := strconv.Atoi(s[1:3])
	m, err2 := strconv.Atoi(s[3:5])
	if err1 != nil || err2 != nil {
		return 0, false
	}
	if s[0] == '-' {
		return -(60*h + m), true
	}
	return 60*h + m, true
}

// parseTransition returns when the change is that a STANDARD or DAYLIGHT begins
// with.
func parseTransition(c *component, start time.Time) transition {
	t := transition{month: int(start.Month()), at: start.Sub(start.Truncate(24 * time.Hour))}
	for part := range strings.SplitSeq(c.raw("RRULE"), ";") {
		key, value, _ := strings.Cut(part, "=")
		switch {
		case key == "BYMONTH":
			if n, err := strconv.Atoi(value); err == nil && n >= 1 && n <= 12 {
				t.month = n
			}
		case key == "BYDAY" && len(value) > 2:
			n, err := strconv.Atoi(value[:len(value)-2])
			if i := slices.Index(weekdays[:], value[len(value)-2:]); i >= 0 && err == nil {
				if n < 0 || n > 5 {
					n = 5
				}
				t.weekday, t.day = i, n
			}
		}
	}
	if t.day == 0 { // once
		t.year, t.day = start.Year(), start.Day()
	}
	return t
}

// append appends a SYSTEMTIME.
func (t transition) append(b []byte) []byte {
	at := t.at
	for _, n := range []int{t.year, t.month, t.weekday, t.day, int(at / time.Hour), int(at / time.Minute % 60), int(at / time.Second % 60), 0} {
		b = binary.LittleEndian.AppendUint16(b, uint16(n))
	}
	return b
}

// definition is the inverse of parseZoneDefinition.
func (z *zone) definition() []byte {
	le := binary.LittleEndian
	units := utf16.Encode([]rune(z.name))
	b := []byte{2, 1}
	b = le.AppendUint16(b, uint16(6+2*len(units)))
	b = le.AppendUint16(b, 2) // the name is there
	b = le.AppendUint16(b, uint16(len(units)))
	for _, u := range units {
		b = le.AppendUint16(b, u)
	}
	b = le.AppendUint16(b, uint16(len(z.rules)))
	for i, r := range z.rules {
		b = append(b, 2, 1)
		b = le.AppendUint16(b, 0x3E)
		flags := uint16(0)
		if i == len(z.rules)-1 {
			flags = 2 // in effect
		}
		b = le.AppendUint16(b, flags)
		b = le.AppendUint16(b, uint16(r.year))
		b = append(b, make([]byte, 14)...)
		for _, n := range []int{r.bias, r.std, r.dst} {
			b = le.AppendUint32(b, uint32(int32(n)))
		}
		b = r.toDaylight.append(r.toStd.append(b))
	}
	return b
}

// structure is the inverse of parseZoneStruct, of the rule that holds last.
func (z *zone) structure() []byte {
	r := z.rules[len(z.rules)-1]
	var b []byte
	for _, n := range []int{r.bias, r.std, r.dst} {
		b = binary.LittleEndian.AppendUint32(b, uint32(int32(n)))
	}
	b = r.toStd.append(append(b, 0, 0))
	return r.toDaylight.append(append(b, 0, 0))
}
