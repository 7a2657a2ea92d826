package password

import (
	"encoding/base64"
	"os/exec"
	"strings"
	"testing"

	"expost/internal/peertest"
)

// The keys of RFC 7677 §3's user, as gsasl --mkpasswd and Dovecot's doveadm pw
// write them.
const dovecotValue = "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

func TestScramValues(t *testing.T) {
	t.Parallel()
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	made, err := NewScram([]byte("pencil"), salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	rfc := made.Value()
	if want := strings.NewReplacer("4096,", "4096:", "==,WG", "==$WG", "=,wf", "=:wf").Replace(dovecotValue); rfc != want {
		t.Errorf("value %q, want %q", rfc, want)
	}
	v := New(Options{CacheSize: -1, Memory: 8, Time: 1})
	for _, value := range []string{rfc, dovecotValue, strings.ToLower(dovecotValue[:15]) + dovecotValue[15:],
		"{SCRAM-SHA-1}4096,QSXCR+Q6sek8bf92,6dlGYMOdZcOPutkcNY8U2g7vK9Y=,D+CSWLOshSulAsxiupA+qs2/fTE="} {
		for pw, want := range map[string]bool{"pencil": true, "pencils": false, "": false} {
			if ok, err := v.Verify(t.Context(), []byte(value), []byte(pw)); ok != want || err != nil {
				t.Errorf("%s with %q: %v %v", value, pw, ok, err)
			}
		}
		if _, clear := Clear([]byte(value)); clear {
			t.Errorf("%s is taken for a password in clear text", value)
		}
	}
	for _, bad := range []string{"", "{SCRAM-SHA-256}", "{SCRAM-SHA-256}1:AAAA$AAAA:AAAA", strings.Replace(rfc, "4096", "4095", 1), strings.Replace(rfc, "4096", "99999999999", 1),
		strings.Replace(rfc, "$WG5d", "$", 1), rfc + ":AAAA", "{SSHA}" + rfc[15:], strings.Replace(rfc, "W22", "%%%", 1)} {
		if s, ok := ParseScram([]byte(bad)); ok {
			t.Errorf("%q is read as %+v", bad, s)
		}
	}
}

func TestScramOfGsasl(t *testing.T) {
	t.Parallel()
	gsasl := peertest.Lookup(t, "gsasl")
	for _, pw := range []string{"correct horse", "I\u00adX", "\u2168", "p\u00e4ss \u00a0w", "\u00aa"} {
		out, err := exec.Command(gsasl, "--mkpasswd", "-m", "SCRAM-SHA-256", "-p", pw).Output()
		if err != nil {
			t.Fatal(err)
		}
		v := New(Options{CacheSize: -1, Memory: 8, Time: 1})
		if ok, err := v.Verify(t.Context(), []byte(strings.TrimSpace(string(out))), []byte(pw)); !ok || err != nil {
			t.Errorf("%q does not fit what gsasl makes of it, %s: %v", pw, out, err)
		}
	}
}

// The examples of RFC 4013 §3, and what must stay as it is.
func TestPrepare(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"I\u00adX": "IX", "user": "user", "USER": "USER", "\u00aa": "a", "\u2168": "IX",
		"a\u00a0b": "a b", "a\u3000b": "a b", "e\u0301": "\u00e9",
		"\u0007": "\u0007", "\xff": "\xff", "": "", "\u200b": " ", "\u00ad": "\u00ad", "a\u202eb": "a\u202eb",
	} {
		if got := Prepare(in); got != want {
			t.Errorf("Prepare(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParseScram(f *testing.F) {
	f.Add(dovecotValue)
	f.Add("{SCRAM-SHA-256}4096:AAAA$AAAA:AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if k, ok := ParseScram([]byte(s)); ok {
			again, ok := ParseScram([]byte(k.Value()))
			if !ok || again.Iterations != k.Iterations || string(again.StoredKey) != string(k.StoredKey) || string(again.Salt) != string(k.Salt) {
				t.Errorf("%q is not the same after writing it: %q", s, k.Value())
			}
		}
	})
}
