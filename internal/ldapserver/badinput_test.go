package ldapserver

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"expost/internal/ldap"
	"expost/internal/ldapwire"
)

// TestWrongBytes sends requests with each byte wrong in several ways, and cut
// off at each place. Whatever becomes of their connections, the server goes on.
func TestWrongBytes(t *testing.T) {
	t.Parallel()
	d := organisation(t)
	addr, _ := start(t, Config{Directory: d, Limits: Limits{ReadTime: 2 * time.Second}})
	var requests [][]byte
	for _, op := range []ldapwire.Op{
		simpleBind(managerDN, "secret"), baseSearch(t, bookDN, "(&(cn=a*b)(!(mail=x))(cn:dn:caseIgnoreMatch:=y))", "cn"),
		&ldapwire.ModifyRequest{Changes: []ldap.Change{{Attribute: ldap.NewAttribute("cn", "x")}}},
		&ldapwire.ExtendedRequest{Name: ldapwire.OIDPasswordModify, Value: []byte("\x30\x03\x80\x01x")}, &ldapwire.CompareRequest{Attr: "cn", Value: []byte("x")},
	} {
		m := ldapwire.Message{ID: 1, Op: op, Controls: []ldapwire.Control{ldapwire.SyncRequest{Cookie: []byte("x")}.Control(), ldapwire.PagedControl{Size: 1}.Control()}}
		requests = append(requests, m.Append(nil))
	}
	var tries [][]byte
	for _, request := range requests {
		for i := range request {
			for _, wrong := range []byte{0, 0x30, 0x7f, 0x80, 0x84, 0xff} {
				b := append([]byte{}, request...)
				b[i] = wrong
				tries = append(tries, b)
			}
			tries = append(tries, request[:i])
		}
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < len(tries); i += 8 {
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = nc.Write(tries[i])          // it may be refused already
				_ = nc.(*net.TCPConn).CloseWrite() // likewise
				_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
				var buf [4096]byte
				for err == nil {
					_, err = nc.Read(buf[:])
				}
				if ne, ok := err.(net.Error); ok && ne.Timeout() {
					t.Errorf("no end after %x", tries[i])
				}
				nc.Close()
			}
		})
	}
	wg.Wait()
	if len(tries) < 1000 {
		t.Errorf("only %d tries", len(tries))
	}
	c := dial(t, addr)
	c.send(1, simpleBind(managerDN, "secret"))
	c.expect(1, ldap.Success)
}

// TestFilterOfTenThousandTerms has each kind of large filter find what a small
// one does, and one that is too large be refused.
func TestFilterOfTenThousandTerms(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	c := dial(t, strings.TrimPrefix(url, "ldap://"))
	c.send(1, simpleBind(managerDN, "secret"))
	c.expect(1, ldap.Success)
	for i, op := range []ldap.FilterOp{ldap.FilterOr, ldap.FilterAnd} {
		for j, term := range []*ldap.Filter{
			{Op: ldap.FilterEqual, Attr: "mail"}, {Op: ldap.FilterSubstrings, Attr: "cn"}, {Op: ldap.FilterEqual, Attr: "nosuch"}, {Op: ldap.FilterEqual, Attr: "roomNumber"},
		} {
			f := &ldap.Filter{Op: op}
			for n := range 10_000 {
				one := *term
				one.Value, one.Any = fmt.Appendf(nil, "nobody%d@linuxforu.com", n), [][]byte{fmt.Appendf(nil, "nobody%d", n)}
				f.Subs = append(f.Subs, &one)
			}
			if op == ldap.FilterOr {
				f.Subs = append(f.Subs, filter(t, "(mail=ajay@linuxforu.com)"))
			}
			req := baseSearch(t, suffixDN, "(cn=*)")
			req.Scope, req.Filter = ldap.ScopeSub, f
			id := int32(2 + 10*i + j)
			c.send(id, req)
			got, r, entries := c.result()
			if want := 1 - i; got != id || r.Code != ldap.Success || entries != want {
				t.Errorf("%v of 10,000 %s: result %d, %d entries, want %d", op, term.Attr, r.Code, entries, want)
			}
		}
	}
	f := &ldap.Filter{Op: ldap.FilterOr}
	for range 20_001 {
		f.Subs = append(f.Subs, filter(t, "(cn=x)"))
	}
	req := baseSearch(t, suffixDN, "(cn=*)")
	req.Filter = f
	c.send(100, req)
	c.expect(100, ldap.AdminLimitExceeded)
	deep := filter(t, "(cn=x)")
	for range 101 {
		deep = &ldap.Filter{Op: ldap.FilterNot, Subs: []*ldap.Filter{deep}}
	}
	req.Filter = deep
	c.send(101, req)
	c.expect(101, ldap.AdminLimitExceeded)
}

// TestClientsThatDoNotRead has twenty of them ask for results without end: they
// cost little memory, and others are served. It measures memory, so no other
// test runs beside it.
func TestClientsThatDoNotRead(t *testing.T) {
	addr, _ := start(t, Config{Directory: &scripted{search: entries(-1)}, Limits: Limits{WriteTime: time.Minute}})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 20 {
		c := dial(t, addr)
		c.send(1, anySearch(t))
		if m := c.receive(); m.ID != 1 { // the answer has begun, and is not read on
			t.Fatalf("%+v", m)
		}
	}
	c := dial(t, addr)
	for id := range int32(100) {
		c.send(id+1, &ldapwire.ExtendedRequest{Name: ldapwire.OIDWhoAmI})
		c.expect(id+1, ldap.Success)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 64<<20 {
		t.Errorf("twenty clients cost %d MiB", grown>>20)
	}
}

// TestModifyStorm has many count in one entry at once while others search: no
// change is lost, and every search is answered.
func TestModifyStorm(t *testing.T) {
	t.Parallel()
	url := serveOrganisation(t, Config{})
	addr := strings.TrimPrefix(url, "ldap://")
	dn, err := ldap.ParseDN("cn=Account 1,ou=people," + suffixDN)
	if err != nil {
		t.Fatal(err)
	}
	setup := dial(t, addr)
	setup.send(1, simpleBind(managerDN, "secret"))
	setup.expect(1, ldap.Success)
	setup.send(2, &ldapwire.ModifyRequest{DN: dn, Changes: []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("uidNumber", "0")}}})
	setup.expect(2, ldap.Success)
	const clients, each = 16, 50
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			c := dial(t, addr)
			c.send(1, simpleBind(managerDN, "secret"))
			c.expect(1, ldap.Success)
			for i := range int32(each) { // all at once, answered as they are done
				c.send(2+i, &ldapwire.ModifyRequest{DN: dn, Changes: []ldap.Change{{Op: ldap.ChangeIncrement, Attribute: ldap.NewAttribute("uidNumber", "1")}}})
			}
			for range each {
				if _, r, _ := c.result(); r.Code != ldap.Success {
					t.Errorf("result %+v", r)
				}
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			c := dial(t, addr)
			c.send(1, simpleBind(managerDN, "secret"))
			c.expect(1, ldap.Success)
			for i := range int32(200) {
				req := baseSearch(t, suffixDN, "(&(uidNumber>=0)(objectClass=posixAccount))", "uidNumber")
				req.Scope = ldap.ScopeSub
				c.send(2+i, req)
				if _, r, n := c.result(); r.Code != ldap.Success || n != 2 {
					t.Errorf("a search found %d entries, %+v", n, r)
				}
			}
		})
	}
	wg.Wait()
	setup.send(3, &ldapwire.CompareRequest{DN: dn, Attr: "uidNumber", Value: fmt.Append(nil, clients*each)})
	setup.expect(3, ldap.CompareTrue)
}
