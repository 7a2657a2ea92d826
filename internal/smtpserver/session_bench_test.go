package smtpserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"expost/internal/mail"
)

// BenchmarkSession hands messages of 4 KiB in over one session: to one mailbox
// here, and to 1 and 50 addresses elsewhere, where the store has no part in it.
func BenchmarkSession(b *testing.B) {
	message := "From: a@b.example\r\nTo: ann@example.org\r\nSubject: x\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 80)
	for _, bench := range []struct {
		name   string
		to     string
		copies int
	}{{"here", "ann@example.org", 1}, {"elsewhere", "u%d@far.example", 1}, {"elsewhere-50", "u%d@far.example", 50}} {
		b.Run(bench.name, func(b *testing.B) {
			n := newRelay(b, &remote{}, Config{Policy: Policy{Relay: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
			nc, err := net.Dial("tcp", n.addr)
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			in := bufio.NewReader(nc)
			send := func(text string, replies int) {
				if _, err := io.WriteString(nc, text); err != nil {
					b.Fatal(err)
				}
				for range replies {
					if line, err := in.ReadString('\n'); err != nil || line[0] > '3' {
						b.Fatalf("%q: %v", line, err)
					}
				}
			}
			send("HELO c.example\r\n", 2)
			envelope := "MAIL FROM:<a@b.example>\r\n"
			for i := range bench.copies {
				to := bench.to
				if strings.Contains(to, "%") {
					to = fmt.Sprintf(to, i)
				}
				envelope += "RCPT TO:<" + string(mail.Address(to)) + ">\r\n"
			}
			b.ReportAllocs()
			for b.Loop() {
				send(envelope+"DATA\r\n", bench.copies+2)
				send(message+".\r\n", 1)
			}
		})
	}
}
