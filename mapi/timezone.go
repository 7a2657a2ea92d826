package mapi

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
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
