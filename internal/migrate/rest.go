package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/ncruces/go-sqlite3"
)

// What items have that no message can hold, properties of Outlook mostly, is kept
// in a table of its own: a row for each batch that landed, of lines of JSON,
// compressed together. Nothing reads it but people who miss something.
const restSchema = `CREATE TABLE IF NOT EXISTS rest (
	id     INTEGER PRIMARY KEY,
	folder INTEGER NOT NULL REFERENCES folder,
	data   BLOB NOT NULL                     -- zstd of lines {"key":…,"rest":…}
)`

// restLine is what is kept of one item.
type restLine struct {
	Key  string          `json:"key"`
	Rest json.RawMessage `json:"rest"`
}

// maxRest bounds what is decompressed of one row.
const maxRest = 1 << 30

// writeRest keeps what is left of the items of a batch. The caller is in update.
func (l *Ledger) writeRest(folder int64, rows []row) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, r := range rows {
		if len(r.Rest) == 0 {
			continue
		}
		if err := enc.Encode(restLine{r.Key, r.Rest}); err != nil {
			return fmt.Errorf("keeping what a message cannot hold of item %s: %w", r.Key, err)
		}
	}
	if b.Len() == 0 {
		return nil
	}
	if l.packer == nil {
		var err error
		if l.packer, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err != nil {
			return fmt.Errorf("making a compressor: %w", err)
		}
		if err := l.wrap(l.db.Exec(restSchema), "making the ledger's tables"); err != nil {
			return err
		}
	}
	return l.exec(`INSERT INTO rest (folder, data) VALUES (?, ?)`, folder, l.packer.EncodeAll(b.Bytes(), nil))
}

// Rest calls fn with what was kept of each item beside its message: the account's
// source, the folder's name and the item's key there, and a JSON object. Of an
// item that was copied again the last one comes last.
func (l *Ledger) Rest(ctx context.Context, fn func(source, folder, key string, rest []byte) error) error {
	unpacker, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRest))
	if err != nil {
		return fmt.Errorf("making a decompressor: %w", err)
	}
	defer unpacker.Close()
	return l.view(ctx, func() error {
		there := false
		if err := l.query(`SELECT 1 FROM sqlite_master WHERE name = 'rest'`, func(*sqlite3.Stmt) error { there = true; return nil }); err != nil || !there {
			return err
		}
		return l.query(`SELECT account.source, folder.name, rest.data FROM rest JOIN folder ON folder.id = rest.folder
			JOIN account ON account.id = folder.account ORDER BY rest.id`, func(s *sqlite3.Stmt) error {
			source, folder := s.ColumnText(0), s.ColumnText(1)
			text, err := unpacker.DecodeAll(s.ColumnRawBlob(2), nil)
			if err != nil {
				return fmt.Errorf("unpacking what was kept of folder %q: %w", folder, err)
			}
			for line := range bytes.Lines(text) {
				var x restLine
				if err := json.Unmarshal(line, &x); err != nil {
					return fmt.Errorf("reading what was kept of folder %q: %w", folder, err)
				}
				if err := fn(source, folder, x.Key, x.Rest); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	})
}
