package queue

import "context"

// Counts returns how many recipients are in each state, by its name.
func (q *Queue) Counts(ctx context.Context) (map[string]int64, error) {
	counts := map[string]int64{}
	for s := Ready; s <= Relayed; s++ {
		counts[s.String()] = 0
	}
	err := q.view(func(db *database) error {
		return db.query(`SELECT state, count(*) FROM rcpt GROUP BY state`, func(r *row) error {
			counts[State(r.ColumnInt64(0)).String()] = r.ColumnInt64(1)
			return ctx.Err()
		})
	})
	return counts, err
}
