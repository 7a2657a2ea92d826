package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Estimate is how long a first pass may take, from a measured sample.
type Estimate struct {
	Accounts int           `json:"accounts"` // that were sampled
	Messages int           `json:"messages"` // that were fetched for it
	Bytes    int64         `json:"bytes"`
	Took     time.Duration `json:"took_ns"`
	Duration time.Duration `json:"first_pass_ns"` // with as many accounts at once as the run has workers
	Note     string        `json:"note,omitempty"`

	Unreadable []string `json:"unreadable,omitempty"` // messages of the sample that the source did not give
}

// What a sample fetches.
const (
	sampleAccounts = 3
	sampleItems    = 100
	sampleBytes    = 8 << 20
)

// Estimate fetches a sample from the accounts of previews and says how long
// all of them may take. Nothing is kept.
func (e *Engine) Estimate(ctx context.Context, previews []Preview) (Estimate, error) {
	var out Estimate
	order := slices.Clone(previews)
	slices.SortStableFunc(order, func(x, y Preview) int { return y.Items - x.Items })
	for _, p := range order[:min(sampleAccounts, len(order))] {
		if p.Items == 0 || p.Problem != "" {
			continue
		}
		if err := e.sample(ctx, p.User, &out); err != nil {
			if ctx.Err() != nil {
				return out, ctx.Err()
			}
			out.Note = err.Error()
			continue
		}
		out.Accounts++
	}
	if out.Messages == 0 {
		return out, nil
	}
	items, longest := 0, 0
	for _, p := range previews {
		items += p.Items
		longest = max(longest, p.Items)
	}
	each := out.Took / time.Duration(out.Messages)
	all := each * time.Duration(items)
	// Accounts go side by side, as long as there are some; none is faster than alone.
	out.Duration = max(all/time.Duration(min(e.opt.Workers, max(1, len(previews)))), each*time.Duration(longest))
	return out, nil
}

// errEnough ends a sample.
var errEnough = errors.New("enough")

// sample fetches some messages of one account.
func (e *Engine) sample(ctx context.Context, u User, out *Estimate) error {
	src, err := e.openSource(ctx, u)
	if err != nil {
		return fmt.Errorf("opening the source account %s: %w", u.Source, err)
	}
	defer src.Close()
	folders, err := src.Folders(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(folders, func(x, y Folder) int { return y.State.Messages - x.State.Messages })
	if len(folders) == 0 || folders[0].NoItems {
		return nil
	}
	began := time.Now()
	defer func() { out.Took += time.Since(began) }()
	var items []Item
	_, err = src.Scan(ctx, folders[0], State{}, func(batch []Item) error {
		items = append(items, batch...)
		return nil
	})
	if err != nil {
		return err
	}
	step := max(1, len(items)/sampleItems) // from all over the folder, old and new
	var some []Item
	for i := 0; i < len(items); i += step {
		some = append(some, items[i])
	}
	fetched := int64(0)
	err = src.Fetch(ctx, folders[0], some, func(it Item, r io.Reader, err error) error {
		if isGone(err) {
			return nil
		}
		if err != nil {
			out.Unreadable = append(out.Unreadable, fmt.Sprintf("%s: folder %q, item %s: %v", u.Source, folders[0].Name, it.Key, err))
			return nil
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil {
			return err
		}
		out.Messages++
		out.Bytes += n
		if fetched += n; fetched > sampleBytes {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// String writes an estimate for people.
func (e Estimate) String() string {
	if e.Messages == 0 {
		return "no estimate: nothing could be fetched for one"
	}
	d := e.Duration.Round(time.Minute)
	if e.Duration < 2*time.Minute {
		d = max(e.Duration.Round(time.Second), time.Second)
	}
	rate := float64(e.Bytes) / max(e.Took.Seconds(), 1e-6)
	return fmt.Sprintf("a first pass may take %s: the source gave %d messages of a sample at %.0f a second, %s a second, to one login",
		d, e.Messages, float64(e.Messages)/max(e.Took.Seconds(), 1e-6), sizeText(int64(rate)))
}

// RouteNotes says what a kind of source cannot carry, and which can.
func RouteNotes(kind string) []string {
	switch kind {
	case "imap":
		return []string{
			"IMAP shows mail only. Calendars, contacts, tasks and notes come as mail that describes them, or not at all: take them from PST files (New-MailboxExportRequest; source.kind = \"pst\").",
			"Not obtainable by IMAP: rules, out-of-office texts, delegates and permissions, categories, recoverable items, in-place archives. PST files have categories and the archive; the rest is set up anew.",
			"Exchange makes the MIME of a message when it is asked for it: verification compares the content, and the bytes where they are the same.",
		}
	case "pst":
		return []string{
			"A PST has no UIDs: mail programs that knew the mailbox by IMAP fetch it again.",
			"Not in a PST: rules of the server, out-of-office texts, delegates and permissions.",
		}
	case "files":
		return []string{"Maildirs of Dovecot and Courier keep UIDs, keywords and subscriptions; mbox and EML files have none."}
	}
	return nil
}

// BatchBySize names the accounts of previews by size: batches of at most so many
// bytes, in the order of the previews. An account larger than that is alone.
func BatchBySize(previews []Preview, most int64) map[string]string {
	out := make(map[string]string, len(previews))
	n, sum := 1, int64(0)
	for i, p := range previews {
		size := max(p.Bytes, 0)
		if i > 0 && sum > 0 && sum+size > most {
			n, sum = n+1, 0
		}
		sum += size
		out[p.Source] = fmt.Sprintf("batch-%03d", n)
	}
	return out
}
