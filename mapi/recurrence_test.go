package mapi

import (
	"encoding/binary"
	"testing"
	"time"
)

// minutesOf is the inverse of minutesTime.
func minutesOf(t time.Time) uint32 { return uint32((t.Unix() + epochSeconds) / 60) }

// patternBytes makes a RecurrencePattern.
func patternBytes(frequency, pattern uint16, period uint32, specific []uint32, end, count uint32, deleted []time.Time, first, last time.Time) []byte {
	le := binary.LittleEndian
	b := []byte{4, 0x30, 4, 0x30}
	b = le.AppendUint16(b, frequency)
	b = le.AppendUint16(b, pattern)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, period)
	b = le.AppendUint32(b, 0)
	for _, n := range specific {
		b = le.AppendUint32(b, n)
	}
	b = le.AppendUint32(b, end)
	b = le.AppendUint32(b, count)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint32(b, uint32(len(deleted)))
	for _, d := range deleted {
		b = le.AppendUint32(b, minutesOf(d))
	}
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, minutesOf(first))
	return le.AppendUint32(b, minutesOf(last))
}

func TestRecurrenceRule(t *testing.T) {
	t.Parallel()
	first, last := time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		frequency, pattern uint16
		period             uint32
		specific           []uint32
		end                uint32
		want               string
	}{
		{freqDaily, patternDay, 2 * 1440, nil, endCount, "FREQ=DAILY;INTERVAL=2;COUNT=7"},
		{freqDaily, patternWeek, 1, []uint32{0x3E}, 0x2023, "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;WKST=MO"},
		{freqMonthly, patternMonth, 1, []uint32{31}, 0x2023, "FREQ=MONTHLY;BYMONTHDAY=-1"},
		{freqMonthly, patternMonth, 3, []uint32{15}, endByDate, "FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=15;UNTIL=20300101"},
		{freqMonthly, patternNth, 1, []uint32{1 << 2, 5}, 0x2023, "FREQ=MONTHLY;BYDAY=TU;BYSETPOS=-1"},
		{freqYearly, patternMonth, 12, []uint32{29}, 0x2023, "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=28,29;BYSETPOS=-1"},
		{freqYearly, patternNth, 24, []uint32{0x7F, 1}, 0x2023, "FREQ=YEARLY;BYMONTH=2;INTERVAL=2;BYDAY=SU,MO,TU,WE,TH,FR,SA;BYSETPOS=1"},
		{freqMonthly, patternMonth | patternHijri, 1, []uint32{10}, 0x2023, "RSCALE=ISLAMIC-CIVIL;FREQ=MONTHLY;BYMONTHDAY=10"},
	} {
		p, err := parseRecurrence(patternBytes(tt.frequency, tt.pattern, tt.period, tt.specific, tt.end, 7, []time.Time{first}, first, last), false, 0)
		if err != nil {
			t.Errorf("%s: %v", tt.want, err)
			continue
		}
		if got := p.rule(func(d time.Time) string { return d.Format(dateLayout) }); got != tt.want {
			t.Errorf("rule is %s, want %s", got, tt.want)
		}
		if r := p.removed(); len(r) != 1 || !r[0].Equal(first) {
			t.Errorf("removed %v", r)
		}
	}
}

func TestZone(t *testing.T) {
	t.Parallel()
	// Berlin: standard time from the last Sunday of October at 3, daylight time from the last of March at 2.
	z := &zone{"W. Europe Standard Time", []zoneRule{{0, -60, 0, -60, transition{0, 10, 0, 5, 3 * time.Hour}, transition{0, 3, 0, 5, 2 * time.Hour}}}}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	for at := time.Date(2023, 1, 1, 0, 30, 0, 0, time.UTC); at.Year() < 2025; at = at.Add(time.Hour) {
		_, off := at.In(berlin).Zone()
		if got := z.offset(at); got != off/60 {
			t.Fatalf("%v: offset %d, want %d", at, got, off/60)
		}
		if _, after := at.Add(2 * time.Hour).In(berlin).Zone(); after == off {
			if _, before := at.Add(-2 * time.Hour).In(berlin).Zone(); before == off && !z.utc(z.local(at)).Equal(at) {
				t.Fatalf("%v: there and back is %v", at, z.utc(z.local(at)))
			}
		}
	}
}

func FuzzRecurrence(f *testing.F) {
	day := time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)
	f.Add(patternBytes(freqYearly, patternNth, 12, []uint32{4, 5}, endCount, 3, []time.Time{day}, day, day))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parseRecurrence(b, true, 0); err == nil {
			if p.rule(func(time.Time) string { return "x" }) == "" {
				t.Error("no rule")
			}
			p.removed()
		}
	})
}

func FuzzZone(f *testing.F) {
	f.Add(make([]byte, 48))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, z := range []*zone{parseZoneDefinition(b), parseZoneStruct(b, "x")} {
			if z != nil {
				var l lines
				z.write(&l)
				z.utc(z.local(time.Unix(1e9, 0)))
			}
		}
	})
}

func FuzzEntryID(f *testing.F) {
	f.Add(append(append(make([]byte, 4), providerOneOff[:]...), "\x00\x00\x01\x90a\x00\x00\x00S\x00M\x00T\x00P\x00\x00\x00a\x00@\x00b\x00\x00\x00"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := ParseEntryID(b, 1252); ok && a.Email == "" {
			t.Error("an address without one")
		}
		entryList(b)
		memberStream(b)
		certificate(b)
	})
}
