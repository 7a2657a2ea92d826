package sqlite_test

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"expost/internal/store/sqlite"
	"expost/internal/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m, open)) }

// TestKill kills a process under load: 5 times, or as often as the environment
// variable CRASH_ROUNDS says.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv("CRASH_ROUNDS")); err == nil {
		rounds = n
	}
	storetest.Crash(t, open, rounds)
}

func TestPowerCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := newFaultVFS(t, dir)
	e, err := sqlite.New(dir, sqlite.Options{VFS: v.name})
	if err != nil {
		t.Fatal(err)
	}
	storetest.PowerCut(t, e, v.image, open, 30)
}

func TestDiskFails(t *testing.T) {
	t.Parallel()
	for _, failure := range diskFailures {
		t.Run(failure.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			v := newFaultVFS(t, dir)
			e, err := sqlite.New(dir, sqlite.Options{VFS: v.name})
			if err != nil {
				t.Fatal(err)
			}
			storetest.Failing(t, e, func() { v.fail.Store(&failure.err) }, func() { v.fail.Store(nil) })
		})
	}
}

// TestDiskFull fills a real, small file system.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	ballast := dir + "/ballast"
	storetest.Failing(t, open(t, dir), func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
	}, func() { os.Remove(ballast) })
}
