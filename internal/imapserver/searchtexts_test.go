package imapserver_test

import (
	"slices"
	"testing"
)

// TestSearchIndexed asks the same before, while and after the messages are in
// the store's index of texts.
func TestSearchIndexed(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	messages := []string{
		"Subject: =?utf-8?q?=C3=9Cber?= one\r\nX-Tag: red\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nПривет, budget\r\n",
		"Subject: two\r\nX-Tag: blue\r\nContent-Type: text/html\r\n\r\n<p>Caf&eacute; bud<b>get</b></p>\r\n",
		"Subject: three\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/pdf; name=Invoice.pdf\r\n\r\nbudget\r\n--b--\r\n",
	}
	searches := []string{
		"TEXT \"über\"", "BODY \"über\"", "BODY \"ПРИВЕТ\"", "BODY \"café\"", "TEXT invoice", "BODY budget", "BODY a", "NOT BODY budget",
		"HEADER X-Tag \"\"", "HEADER X-Tag RED", "OR TEXT blue BODY invoice.pdf", "NOT TEXT red SUBJECT two", "TEXT x-tag:",
	}
	p := s.login(t)
	p.must("SELECT INBOX")
	search := func() (answers []string) {
		for _, key := range searches {
			answers = append(answers, p.must("SEARCH CHARSET UTF-8 "+key)...)
		}
		return answers
	}
	a, err := s.store.Open(t.Context(), "example.org/ajay")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Release()
	for i, m := range messages {
		s.deliver(t, "INBOX", m)
		p.must("NOOP")
		before := search()
		if i == 1 {
			continue // the index stays behind by one
		}
		if err := a.IndexTexts(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := search(); !slices.Equal(after, before) {
			t.Errorf("%d messages: %q without the index, %q with it", i+1, before, after)
		}
	}
}
