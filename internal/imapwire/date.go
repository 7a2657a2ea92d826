package imapwire

import (
	"strconv"
	"strings"
	"time"

	"expost/internal/mail"
)

// Day is a calendar day: days since 1970-01-01.
type Day int32

// DayOf returns the day of d in d's own zone (RFC 9051 §6.4.4: SEARCH
// disregards time and zone).
func DayOf(d mail.Date) Day {
	s := d.Unix + int64(d.Offset)*60
	if s < 0 {
		s -= 86399
	}
	return Day(s / 86400)
}

// months are the names of the months, as IMAP writes them.
const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// month returns the number of a month's name, or 0.
func month(name string) time.Month {
	if len(name) != 3 {
		return 0
	}
	name = strings.ToUpper(name[:1]) + strings.ToLower(name[1:])
	if i := strings.Index(months, name); i >= 0 && i%3 == 0 {
		return time.Month(i/3 + 1)
	}
	return 0
}

// Date reads a date: 1-Feb-1994, quoted or not.
func (d *Decoder) Date() Day {
	quoted := d.Try('"')
	day, mon, year := d.dayMonthYear()
	if quoted {
		d.Expect('"')
	}
	return Day(time.Date(year, mon, day, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// dayMonthYear reads the common start of date and date-time.
func (d *Decoder) dayMonthYear() (day int, mon time.Month, year int) {
	at := d.off
	d.Try(' ')
	day = d.digits(1, 2)
	d.Expect('-')
	mon = month(string(d.take(func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' })))
	d.Expect('-')
	year = d.digits(4, 4)
	if d.err == nil && (mon == 0 || day < 1 || day > daysIn(mon, year)) {
		d.off = at
		d.Fail("expected a date such as 1-Feb-1994")
	}
	return day, mon, year
}

// daysIn returns the number of days of a month.
func daysIn(m time.Month, year int) int {
	return time.Date(year, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// digits reads a number of low to high digits.
func (d *Decoder) digits(low, high int) int {
	b := d.take(func(c byte) bool { return c >= '0' && c <= '9' })
	if len(b) < low || len(b) > high {
		d.Fail("expected a number of " + strconv.Itoa(high) + " digits")
		return 0
	}
	n := 0
	for _, c := range b {
		n = n*10 + int(c-'0')
	}
	return n
}

// DateTime reads a date-time: " 1-Feb-1994 21:52:25 -0800" in quotes. The zone
// is kept.
func (d *Decoder) DateTime() mail.Date {
	d.Expect('"')
	day, mon, year := d.dayMonthYear()
	d.Expect(' ')
	h := d.digits(2, 2)
	d.Expect(':')
	m := d.digits(2, 2)
	d.Expect(':')
	s := d.digits(2, 2)
	d.Expect(' ')
	west := d.Try('-')
	if !west {
		d.Expect('+')
	}
	zone := d.digits(4, 4)
	d.Expect('"')
	if d.err == nil && (h > 23 || m > 59 || s > 60 || zone%100 > 59 || zone > 2359) {
		d.Fail("the date holds a time that does not exist")
	}
	offset := zone/100*60 + zone%100
	if west {
		offset = -offset
	}
	t := time.Date(year, mon, day, h, m, s, 0, time.UTC)
	return mail.Date{Unix: t.Unix() - int64(offset)*60, Offset: int16(offset)}
}

// AppendDateTime appends an INTERNALDATE in quotes, in its own zone.
func AppendDateTime(dst []byte, d mail.Date) []byte {
	t := time.Unix(d.Unix+int64(d.Offset)*60, 0).UTC()
	year, mon, day := t.Date()
	h, m, s := t.Clock()
	dst = append(dst, '"')
	if day < 10 {
		dst = append(dst, ' ', byte('0'+day))
	} else {
		dst = appendTwo(dst, day)
	}
	dst = append(dst, '-')
	dst = append(dst, months[(mon-1)*3:mon*3]...)
	dst = append(dst, '-')
	year = min(max(year, 0), 9999)
	dst = appendTwo(appendTwo(dst, year/100), year%100)
	dst = append(appendTwo(append(dst, ' '), h), ':')
	dst = append(appendTwo(dst, m), ':')
	dst = append(appendTwo(dst, s), ' ')
	zone := int(d.Offset)
	if zone < 0 {
		zone = -zone
		dst = append(dst, '-')
	} else {
		dst = append(dst, '+')
	}
	dst = appendTwo(appendTwo(dst, zone/60), zone%60)
	return append(dst, '"')
}

// appendTwo appends n as two digits.
func appendTwo(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10%10), byte('0'+n%10))
}
