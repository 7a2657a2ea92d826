package imapserver_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// BenchmarkFetchBodies is one command for 1,000 messages of 8 KiB.
func BenchmarkFetchBodies(b *testing.B) {
	s := newSite(b, nil)
	var cmd strings.Builder
	cmd.WriteString("x APPEND INBOX")
	for i := range 1000 {
		msg := fmt.Sprintf("Subject: %d\r\n\r\n", i) + strings.Repeat(fmt.Sprintf("line %d of a text that is not too dull\r\n", i), 200)
		fmt.Fprintf(&cmd, " {%d+}\r\n%s", len(msg), msg)
	}
	p := s.login(b)
	p.send(cmd.String() + "\r\n")
	p.line()
	p.must("SELECT INBOX")
	for _, item := range []string{"BODY.PEEK[]", "BODY.PEEK[TEXT]"} {
		b.Run(item, func(b *testing.B) {
			for b.Loop() {
				_ = p.nc.SetDeadline(time.Now().Add(time.Minute))
				p.send("x FETCH 1:* " + item + "\r\n")
				for {
					line, err := p.r.ReadSlice('\n')
					if err != nil && err != io.EOF {
						b.Fatal(err)
					}
					if strings.HasPrefix(string(line), "x OK") {
						break
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/1000")
		})
	}
}
