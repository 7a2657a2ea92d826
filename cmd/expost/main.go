// Command expost is a mail server with an LDAP address book, and the way an
// organisation leaves Microsoft Exchange for it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() { os.Exit(program()) }

// program runs the command line of this process and returns its exit status.
func program() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, "expost: finding the working folder:", err)
		return exitFailed
	}
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, dir: dir, password: passwordFromTerminal}
	if fd := int(os.Stderr.Fd()); term.IsTerminal(fd) {
		a.terminal = true
		a.width, _, _ = term.GetSize(fd)
	}
	return a.run(ctx, os.Args[1:])
}

// passwordFromTerminal asks on the terminal, without echo, even where standard
// input is something else.
func passwordFromTerminal(prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("asking for a password: %w (there is no terminal; use --password-stdin)", err)
	}
	defer tty.Close()
	fmt.Fprint(tty, prompt)
	pw, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	if err != nil {
		return "", fmt.Errorf("asking for a password: %w", err)
	}
	return string(pw), nil
}
