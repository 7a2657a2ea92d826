package message

import (
	"strconv"
	"strings"
	"time"

	"expost/internal/mail"
)

// ParseDate reads the date of a Date field (RFC 5322 §3.3) with the time and
// zone it was written in. It takes the obsolete forms (§4.3: comments, two- and
// three-digit years, missing seconds, named zones) and those of asctime, ISO
// 8601 and programs that mix them. An unknown or missing zone is UTC. What has
// no day, month and year is an error of mail.KindInvalid.
func ParseDate(s string) (time.Time, error) {
	const longest = 256
	var d date
	if len(s) <= longest {
		for _, word := range dateWords(s) {
			d.word(word)
		}
	}
	t, ok := d.time()
	if !ok {
		return time.Time{}, mail.Errorf(mail.KindInvalid, "%.64q is not a date", s)
	}
	return t, nil
}

// dateWords cuts s at spaces and commas, without its comments and the spaces
// that the obsolete syntax allows in a time.
func dateWords(s string) []string {
	if i := strings.IndexByte(s, '('); i >= 0 {
		var b strings.Builder
		for ; i >= 0; i = strings.IndexByte(s, '(') {
			b.WriteString(s[:i])
			b.WriteByte(' ')
			s = s[skipComment(s, i):]
		}
		b.WriteString(s)
		s = b.String()
	}
	if strings.Contains(s, " :") || strings.Contains(s, ": ") {
		f := strings.Split(s, ":")
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		s = strings.Join(f, ":")
	}
	return strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == ',' || r == '"' || r == 0xa0 })
}

// date collects what the words of a date say. Zero day or month: not known.
type date struct {
	day, month, year     int
	hour, minute, second int
	offset               int // seconds east of UTC
	haveYear, haveTime   bool
	haveZone             bool
}

// word takes the next word.
func (d *date) word(w string) {
	switch c := w[0]; {
	case c == '+' || c == '-':
		if d.haveTime {
			d.zone(w)
		}
	case strings.Contains(w, ":"):
		d.timeWord(w)
	case '0' <= c && c <= '9':
		d.number(w)
	default:
		d.name(w)
	}
}

// timeWord takes "10:11:12", perhaps with a date before ("2004-03-12T10:11"),
// and a fraction, zone or "PM" behind.
func (d *date) timeWord(w string) {
	if before, after, ok := strings.Cut(w, "T"); ok && strings.Count(before, "-") == 2 {
		d.number(before)
		w = after
	}
	var fields [3]int
	n := 0
	for n < len(fields) {
		v, rest, ok := leadingNumber(w)
		if !ok {
			break
		}
		fields[n] = v
		n++
		w = rest
		if w == "" || w[0] != ':' || n == len(fields) {
			break
		}
		w = w[1:]
	}
	if n < 2 || d.haveTime {
		return
	}
	d.hour, d.minute, d.second, d.haveTime = fields[0], fields[1], fields[2], true
	if w != "" && (w[0] == '.' || w[0] == ',') {
		w = strings.TrimLeft(w[1:], "0123456789")
	}
	if w = strings.ReplaceAll(w, ":", ""); w != "" {
		d.word(w)
	}
}

// leadingNumber returns the number w begins with, of at most 6 digits.
func leadingNumber(w string) (int, string, bool) {
	i := 0
	for i < len(w) && i < 6 && '0' <= w[i] && w[i] <= '9' {
		i++
	}
	n, err := strconv.Atoi(w[:i])
	return n, w[i:], err == nil
}

// number takes a day, a year, "12-Mar-2004", "2004-03-12" or "12/3/04".
func (d *date) number(w string) {
	n, rest, ok := leadingNumber(w)
	switch {
	case !ok:
		return
	case rest != "" && strings.IndexByte("-/.", rest[0]) >= 0 && len(rest) > 1:
		d.joined(w)
		return
	case rest != "" && rest != "." && d.day != 0: // "2004GMT" and the like
		d.setYear(n, len(w)-len(rest))
	case d.day == 0 && n >= 1 && n <= 31:
		d.day = n
	case !d.haveYear:
		d.setYear(n, len(w)-len(rest))
	case d.haveTime && !d.haveZone && len(w) == 4: // a zone without its sign
		d.zone("+" + w)
	}
}

// joined takes a date in one word.
func (d *date) joined(w string) {
	f := strings.FieldsFunc(w, func(r rune) bool { return r == '-' || r == '/' || r == '.' })
	if len(f) < 3 || d.day != 0 {
		return
	}
	if len(f[0]) == 4 { // year first
		f[0], f[2] = f[2], f[0]
	}
	day, _, ok := leadingNumber(f[0])
	year, rest, ok2 := leadingNumber(f[2])
	if !ok || !ok2 {
		return
	}
	d.day = day
	d.setYear(year, len(f[2])-len(rest))
	if n, _, ok := leadingNumber(f[1]); ok {
		d.month = n
	} else {
		d.month = monthByName(f[1])
	}
}

// setYear sets a year of so many digits (RFC 5322 §4.3).
func (d *date) setYear(n, digits int) {
	switch {
	case digits <= 2 && n < 50:
		n += 2000
	case digits <= 3:
		n += 1900
	}
	d.year, d.haveYear = n, true
}

// name takes a month, a zone, "PM", or a day of the week, which is not needed.
func (d *date) name(w string) {
	upper := strings.ToUpper(strings.TrimRight(w, "."))
	if upper == "PM" || upper == "AM" {
		if d.hour == 12 {
			d.hour = 0
		}
		if upper == "PM" && d.hour < 12 {
			d.hour += 12
		}
		return
	}
	if m := monthByName(w); m != 0 && d.month == 0 {
		d.month = m
		return
	}
	if !d.haveTime || d.haveZone {
		return
	}
	base := strings.TrimRight(upper, "+-0123456789") // "GMT+0200"
	if minutes, ok := zoneByName(base); ok {
		d.offset, d.haveZone = minutes*60, true
		if rest := upper[len(base):]; rest != "" {
			d.zone(rest)
		}
	}
}

// monthByName returns the month, 1..12, of a name or its first three letters.
func monthByName(w string) int {
	if len(w) < 3 {
		return 0
	}
	i := strings.Index("janfebmaraprmayjunjulaugsepoctnovdec", strings.ToLower(w[:3]))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return i/3 + 1
}

// zone takes "+0530", "-8" or "+05:30".
func (d *date) zone(w string) {
	digits := strings.ReplaceAll(w[1:], ":", "")
	n, _, ok := leadingNumber(digits)
	if !ok {
		return
	}
	if len(digits) <= 2 {
		n *= 100
	}
	if hours, minutes := n/100, n%100; hours < 24 && minutes < 60 {
		d.offset = (hours*60 + minutes) * 60
		if w[0] == '-' {
			d.offset = -d.offset
		}
	}
	d.haveZone = true
}

// zoneByName returns the minutes east of UTC of a zone: those of RFC 5322 §4.3,
// where the military ones count for nothing, and what else programs write.
func zoneByName(name string) (int, bool) {
	switch name {
	case "UT", "UTC", "GMT", "Z", "WET":
		return 0, true
	case "EDT":
		return -4 * 60, true
	case "EST", "CDT":
		return -5 * 60, true
	case "CST", "MDT":
		return -6 * 60, true
	case "MST", "PDT":
		return -7 * 60, true
	case "PST":
		return -8 * 60, true
	case "CET", "MET", "MEZ", "BST", "WEST":
		return 60, true
	case "CEST", "MEST", "MESZ", "EET", "SAST":
		return 2 * 60, true
	case "EEST", "MSK":
		return 3 * 60, true
	case "MSD":
		return 4 * 60, true
	case "IST": // of India
		return 5*60 + 30, true
	case "HKT", "SGT", "AWST":
		return 8 * 60, true
	case "JST", "KST":
		return 9 * 60, true
	case "AEST":
		return 10 * 60, true
	case "AEDT":
		return 11 * 60, true
	case "NZST":
		return 12 * 60, true
	case "NZDT":
		return 13 * 60, true
	}
	return 0, len(name) == 1
}

// time returns the date, false where it is none.
func (d *date) time() (time.Time, bool) {
	if d.day < 1 || d.day > 31 || d.month < 1 || d.month > 12 || !d.haveYear || d.year < 1 || d.year > 9999 ||
		d.hour > 24 || d.minute > 59 || d.second > 60 {
		return time.Time{}, false
	}
	zone := time.UTC
	if d.offset != 0 {
		zone = time.FixedZone("", d.offset)
	}
	t := time.Date(d.year, time.Month(d.month), d.day, d.hour, d.minute, d.second, 0, zone)
	return t, true
}
