package main

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"expost/internal/migrate"
)

// restCommand prints what messages could not hold.
func (m *migration) restCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rest",
		Short: "Print what the ledger keeps of items that no message can hold",
		Long: `Print a line of JSON for each item of an Outlook file that was copied: its source,
folder and id there, and those of its properties that mail cannot hold. Of an
import without a plan, name the ledger: --ledger DATA/imports/….ledger`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := migrate.ReadLedger(m.ledgerPath())
			if err != nil {
				return err
			}
			enc := json.NewEncoder(m.stdout)
			err = l.Rest(cmd.Context(), func(source, folder, key string, rest []byte) error {
				return enc.Encode(map[string]any{"source": source, "folder": folder, "item": key, "rest": json.RawMessage(rest)})
			})
			return errors.Join(err, l.Close())
		},
	}
}
