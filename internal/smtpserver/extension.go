package smtpserver

import (
	"strconv"
	"strings"
	"time"

	"expost/internal/delivery"
	"expost/internal/queue"
)

// maxHold is how far ahead mail may be handed in (RFC 4865).
const maxHold = 30 * 24 * time.Hour

// maxBy is the largest number of BY, which has nine digits (RFC 2852 §4).
const maxBy = 999999999

// timing lists the extensions about when and how mail goes on.
func (c *conn) timing() []string {
	l := []string{"DELIVERBY", "MT-PRIORITY"}
	if c.tls != nil {
		l = append(l, "REQUIRETLS") // RFC 8689 §2: only over TLS
	}
	if c.cfg.Mode == Submission {
		l = append(l, "FUTURERELEASE "+strconv.Itoa(int(maxHold/time.Second))+" "+time.Now().Add(maxHold).UTC().Format(time.RFC3339))
	}
	return l
}

// timingParam puts a parameter of MAIL about when and how mail goes on into the
// envelope. known is false for any other.
func (c *conn) timingParam(env *delivery.Envelope, p param, now time.Time) (r reply, known bool) {
	bad := func(text string) (reply, bool) { return reply{code: 501, status: "5.5.4", text: text}, true }
	switch {
	case p.key == "REQUIRETLS" && p.value == "" && c.tls != nil:
		env.RequireTLS = true
	case p.key == "BY":
		by, ok := parseBy(p.value, now)
		if !ok {
			return bad("BY is a number of seconds, a semicolon and R or N (RFC 2852)")
		}
		env.By = by
	case p.key == "MT-PRIORITY":
		n, err := strconv.Atoi(p.value)
		if err != nil || n < -9 || n > 9 {
			return bad("MT-PRIORITY is a number from -9 to 9 (RFC 6710)")
		}
		if c.account == nil && !c.relays() && c.cfg.Mode == Receive {
			n = min(n, 0) // strangers do not go before others
		}
		env.Priority = n
	case p.key == "HOLDFOR" && c.cfg.Mode == Submission:
		n, err := strconv.ParseUint(p.value, 10, 32)
		if err != nil {
			return bad("HOLDFOR is a number of seconds (RFC 4865)")
		}
		return c.holdUntil(env, now.Add(time.Duration(n)*time.Second), now), true
	case p.key == "HOLDUNTIL" && c.cfg.Mode == Submission:
		at, err := time.Parse(time.RFC3339, strings.ToUpper(p.value))
		if err != nil {
			return bad("HOLDUNTIL is a date and time (RFC 3339)")
		}
		return c.holdUntil(env, at, now), true
	default:
		return none, false
	}
	return none, true
}

// holdUntil notes when a message is to be sent.
func (c *conn) holdUntil(env *delivery.Envelope, at, now time.Time) reply {
	switch {
	case !env.NotBefore.IsZero():
		return reply{code: 501, status: "5.5.4", text: "HOLDFOR and HOLDUNTIL exclude one another"}
	case at.Sub(now) > maxHold:
		return reply{code: 554, status: "5.7.0", text: "mail is held for at most 30 days"}
	case at.After(now):
		env.NotBefore = at
	}
	return none
}

// parseBy reads "120;R", "-5;NT".
func parseBy(s string, now time.Time) (queue.DeliverBy, bool) {
	number, mode, _ := strings.Cut(s, ";")
	n, err := strconv.ParseInt(number, 10, 64)
	mode, trace := strings.CutSuffix(strings.ToUpper(mode), "T")
	if err != nil || n > maxBy || n < -maxBy || mode != "R" && mode != "N" || mode == "R" && n <= 0 {
		return queue.DeliverBy{}, false
	}
	return queue.DeliverBy{Time: now.Add(time.Duration(n) * time.Second), Return: mode == "R", Trace: trace}, true
}
