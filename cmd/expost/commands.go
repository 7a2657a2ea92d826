package main

import "github.com/spf13/cobra"

// subcommands returns every command, one file each.
func (a *app) subcommands() []*cobra.Command {
	return []*cobra.Command{
		serveCommand(a),
		accountCommand(a),
		queueCommand(a),
		logCommand(a),
		traceCommand(a),
		dkimCommand(a),
		moderationCommand(a),
		checkCommand(a),
		clientsCommand(a),
		galCommand(a),
		directoryCommand(a),
		migrateCommand(a),
		importCommand(a),
		exportCommand(a),
		pstCommand(a),
		sampleCommand(a),
		manCommand(a),
		versionCommand(a),
	}
}
