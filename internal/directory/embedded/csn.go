package embedded

import (
	"fmt"
	"strings"
	"time"
)

// csnClock makes change sequence numbers: each later, as text, than all before
// it, whatever the clock does. The writer alone uses it.
type csnClock struct {
	last    time.Time // to the microsecond
	counter uint32
}

// csnLayout is the time of a CSN; behind it stand count, server and count.
const csnLayout = "20060102150405.000000Z"

// next returns the CSN of a change made now.
func (c *csnClock) next(now time.Time) string {
	now = now.UTC().Truncate(time.Microsecond)
	if now.After(c.last) {
		c.last, c.counter = now, 0
	} else if c.counter++; c.counter > 0xffffff {
		c.last, c.counter = c.last.Add(time.Microsecond), 0
	}
	return fmt.Sprintf("%s#%06x#000#000000", c.last.Format(csnLayout), c.counter)
}

// see makes the numbers that follow later than csn, which may be no CSN.
func (c *csnClock) see(csn string) {
	text, rest, _ := strings.Cut(csn, "#")
	at, err := time.Parse(csnLayout, text)
	if err != nil {
		return
	}
	var counter uint32
	if _, err := fmt.Sscanf(rest, "%06x", &counter); err != nil {
		return
	}
	if at.After(c.last) || at.Equal(c.last) && counter > c.counter {
		c.last, c.counter = at, counter
	}
}
