package embedded

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
	"expost/internal/password"
)

// benchmarkEntries is how many people the benchmarks search.
const benchmarkEntries = 100_000

// person returns an entry of the benchmarks. One in a thousand is called
// Biswajit or Banerjee.
func person(i int) *ldap.Entry {
	first := []string{"ajay", "anup", "peter", "maria", "chen", "olga", "juan", "fatima", "john", "ingrid"}[i%10]
	last := []string{"sharma", "smith", "meier", "rossi", "wang", "ivanova", "garcia", "haddad", "kumar", "larsen"}[i/10%10]
	if i%1000 == 500 {
		first, last = "biswajit", "banerjee"
	}
	cn := fmt.Sprintf("%s %s%d", first, last, i)
	addr := fmt.Sprintf("%s.%s%d@linuxforu.com", first, last, i)
	return directorytest.Entry(fmt.Sprintf(`
		dn: cn=%[1]s,ou=addressbook,dc=example,dc=org
		objectClass: top
		objectClass: person
		objectClass: organizationalPerson
		objectClass: inetOrgPerson
		objectClass: qmailUser
		cn: %[1]s
		sn: %[2]s%[3]d
		givenName: %[4]s
		displayName: %[1]s
		uid: u%[3]d
		mail: %[5]s
		mailMessageStore: linuxforu.com/u%[3]d
		title: Engineer %[6]d
		ou: Department %[7]d
		o: Linux For You
		telephoneNumber: +91 11 %[3]d
		l: New Delhi
		userPassword: {SSHA}+BzpSujtOgOuw+r0E8Pp4hWAmWbldkNK
		`, cn, last, i, first, addr, i/50, i%40))
}

// fill adds n people, many at a time.
func fill(tb testing.TB, d *Directory, n int) {
	tb.Helper()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 256 {
		wg.Go(func() {
			for i := range next {
				if err := d.Add(context.Background(), directory.Local(), person(i)); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func BenchmarkDirectory(b *testing.B) {
	dir := b.TempDir()
	start := time.Now()
	opt := options(dir)
	opt.Passwords = password.New(password.Options{})
	d, err := Open(context.Background(), opt)
	if err != nil {
		b.Fatal(err)
	}
	fill(b, d, benchmarkEntries)
	b.Logf("added in %v", time.Since(start))
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	d = nil
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start = time.Now()
	d = open(b, opt)
	b.Logf("loaded in %v", time.Since(start))
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("heap %d MiB", (after.HeapAlloc-before.HeapAlloc)>>20)

	const outlook = "(&(mail=*)(|(mail=%[1]s*)(|(cn=%[1]s*)(|(sn=%[1]s*)(givenName=%[1]s*)))))"
	attributes := []string{"cn", "commonName", "mail", "roleOccupant", "display-name", "displayname", "sn", "surname", "co", "organizationName", "o",
		"givenName", "legacyExchangeDN", "objectClass", "uid", "mailNickname", "title", "company", "physicalDeliveryOfficeName", "telephoneNumber"}
	for _, c := range []struct {
		name, filter string
		limit        int
	}{
		{"Outlook bis", fmt.Sprintf(outlook, "bis"), 100},
		{"Outlook one letter", fmt.Sprintf(outlook, "s"), 100},
		{"Outlook selective", fmt.Sprintf(outlook, "peter meier722"), 100},
		{"mail", "(mail=juan.ivanova1256@linuxforu.com)", 100},
		{"substring ban", "(|(cn=*ban*)(sn=*ban*)(mail=*ban*))", 100},
		{"substring none", "(cn=*zzqx*)", 100},
		{"title", "(title=engineer 42)", 100},
		{"two letters inside", "(cn=*zq*)", 100},
		{"dump", "(objectClass=*)", 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: directorytest.Filter(c.filter), SizeLimit: c.limit, Attributes: attributes, Transient: true}
			n := 0
			for b.Loop() {
				n = 0
				_ = d.Search(context.Background(), directory.Local(), req, func(*ldap.Entry) error {
					n++
					return nil
				})
			}
			b.ReportMetric(float64(n), "entries")
		})
	}
	window := func(offset int) {
		req := &ldap.SearchRequest{Base: d.Suffix(), Scope: ldap.ScopeSub, Filter: directorytest.Filter("(&(mail=*)(cn=*))"), SizeLimit: 100, Attributes: attributes}
		_, err := d.SearchView(context.Background(), directory.Local(), req, directory.View{
			Sort: []directory.SortKey{{Attr: "cn"}}, Window: &directory.Window{After: 19, Offset: offset},
		}, func(*ldap.Entry) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("window", func(b *testing.B) {
		for i := 1; b.Loop(); i++ {
			window(i * 777 % benchmarkEntries)
		}
	})
	changed := person(777)
	b.Run("window after a change", func(b *testing.B) {
		for i := 1; b.Loop(); i++ {
			title := []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("title", fmt.Sprint(i))}}
			b.StopTimer()
			if err := d.Modify(context.Background(), directory.Local(), changed.DN, title); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			window(i * 777 % benchmarkEntries)
		}
	})
	b.Run("first window", func(b *testing.B) {
		for b.Loop() {
			d.lists = listCache{}
			window(1)
		}
	})
	b.Run("Resolve", func(b *testing.B) {
		for b.Loop() {
			if _, err := d.Resolve(context.Background(), "juan.ivanova1256@linuxforu.com"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Login", func(b *testing.B) {
		for b.Loop() {
			if _, err := d.Login(context.Background(), "u1256", "secret"); err != nil {
				b.Fatal(err)
			}
		}
	})
	var i atomic.Int64
	i.Store(benchmarkEntries)
	b.Run("Add", func(b *testing.B) {
		for b.Loop() {
			if err := d.Add(context.Background(), directory.Local(), person(int(i.Add(1)))); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Add parallel", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := d.Add(context.Background(), directory.Local(), person(int(i.Add(1)))); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
