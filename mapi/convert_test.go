package mapi

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestConvert(t *testing.T) {
	t.Parallel()
	m := &Item{}
	m.Set(NewTag(idMessageClass, TypeString), "IPM.Note")
	m.Set(NewTag(idSubject, TypeString), "\x01\x05RE: Grüße")
	m.Set(NewTag(idBody, TypeString), "Hello\nthere")
	m.Set(NewTag(idSenderName, TypeString), "Ann")
	m.Set(NewTag(idSenderType, TypeString), "EX")
	m.Set(NewTag(idSenderAddress, TypeString), "/o=Org/cn=ann b")
	m.Set(NewTag(idMessageFlags, TypeInt32), int32(1))
	m.Set(NewTag(idLastVerb, TypeInt32), int32(103))
	m.Set(NewTag(idFlagStatus, TypeInt32), int32(2))
	inner := &Item{}
	inner.Set(NewTag(idSubject, TypeString), "inner")
	m.Attached = []*Item{{Embedded: inner}}
	var b bytes.Buffer
	r, err := (&Converter{Domain: "a.example"}).Convert(&b, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"From: Ann <IMCEAEX-_o=Org_cn=ann+20b@a.example>\r\n", "Subject: =?utf-8?b?UkU6IEdyw7zDn2U=?=\r\n",
		"Hello\r\nthere", "Content-Type: message/rfc822", "Subject: inner\r\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if want := []string{`\Seen`, `\Answered`, `\Flagged`}; !slices.Equal(r.Flags, want) {
		t.Errorf("flags %q, want %q", r.Flags, want)
	}
	if len(r.Unresolved) != 1 || len(r.Problems) != 0 {
		t.Errorf("unresolved %v, problems %v", r.Unresolved, r.Problems)
	}
}
