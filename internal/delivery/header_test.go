package delivery

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	testDate = "Tue, 24 Nov 2026 03:00:00 +0000"
	testID   = "<x@mail.example.org>"
)

// filter returns what header makes of in.
func filter(in string, submitted bool, wrap func(io.Reader) io.Reader) (string, *header, error) {
	h := newHeader()
	h.reset(wrap(strings.NewReader(in)), maphash.MakeSeed(), 50)
	if submitted {
		h.submit(testDate, testID)
	}
	out, err := io.ReadAll(h)
	return string(out), h, err
}

func whole(r io.Reader) io.Reader { return r }

func TestHeader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3*headerBuffer)
	added := "Date: " + testDate + "\r\nMessage-ID: " + testID + "\r\n"
	for name, tt := range map[string]struct {
		in, want string
		submit   bool
	}{
		"received mail passes":          {in: "Subject: a\r\nBcc: x@y.example\r\n\r\nbody\r\n", want: "Subject: a\r\nBcc: x@y.example\r\n\r\nbody\r\n"},
		"missing fields are added":      {in: "Subject: a\r\n\r\nb\r\n", want: "Subject: a\r\n" + added + "\r\nb\r\n", submit: true},
		"not to received mail":          {in: "Subject: a\r\n\r\nb\r\n", want: "Subject: a\r\n\r\nb\r\n"},
		"fields there are kept":         {in: "DATE: d\r\nmessage-id: <m@x>\r\n\r\nb", want: "DATE: d\r\nmessage-id: <m@x>\r\n\r\nb", submit: true},
		"Bcc goes, folded too":          {in: "Date: d\r\nBcC: a@b.example,\r\n c@d.example\r\n\te\r\nMessage-ID: m\r\n\r\nBcc: body\r\n", want: "Date: d\r\nMessage-ID: m\r\n\r\nBcc: body\r\n", submit: true},
		"Bcc with a space goes":         {in: "Date: d\r\nBcc : a\r\nMessage-ID: m\r\nResent-Bcc:z\r\n\r\n", want: "Date: d\r\nMessage-ID: m\r\n\r\n", submit: true},
		"a long Bcc goes":               {in: "Date: d\r\nBcc: " + long + "\r\n " + long + "\r\nMessage-ID: m\r\n\r\n", want: "Date: d\r\nMessage-ID: m\r\n\r\n", submit: true},
		"a long field stays":            {in: "X: " + long + "\r\n " + long + "\r\nY: z\r\n\r\nb", want: "X: " + long + "\r\n " + long + "\r\nY: z\r\n\r\nb"},
		"Return-Path goes":              {in: "Return-Path: <a@b>\r\nX: y\r\n\r\nb", want: "X: y\r\n\r\nb"},
		"no header at all":              {in: "hello\r\nworld\r\n", want: "\r\nhello\r\nworld\r\n"},
		"no header, submitted":          {in: "hello world: you\r\n", want: added + "\r\nhello world: you\r\n", submit: true},
		"empty message":                 {in: "", want: ""},
		"empty message, submitted":      {in: "", want: added, submit: true},
		"a header without a body":       {in: "X: y\r\n", want: "X: y\r\n" + added, submit: true},
		"a header without an end":       {in: "X: y", want: "X: y\r\n" + added, submit: true},
		"a body at once":                {in: "\r\nBcc: x\r\n", want: added + "\r\nBcc: x\r\n", submit: true},
		"a line without a colon":        {in: "X: y\r\nno field\r\nBcc: body\r\n\r\n", want: "X: y\r\n" + added + "\r\nno field\r\nBcc: body\r\n\r\n", submit: true},
		"a folded line first":           {in: " for <forged@x>\r\nX: y\r\n\r\n", want: "\r\n for <forged@x>\r\nX: y\r\n\r\n"},
		"an mbox line first":            {in: "From a@b Tue\r\nX: y\r\n\r\n", want: "X-Mailbox-Line: From a@b Tue\r\nX: y\r\n\r\n"},
		"an escaped mbox line first":    {in: ">From a@b Tue\r\nX: y\r\n\r\n", want: "X-Mailbox-Line: >From a@b Tue\r\nX: y\r\n\r\n"},
		"a control character in a name": {in: "X\x01: y\r\n\r\n", want: "\r\nX\x01: y\r\n\r\n"},
		"8-bit name":                    {in: "Größe: 1\r\n\r\nb", want: "Größe: 1\r\n\r\nb"},
	} {
		for rname, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": whole, "byte by byte": iotest.OneByteReader, "error with data": iotest.DataErrReader,
		} {
			got, _, err := filter(tt.in, tt.submit, wrap)
			if err != nil || got != tt.want {
				t.Errorf("%s (%s): got %q, %v; want %q", name, rname, clip(got), err, clip(tt.want))
			}
		}
	}
}

func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

func TestHeaderLoop(t *testing.T) {
	t.Parallel()
	if _, _, err := filter(strings.Repeat("Received: from a\r\n by b\r\n", 50)+"\r\nReceived: x\r\n", false, whole); err != nil {
		t.Errorf("50 Received fields: %v", err)
	}
	_, _, err := filter(strings.Repeat("RECEIVED: from a\r\n", 51), false, whole)
	if got := describe(nil, err); got != "5.4.6" {
		t.Errorf("51 Received fields: %v", err)
	}
}

func TestHeaderFindsMessageID(t *testing.T) {
	t.Parallel()
	_, h, _ := filter("Message-ID:  <a@b>\r\n\r\nMessage-ID: <c@d>\r\n", true, whole)
	_, added, _ := filter("X: y\r\n\r\n", true, whole)
	if h.messageID != "<a@b>" || added.messageID != testID {
		t.Errorf("got %q and %q", h.messageID, added.messageID)
	}
}

func TestHeaderPassesErrorsOn(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"X: y\r\n", "X: y\r\n\r\nbody"} {
		h := newHeader()
		h.reset(io.MultiReader(strings.NewReader(in), iotest.ErrReader(errors.New("cut"))), maphash.MakeSeed(), 50)
		if _, err := io.ReadAll(h); err == nil || err.Error() != "cut" {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"Subject: a\r\nBcc: b\r\n c\r\n\r\nbody", "From x\r\n\r\n", " fold\r\n", "\r\n", "Bcc :x", "a\x00b:c\n\n", "X: y\nBcc: z\n\nBcc: body",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, submit bool) {
		if bytes.Count(bytes.ToLower(in), []byte("received")) > 50 {
			return
		}
		got, _, err := filter(string(in), submit, whole)
		slow, _, slowErr := filter(string(in), submit, iotest.OneByteReader)
		if err != nil || slowErr != nil || got != slow {
			t.Fatalf("%q %v, byte by byte %q %v", got, err, slow, slowErr)
		}
		head, _, _ := strings.Cut(strings.ReplaceAll(got, "\r\n", "\n"), "\n\n")
		for line := range strings.SplitSeq(head, "\n") {
			if submit && strings.HasPrefix(strings.ToLower(line), "bcc:") {
				t.Fatalf("Bcc left in %q", got)
			}
		}
		again, _, _ := filter(got, submit, whole)
		if submit && again != got {
			t.Fatalf("a second pass changes %q into %q", got, again)
		}
	})
}
