package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"expost/internal/config"
	"expost/internal/mail"
	"expost/internal/migrate"
	sourcepst "expost/internal/migrate/source/pst"
)

func pstExportCommand(a *app) *cobra.Command {
	var opt pstFlags
	format, domain := "maildir", ""
	cmd := &cobra.Command{
		Use:   "export FILE DIR",
		Short: "Write everything in a file as Maildir, mbox or .eml files",
		Long: `Write everything in an Outlook file into the folder DIR, converted as expost import
does: mail as mail; contacts, appointments, tasks, notes and journal entries as
mail with a vCard or iCalendar file attached.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "maildir" { // whose ledger keeps more, and which gains nothing
				spareCollector()
			}
			log := newLogger(a.stderr, config.Log{Level: "warn"})
			path := a.path(args[0])
			name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
			x := &exporting{app: a, source: sourcepst.New(sourcepst.Config{Codepage: opt.codepage, Recover: opt.recover, Log: log}),
				user: migrate.User{Source: path, Target: mail.Address("export@" + domain)}, dir: a.path(args[1]), format: format, name: name}
			return x.run(cmd.Context())
		},
	}
	opt.add(cmd)
	cmd.Flags().StringVar(&format, "format", format, "`format`: "+exportFormats)
	cmd.Flags().StringVar(&domain, "domain", "migrated.invalid", "in addresses that are known in Exchange's form only, and in ids of items without any")
	return cmd
}

// spareCollector lets a command that runs once and keeps little have more garbage
// between two collections, unless GOGC says how much.
func spareCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(min(debug.SetMemoryLimit(-1), 512<<20)) // collects more often from there on
	}
}
