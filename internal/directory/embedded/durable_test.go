package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"expost/internal/directory"
	"expost/internal/directory/directorytest"
	"expost/internal/ldap"
	"expost/internal/mail"
	"expost/internal/password"
)

// crashDir names the folder in which this test program, started again as a
// child, adds entries until it is killed.
const crashDir = "EXPOST_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		addUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// addUntilKilled adds and changes entries from many goroutines, and prints the
// number of each that was acknowledged.
func addUntilKilled(dir string) {
	d, err := Open(context.Background(), options(dir))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	first := d.Len() * 1000
	var wg sync.WaitGroup
	var mu sync.Mutex
	for w := range 16 {
		wg.Go(func() {
			for i := first + w; ; i += 16 {
				e := directorytest.Entry(account(i))
				if err := d.Add(context.Background(), directory.Local(), e); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				title := []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("title", fmt.Sprint(i))}}
				if err := d.Modify(context.Background(), directory.Local(), e.DN, title); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(i)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func account(i int) string {
	return fmt.Sprintf("dn: uid=u%[1]d,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: qmailUser\ncn: u%[1]d\nsn: x\nmail: u%[1]d@example.org", i)
}

// TestKill kills a process that adds entries, again and again. What it
// acknowledged is there, and the folder opens by itself.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	acknowledged := map[int]bool{}
	for round := range rounds {
		killRound(t, dir, 40+round*60, acknowledged)
		d, err := Open(context.Background(), options(dir))
		if err != nil {
			t.Fatal(err)
		}
		for i := range acknowledged {
			addr := mail.Address(fmt.Sprintf("u%d@example.org", i))
			acc, err := d.Resolve(context.Background(), addr)
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			n, _ := d.snap.Load().find(acc.DN, d.suffix)
			if e := d.snap.Load().entry(n, d.suffix); e.Value("title") != strconv.Itoa(i) {
				t.Fatalf("round %d: the change of %s is lost", round, addr)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged entries in %d rounds", len(acknowledged), rounds)
}

// killRound starts a child and kills it after it has acknowledged n entries.
func killRound(t *testing.T, dir string, n int, acknowledged map[int]bool) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { _ = child.Process.Kill() })
	defer timer.Stop()
	seen := 0
	for lines := bufio.NewScanner(out); lines.Scan(); seen++ {
		i, err := strconv.Atoi(lines.Text())
		if err != nil {
			if seen < n { // a line cut by the kill is none
				t.Error(lines.Text())
			}
			continue
		}
		acknowledged[i] = true
		if seen == n {
			_ = child.Process.Kill()
		}
	}
	_ = child.Wait()
	if seen < n {
		t.Fatalf("the child ended after %d entries", seen)
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := Open(context.Background(), options(dir))
	if err != nil {
		t.Fatal(err)
	}
	e := directorytest.Entry(account(1) + "\ndescription;lang-de: ein Mensch\njpegPhoto: x")
	if err := d.Add(context.Background(), directory.Local(), e); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), options(dir)); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a folder that is open was opened again: %v", err)
	}
	before := d.snap.Load()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if err := d.Add(context.Background(), directory.Local(), directorytest.Entry(account(2))); err == nil {
		t.Error("a closed directory took a change")
	}
	if _, err := d.Resolve(context.Background(), "u1@example.org"); err != nil {
		t.Errorf("a closed directory still knows: %v", err)
	}
	other := options(dir)
	other.Suffix = directorytest.DN("dc=other")
	if _, err := Open(context.Background(), other); mail.KindOf(err) != mail.KindConflict {
		t.Errorf("opened with another suffix: %v", err)
	}
	compareSnapshots(t, before, open(t, options(dir)).snap.Load())
}

func TestSuffixes(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"o=Example", "ou=a,o=b", "c=DE", "cn=x", "dc=org", "uid=a+cn=b", "l=Delhi"} {
		opt := options(t.TempDir())
		opt.Suffix = directorytest.DN(suffix)
		if d := open(t, opt); d.Len() != 3 || d.Suffix().String() != suffix {
			t.Errorf("%s: %d entries under %s", suffix, d.Len(), d.Suffix())
		}
	}
}

// TestDamaged opens files whose content is not what was written.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"cut entry":            "UPDATE entry SET data = substr(data, 1, 40)",
		"unknown description":  "DELETE FROM description WHERE id = (SELECT max(id) FROM description)",
		"missing description":  "DELETE FROM description WHERE id = 0",
		"newer format":         "UPDATE meta SET value = '99' WHERE name = 'version'",
		"empty entry":          "UPDATE entry SET data = x''",
		"entry of large sizes": "UPDATE entry SET data = x'ffffffff0f'",
	} {
		dir := t.TempDir()
		d, err := Open(context.Background(), options(dir))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		disk, err := openDisk(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(disk.conn.Exec(sql), disk.close()); err != nil {
			t.Fatal(err)
		}
		if d, err := Open(context.Background(), options(dir)); err == nil {
			t.Errorf("%s: opened", name)
			_ = d.Close()
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), options(dir)); err == nil {
		t.Error("a file that is no database was opened")
	}
}

// TestFullDisk has a disk that takes no more. Nothing of a change that could
// not be written is seen, and the directory goes on when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	d := open(t, options(t.TempDir()))
	limit := func(pages int) {
		t.Helper()
		// The writer waits for a request; its connection is free.
		if err := d.disk.conn.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	var refused error
	i := 0
	for ; refused == nil && i < 1000; i++ {
		refused = d.Add(context.Background(), directory.Local(), directorytest.Entry(account(i)))
	}
	if le, ok := errors.AsType[*ldap.Error](refused); !ok || le.Code != ldap.Unavailable {
		t.Fatalf("a full disk gave %v", refused)
	}
	count := d.Len()
	if _, err := d.Resolve(context.Background(), mail.Address(fmt.Sprintf("u%d@example.org", i-1))); err == nil {
		t.Error("a change that was not written can be seen")
	}
	limit(1 << 20)
	if err := d.Add(context.Background(), directory.Local(), directorytest.Entry(account(i-1))); err != nil || d.Len() != count+1 {
		t.Errorf("the directory did not recover: %v", err)
	}
}

// TestRehash logs in with a password of an older scheme.
func TestRehash(t *testing.T) {
	t.Parallel()
	d := open(t, options(t.TempDir()))
	ctx := context.Background()
	const old = "{SSHA}+BzpSujtOgOuw+r0E8Pp4hWAmWbldkNK"
	e := directorytest.Entry(account(1) + "\nuserPassword: " + old)
	if err := d.Add(ctx, directory.Local(), e); err != nil {
		t.Fatal(err)
	}
	stored := func() string {
		n, _ := d.snap.Load().find(e.DN, d.suffix)
		return string(d.snap.Load().passwords(n)[0])
	}
	if _, err := d.Login(ctx, "u1", "wrong"); err == nil || stored() != old {
		t.Fatal("a wrong password changed something")
	}
	if _, err := d.Login(ctx, "u1", "secret"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); stored() == old; {
		if time.Now().After(deadline) {
			t.Fatal("the password was not hashed again")
		}
		// A change waits for those before it.
		if err := d.Modify(ctx, directory.Local(), e.DN, []ldap.Change{{Op: ldap.ChangeReplace, Attribute: ldap.NewAttribute("title", "x")}}); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasPrefix(stored(), "{ARGON2}$argon2id$") {
		t.Errorf("it became %s", stored())
	}
	if _, err := d.Login(ctx, "u1", "secret"); err != nil {
		t.Error(err)
	}
	n, _ := d.snap.Load().find(e.DN, d.suffix)
	if err := d.rehash(ctx, rehash{n.id, []byte(old), []byte("other")}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Login(ctx, "u1", "secret"); err != nil {
		t.Error("a rehash replaced a password that had been changed meanwhile")
	}
}

// TestMissingKeys gives a password of the current scheme its keys of SCRAM: its
// hash stays as it is.
func TestMissingKeys(t *testing.T) {
	t.Parallel()
	opt := options(t.TempDir())
	opt.Passwords = password.New(password.Options{Memory: 64, Time: 1, ScramIterations: 4096})
	d := open(t, opt)
	ctx := context.Background()
	hashed, err := opt.Passwords.Hash(ctx, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	e := directorytest.Entry(account(1) + "\nuserPassword: " + hashed)
	if err := d.Add(ctx, directory.Local(), e); err != nil {
		t.Fatal(err)
	}
	n, _ := d.snap.Load().find(e.DN, d.suffix)
	if err := d.rehash(ctx, rehash{n.id, []byte(hashed), []byte("secret")}); err != nil {
		t.Fatal(err)
	}
	n, _ = d.snap.Load().find(e.DN, d.suffix)
	if got := d.snap.Load().passwords(n); len(got) != 1 || string(got[0]) != hashed || !d.hasKeys(n) {
		t.Errorf("it has %q, and keys: %t", got, d.hasKeys(n))
	}
	if _, err := d.Login(ctx, "u1", "secret"); err != nil {
		t.Error(err)
	}
}

// TestConcurrent has searches, logins and changes at the same time.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	d := open(t, options(t.TempDir()))
	ctx, cancel := context.WithCancel(context.Background())
	var readers, writers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			req := &ldap.SearchRequest{Scope: ldap.ScopeSub, Filter: directorytest.Filter("(|(cn=u1*)(mail=*7@*))")}
			for ctx.Err() == nil {
				_ = d.Search(context.Background(), directory.Local(), req, func(e *ldap.Entry) error {
					if e.Value("cn") == "" {
						t.Error("half an entry")
					}
					return nil
				})
				_, _ = d.Lookup(ctx, "u1@example.org")
			}
		})
	}
	for w := range 4 {
		writers.Go(func() {
			for i := range 100 {
				e := directorytest.Entry(account(w*100 + i))
				if err := d.Add(context.Background(), directory.Local(), e); err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					if err := d.Delete(context.Background(), directory.Local(), e.DN); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
	if want := 3 + 4*66; d.Len() != want {
		t.Errorf("%d entries, want %d", d.Len(), want)
	}
}

func FuzzPacked(f *testing.F) {
	d := open(f, options(f.TempDir()))
	s := d.snap.Load()
	for n := range all(&s.nodes) {
		f.Add(n.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := newNode(9, 1, data, s.dict)
		if err != nil {
			return
		}
		_, _ = n.unpack(s.dict), n.rdn()
		newFacts(s.dict.schema, s.dict.index).of(n, s.dict, func(uint32, []byte) {})
		s.account(n, d.suffix)
	})
}
