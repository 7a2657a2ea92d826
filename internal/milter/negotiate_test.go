package milter

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"
)

// wireFilter is a filter of version 6, on the bytes of the protocol: go-milter's
// server speaks version 2.
type wireFilter struct {
	options milter.OptProtocol
	answers map[byte]string // by event; a plain "c" where there is none
	heard   chan string
	offered chan milter.OptProtocol
}

// silent are the events that get no answer where the option was agreed on.
var silent = map[byte]milter.OptProtocol{
	'C': milter.OptNoConnReply, 'H': milter.OptNoHeloReply, 'M': milter.OptNoMailReply, 'R': milter.OptNoRcptReply,
	'T': milter.OptNoDataReply, 'L': milter.OptNoHeaderReply, 'N': milter.OptNoEOHReply, 'B': milter.OptNoBodyReply,
}

func (f *wireFilter) serve(t *testing.T) Filter {
	t.Helper()
	f.heard, f.offered = make(chan string, 1000), make(chan milter.OptProtocol, 10)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go f.session(nc)
		}
	}()
	return Filter{Name: "wire", Network: "tcp", Address: ln.Addr().String(), MessageTimeout: 10 * time.Second, CommandTimeout: 10 * time.Second}
}

func (f *wireFilter) session(nc net.Conn) {
	defer nc.Close()
	say := func(b []byte) error {
		_, err := nc.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
		return err
	}
	for {
		var size [4]byte
		if _, err := io.ReadFull(nc, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(nc, b); err != nil {
			return
		}
		switch code := b[0]; {
		case code == 'O':
			f.offered <- milter.OptProtocol(binary.BigEndian.Uint32(b[9:]))
			o := binary.BigEndian.AppendUint32([]byte{'O'}, 6)
			o = binary.BigEndian.AppendUint32(o, 0)
			if say(binary.BigEndian.AppendUint32(o, uint32(f.options))) != nil {
				return
			}
		case code == 'D', code == 'A', code == 'Q': // macros, abort, quit
		default:
			f.heard <- string(code)
			if f.options&silent[code] != 0 {
				continue
			}
			answer := "c"
			if a, ok := f.answers[code]; ok {
				answer = a
			}
			if code == 'T' && say([]byte("p")) != nil || say([]byte(answer)) != nil {
				return
			}
		}
	}
}

// events returns what the filter has heard so far.
func (f *wireFilter) events() string {
	var b strings.Builder
	for len(f.heard) > 0 {
		b.WriteString(<-f.heard)
	}
	return b.String()
}

// TestNegotiation agrees with filters of version 6 on what they hear and answer.
func TestNegotiation(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\r\n", 6000) // five pieces
	noReplies := milter.OptProtocol(0)
	for _, o := range silent {
		noReplies |= o
	}
	for name, test := range map[string]struct {
		filter wireFilter
		heard  string
		want   Action
		code   int
	}{
		"all":                 {wireFilter{}, "CHMRTLLNBBBBBE", Continue, 0},
		"no answers":          {wireFilter{options: noReplies}, "CHMRTLLNBBBBBE", Continue, 0},
		"nothing but the end": {wireFilter{options: milter.OptNoConnect | milter.OptNoHelo | milter.OptNoMailFrom | milter.OptNoRcptTo | milter.OptNoData | milter.OptNoHeaders | milter.OptNoEOH | milter.OptNoBody}, "E", Continue, 0},
		"skips the body":      {wireFilter{options: milter.OptSkip, answers: map[byte]string{'B': "s"}}, "CHMRTLLNBE", Continue, 0},
		"skips the fields":    {wireFilter{options: milter.OptSkip, answers: map[byte]string{'L': "s"}}, "CHMRTLNBBBBBE", Continue, 0},
		"refuses DATA":        {wireFilter{answers: map[byte]string{'T': "y550 5.7.1 not today\x00"}}, "CHMRT", Refuse, 550},
		"accepts at DATA":     {wireFilter{answers: map[byte]string{'T': "a"}}, "CHMRT", Continue, 0},
		"refuses the header":  {wireFilter{answers: map[byte]string{'N': "r"}}, "CHMRTLLN", Refuse, 550},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := test.filter
			s, v := session(t, f.serve(t))
			if v.Action != Continue {
				t.Fatalf("the verdict is %+v", v)
			}
			if o := <-f.offered; o&noReplies != noReplies || o&milter.OptSkip == 0 || o&milter.OptNoData == 0 {
				t.Errorf("offered %b", o)
			}
			s.Rcpt("b@example.org", nil)
			out := show(s, "Subject: x\r\nTo: y\r\n\r\n"+body)
			if out.Action != test.want || out.Code != test.code {
				t.Errorf("the outcome is %+v", out)
			}
			if got := f.events(); got != test.heard {
				t.Errorf("the filter heard %s, want %s", got, test.heard)
			}
			if test.want != Continue {
				return
			}
			if v := s.Mail(t.Context(), client(), Envelope{ID: "M2", From: "a@example.org"}); v.Action != Continue {
				t.Errorf("a second message: %+v", v)
			}
			if out := show(s, "Subject: x\r\n\r\n"); out.Action != Continue {
				t.Errorf("a second message: %+v", out)
			}
			events := f.events()
			if !slices.Contains([]string{"MTLNE", "MT", "E"}, events) {
				t.Error(fmt.Sprint("of a second message the filter heard ", events))
			}
		})
	}
}
