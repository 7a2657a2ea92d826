package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"expost/internal/config"
	"expost/internal/control"
	"expost/internal/mail"
)

// Exit statuses that scripts rely on.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// needsNode marks the commands that work on the data folder: while a server
// runs on it they are carried out inside that server.
const needsNode = "needs-node"

// app is one invocation of the program: in a process of its own, or inside a
// running server on behalf of one.
type app struct {
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
	dir      string // the caller's working folder
	terminal bool   // stderr is a terminal
	width    int    // its columns
	password func(prompt string) (string, error)

	configFile string // --config
	data       string // --data
	json       bool   // --json

	args   []string
	live   *node // of the running server; nil in a process of its own
	opened *node
}

// exitStatus is an error that carries an exit status and has been reported.
type exitStatus int

// Error names the status.
func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a wrong command line.
type usageError struct{ err error }

// Error returns what is wrong with the command line.
func (e usageError) Error() string { return e.err.Error() }

// run carries out a command line and returns its exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.command()
	a.args = args
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if cerr := a.close(); err == nil {
		err = cerr
	}
	if err == nil {
		return exitDone
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	usage, isUsage := errors.AsType[usageError](err)
	if !isUsage && isCobraUsage(err) {
		usage, isUsage = usageError{err}, true
	}
	if isUsage {
		fmt.Fprintf(a.stderr, "expost: %v\nSee '%s --help'.\n", usage, cmd.CommandPath())
		return exitUsage
	}
	if ctx.Err() != nil {
		fmt.Fprintf(a.stderr, "expost: stopped: %v (the same command goes on where this one stopped)\n", err)
		return exitFailed
	}
	fmt.Fprintln(a.stderr, "expost:", err)
	return exitFailed
}

// isCobraUsage tells cobra's own complaints about a command line, which have
// no type.
func isCobraUsage(err error) bool {
	for _, p := range []string{"unknown command", "unknown flag", "unknown shorthand", "required flag", "accepts ", "requires at least", "invalid argument", "flag needs an argument", "if any flags in the group"} {
		if strings.HasPrefix(err.Error(), p) {
			return true
		}
	}
	return false
}

// command returns the whole command tree.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "expost",
		Short: "A mail server with an address book, and the way to it from Microsoft Exchange",
		Long: `Expost is a mail server (SMTP, IMAP, POP3, and an LDAP address book) in one
program, and the tool that moves an organisation to it from Microsoft Exchange.

  expost serve                         start the server
  expost gal import addressbook.csv    take over the address list
  expost migrate run -f migration.toml take over the mailboxes
  expost account add ajay@example.org  make one account by hand

Commands work whether or not the server runs: they find it through its data
folder (--data, or the configuration's) and are then carried out inside it.
The configuration is --config, else $EXPOST_CONFIG, else ./expost.toml, else
/etc/expost/expost.toml, else defaults with the data in ./expost-data.

Exit status: 0 done, 1 failed, 2 wrong usage.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: a.forward,
	}
	root.Version = versionText()
	root.SetVersionTemplate("expost {{.Version}}\n")
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	f := root.PersistentFlags()
	f.StringVar(&a.configFile, "config", "", "configuration `file`")
	f.StringVar(&a.data, "data", "", "data `folder`, instead of the configuration's")
	f.BoolVar(&a.json, "json", false, "print JSON for programs")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(a.subcommands()...)
	return root
}

// forward hands a command that needs the node to the server that runs on the
// data folder, where there is one.
func (a *app) forward(cmd *cobra.Command, _ []string) error {
	if a.live != nil || cmd.Annotations[needsNode] == "" {
		return nil
	}
	c, err := a.config()
	if err != nil {
		return err
	}
	conn, err := control.Dial(socketPath(c))
	if err != nil || conn == nil {
		return err
	}
	status, err := control.Run(cmd.Context(), conn,
		control.Request{Args: a.args, Dir: a.dir, Terminal: a.terminal, Width: a.width},
		control.Caller{Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr, Password: a.password})
	if err != nil {
		return err
	}
	return exitStatus(status)
}

// config returns the configuration: the running server's, or the file's.
func (a *app) config() (config.Config, error) {
	if a.live != nil {
		return a.live.Config, nil
	}
	file := a.configFile
	if file == "" {
		file = defaultConfigFile(a.dir)
	} else {
		file = a.path(file)
	}
	c, err := config.Load(file)
	if err != nil {
		return c, err
	}
	if a.data != "" {
		c.Data = a.data
	}
	c.Data = a.path(c.Data)
	return c, nil
}

// defaultConfigFile returns the first of the usual places that exists, or "".
func defaultConfigFile(dir string) string {
	if f := os.Getenv("EXPOST_CONFIG"); f != "" {
		return f
	}
	for _, f := range []string{filepath.Join(dir, "expost.toml"), "/etc/expost/expost.toml"} {
		if _, err := os.Stat(f); err == nil {
			return f
		}
	}
	return ""
}

// socketPath returns the control socket of a data folder.
func socketPath(c config.Config) string { return filepath.Join(c.Data, "control.sock") }

// node returns the store and the directory: the running server's, or opened
// here under the data folder's lock for the rest of this invocation.
func (a *app) node(ctx context.Context) (*node, error) {
	if a.live != nil {
		return a.live, nil
	}
	if a.opened == nil {
		c, err := a.config()
		if err != nil {
			return nil, err
		}
		if a.opened, err = openNode(ctx, c, newLogger(a.stderr, config.Log{Level: "warn", Format: c.Log.Format})); err != nil {
			return nil, err
		}
	}
	return a.opened, nil
}

// close closes what node opened.
func (a *app) close() error {
	if a.opened == nil {
		return nil
	}
	n := a.opened
	a.opened = nil
	return n.Close()
}

// path resolves a path against the caller's folder.
func (a *app) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(a.dir, p)
}

// open opens a file of the caller's; "-" is standard input.
func (a *app) open(p string) (io.ReadCloser, error) {
	if p == "-" {
		return io.NopCloser(a.stdin), nil
	}
	f, err := os.Open(a.path(p))
	if err != nil && errors.Is(err, os.ErrPermission) && a.live != nil {
		return nil, mail.WrapError(mail.KindPermission, err, "the running server may not read %s: make it readable for the server's user, or stop the server and run the command again", p)
	}
	return f, err
}

// printJSON writes v as indented JSON.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
