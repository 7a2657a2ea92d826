// Command serve is an IMAP server over an empty store, for load tests: every
// login is an account of its own and has the password "pass".
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"syscall"

	"expost/internal/directory"
	"expost/internal/imapserver"
	"expost/internal/listener"
	"expost/internal/mail"
	"expost/internal/store"
	"expost/internal/store/sqlite"
)

// anybody lets everybody in.
type anybody struct{}

func (anybody) Login(_ context.Context, login, password string) (*directory.Account, error) {
	if password != "pass" {
		return nil, mail.Errorf(mail.KindAuth, "wrong login or password")
	}
	return &directory.Account{ID: mail.AccountID("example.org/" + login), Address: mail.Address(login + "@example.org")}, nil
}

func main() {
	listen := flag.String("listen", "127.0.0.1:16143", "address")
	data := flag.String("data", "", "folder")
	pprof := flag.String("pprof", "", "address of the profiler")
	flag.Parse()
	engine, err := sqlite.New(*data, sqlite.Options{})
	if err != nil {
		log.Fatal(err)
	}
	st := store.New(engine, store.Options{})
	if *pprof != "" {
		go func() { log.Print(http.ListenAndServe(*pprof, nil)) }()
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	srv := imapserver.New(imapserver.Config{
		Store: st, Directory: anybody{}, Hostname: "localhost", PlaintextAuth: listener.PlaintextAlways,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err := srv.Serve(ctx, ln); err != nil {
		log.Fatal(err)
	}
	if err := st.Close(); err != nil {
		log.Fatal(err)
	}
}
