package delivery

import (
	"crypto/tls"
	"net/netip"
	"testing"
	"time"
)

func TestProtocol(t *testing.T) {
	t.Parallel()
	on := &tls.ConnectionState{}
	for want, e := range map[string]Envelope{
		"SMTP":       {},
		"ESMTP":      {Client: Client{ESMTP: true}},
		"ESMTPS":     {Client: Client{ESMTP: true, TLS: on}},
		"ESMTPA":     {Client: Client{ESMTP: true}, SignedInAs: "a@b"},
		"ESMTPSA":    {Client: Client{ESMTP: true, TLS: on}, SignedInAs: "a@b"},
		"UTF8SMTP":   {Client: Client{ESMTP: true}, UTF8: true},
		"UTF8SMTPSA": {Client: Client{ESMTP: true, TLS: on}, UTF8: true, SignedInAs: "a@b"},
		"LMTP":       {Client: Client{ESMTP: true, LMTP: true}},
		"UTF8LMTPS":  {Client: Client{ESMTP: true, LMTP: true, TLS: on}, UTF8: true},
		"LMTPS":      {Client: Client{ESMTP: true, LMTP: true, TLS: on}},
	} {
		if got := e.Protocol(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	e := Envelope{
		ID: "ABC", From: `a "b@example.net`, Received: time.Date(2026, 11, 4, 3, 0, 0, 0, time.FixedZone("", 3600)),
		Client: Client{Helo: "evil)\tid X; <a@b>", Address: netip.MustParseAddr("2001:db8::1"), ESMTP: true,
			TLS: &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}},
		Recipients: []Recipient{{Address: "x@example.org"}},
	}
	want := "Return-Path: <\"a \\\"b\"@example.net>\r\n" +
		"Received: from evil??id?X???a@b? ([IPv6:2001:db8::1])\r\n" +
		"\t(using TLS1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n" +
		"\tby mail.example.org with ESMTPS id ABC\r\n" +
		"\tfor <x@example.org>;\r\n" +
		"\tWed, 4 Nov 2026 03:00:00 +0100\r\n"
	if got := string(e.trace("mail.example.org")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	e = Envelope{ID: "D", Client: Client{Address: netip.MustParseAddr("::ffff:192.0.2.1")}, Recipients: make([]Recipient, 2)}
	want = "Return-Path: <>\r\nReceived: from unknown ([192.0.2.1])\r\n\tby h with SMTP id D;\r\n\tMon, 1 Jan 0001 00:00:00 +0000\r\n"
	if got := string(e.trace("h")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
