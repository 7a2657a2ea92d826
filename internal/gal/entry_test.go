package gal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"expost/internal/ldap"
	"expost/internal/ldif"
	"expost/internal/peertest"
	"expost/internal/schema"
)

var update = flag.Bool("update", false, "write the expected files of testdata again")

// writeFile writes an expected file of the article.
func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("testdata", "article", name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// mustDN parses a DN of a test.
func mustDN(t testing.TB, s string) ldap.DN {
	t.Helper()
	dn, err := ldap.ParseDN(s)
	if err != nil {
		t.Fatal(err)
	}
	return dn
}

// checkEntry fails where the schema does not take an entry.
func checkEntry(t testing.TB, e *ldap.Entry) {
	t.Helper()
	s := schema.Builtin()
	c, err := s.Canonical(e, false)
	if err == nil {
		_, err = s.CheckEntry(c)
	}
	if err != nil {
		t.Errorf("%s: %v", e.DN, err)
	}
}

// article holds the files of the article that the project grew from.
func article(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "article", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// convert goes the way of "gal convert" and returns the LDIF and the report.
func convert(t testing.TB, in string, opts TreeOptions) (string, []string) {
	t.Helper()
	var list []*Recipient
	var report []string
	rep := func(i Issue) { report = append(report, i.String()) }
	if _, err := Read(strings.NewReader(in), Options{File: "list", Report: rep}, func(r *Recipient) error {
		list = append(list, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	opts.Report = rep
	if opts.Base == nil {
		opts.Base = mustDN(t, "ou=addressbook,dc=linuxforu,dc=com")
	}
	var b bytes.Buffer
	w := ldif.NewWriter(&b)
	for _, e := range Entries(Merge(list, rep), opts) {
		checkEntry(t, e)
		w.Entry(e)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String(), report
}

func TestArticle(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"netscape.ldif", "modified.ldif", "entry.ldif", "addressbook.csv"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, report := convert(t, article(t, name), TreeOptions{})
			if *update {
				writeFile(t, name+".out", got)
				writeFile(t, name+".report", strings.Join(report, "\n")+"\n")
			}
			if want := article(t, name+".out"); got != want {
				t.Errorf("got\n%s", got)
			}
			if r := strings.Join(report, "\n") + "\n"; r != article(t, name+".report") {
				t.Errorf("report\n%s", r)
			}
		})
	}
}

// TestSamples converts exports of servers, into Expost's own classes.
func TestSamples(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"outlook-de.csv", "csvde.csv", "get-recipient.csv", "exchange55.csv", "ldifde.ldf", "broken.ldif", "group.vcf"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, err := os.ReadFile(filepath.Join("testdata", "samples", name))
			if err != nil {
				t.Fatal(err)
			}
			got, report := convert(t, string(in), TreeOptions{Extended: true})
			got += "\n" + strings.Join(report, "\n") + "\n"
			if *update {
				writeFile(t, "../samples/"+name+".out", got)
			}
			if want, err := os.ReadFile(filepath.Join("testdata", "samples", name+".out")); err != nil || got != string(want) {
				t.Errorf("%v, got\n%s", err, got)
			}
		})
	}
}

// TestNamesakes keeps apart who shares a name and puts together who shares an
// address.
func TestNamesakes(t *testing.T) {
	t.Parallel()
	got, report := convert(t, "Name,E-mail Address,Job Title\nJohn Smith,js@a.b,Clerk\njohn  SMITH,js2@a.b,\nJohn Smith,JS@a.b,Boss\nJohn Smith,,\n", TreeOptions{})
	for _, want := range []string{"dn: cn=John Smith,ou=", "dn: cn=john SMITH+mail=js2@a.b,ou=", "dn: cn=John Smith (2),ou=", "title: Clerk\ntitle: Boss\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if n := strings.Count("\n"+got, "\ndn: "); n != 3 {
		t.Errorf("%d entries:\n%s", n, got)
	}
	want := `list:4: warning: "John Smith" has an address in common with "John Smith" of list:2 and differs: jobTitle "Clerk" and "Boss"; merged, both values kept, the first one first`
	if !strings.Contains(strings.Join(report, "\n"), want) {
		t.Errorf("report\n%s", strings.Join(report, "\n"))
	}
}

func TestPhones(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, want string
		ok       bool
	}{
		{"911124650722 5311", "911124650722 5311", true},
		{"24650722 / 5311; #12*", "24650722 / 5311; #12*", false},
		{"24650722 / 5311; 12", "24650722 / 5311, 12", true},
		{"＋９１ １１", "+91 11", true},
		{"0049\u00a089–123\u200e", "0049 89-123", true},
		{"[0]89", "(0)89", true},
		{" - ", "", false}, {"", "", false},
		{"Zürich", "Zürich", false},
	} {
		got, ok := cleanPhone(c.in)
		if got != c.want || ok != c.ok && c.want != "" {
			t.Errorf("cleanPhone(%q) = %q, %v", c.in, got, ok)
		}
	}
}

func TestContainers(t *testing.T) {
	t.Parallel()
	got, _ := convert(t, "Name,E-mail Address\nA,a@b.c\n", TreeOptions{Containers: true, Base: mustDN(t, "ou=people,ou=addressbook,dc=linuxforu,dc=com")})
	want := "dn: dc=linuxforu,dc=com\nobjectClass: top\nobjectClass: dcObject\nobjectClass: organization\no: linuxforu.com\ndc: linuxforu\n\n" +
		"dn: ou=addressbook,dc=linuxforu,dc=com\nobjectClass: top\nobjectClass: organizationalUnit\nou: addressbook\n\ndn: ou=people,ou=addressbook"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s", got)
	}
}

// TestSlapdTakesEverything loads what was converted, from the article and from
// every fixture, into a stock slapd.
func TestSlapdTakesEverything(t *testing.T) {
	t.Parallel()
	uri := peertest.StartSlapd(t, peertest.SlapdConfig{Suffix: "dc=linuxforu,dc=com", RootDN: "cn=manager,dc=linuxforu,dc=com", Password: "secret"}).URL
	add := func(name, ldif string) {
		t.Helper()
		cmd := exec.Command("ldapadd", "-x", "-H", uri, "-D", "cn=manager,dc=linuxforu,dc=com", "-w", "secret")
		cmd.Stdin = strings.NewReader(ldif)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s\n%s", name, err, out, ldif)
		}
	}
	containers, _ := convert(t, article(t, "netscape.ldif"), TreeOptions{Containers: true})
	add("netscape.ldif", containers)
	n := 0
	load := func(name, in string) {
		n++
		base := fmt.Sprintf("ou=list%d,ou=addressbook,dc=linuxforu,dc=com", n)
		add(name, fmt.Sprintf("dn: %s\nobjectClass: organizationalUnit\nou: list%d\n", base, n))
		out, _ := convert(t, in, TreeOptions{Base: mustDN(t, base)})
		add(name, out)
	}
	for _, name := range []string{"modified.ldif", "entry.ldif", "addressbook.csv"} {
		load(name, article(t, name))
	}
	samples, err := filepath.Glob(filepath.Join("testdata", "samples", "*"))
	if err != nil {
		t.Fatal(err)
	}
	shared, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "fixtures", "gal", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(samples, shared...) {
		if strings.HasSuffix(f, ".schema") || strings.HasSuffix(f, ".json") || strings.HasSuffix(f, ".out") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		load(filepath.Base(f), string(b))
	}
}

// TestStreams reads 50 MB and sees that memory does not grow with it.
func TestStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 50 MB")
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n, most := 0, uint64(0)
	src, err := Read(&generated{left: 50 << 20}, Options{}, func(*Recipient) error {
		if n++; n%100_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		return nil
	})
	if err != nil || src.Recipients != n || n < 500_000 {
		t.Fatalf("%d of %+v: %v", n, src, err)
	}
	if most > before.HeapAlloc+32<<20 {
		t.Errorf("heap grew from %d to %d", before.HeapAlloc, most)
	}
}

func TestReadEndsWithYield(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	n := 0
	_, err := Read(&generated{left: 1 << 20}, Options{}, func(*Recipient) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
}
