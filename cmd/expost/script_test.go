package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"expost": main})
}

// TestScripts runs the scripts of testdata through the real main. Beside the
// standard commands they have:
//
//	ready FILE   waits until a server has written its ready file
//	occupy NAME  listens on a free port until the end; $NAME is its address
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"ready":  waitReady,
			"occupy": occupy,
		},
	})
}

// waitReady waits until a file is there.
func waitReady(ts *testscript.TestScript, _ bool, args []string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case <-tick.C:
			if _, err := os.Stat(filepath.Join(ts.Getenv("WORK"), args[0])); !errors.Is(err, os.ErrNotExist) {
				ts.Check(err)
				return
			}
		case <-deadline:
			ts.Fatalf("%s was not written within 30 s", args[0])
		}
	}
}

// occupy takes a port.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}
