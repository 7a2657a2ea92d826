package mapi

import "time"

const (
	ticksPerSecond = 10_000_000
	epochSeconds   = 11_644_473_600 // from 1601 to 1970
	noneMinutes    = 0x5AE980E0     // 4501-01-01, which Outlook writes for "no date", in minutes since 1601
)

// Time returns the time in UTC, and false where t stands for none: zero, 4501
// and later, or a value beyond all years that mail has.
func (t Time) Time() (time.Time, bool) {
	if t == 0 || uint64(t) >= noneMinutes*60*ticksPerSecond {
		return time.Time{}, false
	}
	s := int64(t / ticksPerSecond)
	return time.Unix(s-epochSeconds, int64(t%ticksPerSecond)*100).UTC(), true
}

// TimeOf is the inverse of Time.Time; times before 1601 are zero.
func TimeOf(t time.Time) Time {
	s := t.Unix() + epochSeconds
	if s < 0 {
		return 0
	}
	return Time(s*ticksPerSecond + int64(t.Nanosecond()/100))
}
