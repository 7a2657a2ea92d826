package pst

import (
	"context"
	"slices"
	"strconv"

	"expost/internal/migrate"
)

// Scan implements migrate.SourceAccount. The first time it yields keys only,
// since Fetch reads the items anyway; where the file was copied before and has
// been written to since, it yields flags too, so that changed ones are seen.
func (a *account) Scan(ctx context.Context, f migrate.Folder, since migrate.State, yield func([]migrate.Item) error) (migrate.Scanned, error) {
	d, err := a.folder(ctx, f)
	if err != nil {
		return migrate.Scanned{}, err
	}
	ids := d.of.IDs()
	if err := a.disk.err(); err != nil {
		return migrate.Scanned{}, err
	}
	state := d.State
	state.Messages = len(ids)
	for batch := range slices.Chunk(ids, migrate.ScanBatch) {
		items := make([]migrate.Item, len(batch))
		for i, id := range batch {
			if err := ctx.Err(); err != nil {
				return migrate.Scanned{}, err
			}
			items[i] = migrate.Item{Key: strconv.FormatUint(uint64(id), 16), Size: -1}
			if since.ModSeq != 0 {
				items[i] = a.marks(id, items[i])
			}
		}
		if err := a.disk.err(); err != nil {
			return migrate.Scanned{}, err
		}
		if err := yield(items); err != nil {
			return migrate.Scanned{}, err
		}
	}
	return migrate.Scanned{State: state}, nil
}

// marks returns an item with its flags. One that cannot be read is left to
// Fetch.
func (a *account) marks(id uint32, it migrate.Item) migrate.Item {
	m, err := a.pst.Message(id)
	if err != nil {
		return it
	}
	return marked(it, a.converter().Marks(m), 0)
}
