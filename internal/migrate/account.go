package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/semaphore"
)

// pass is one pass over one account, by two goroutines: one walks through the
// source folder by folder and sends jobs, the other, the writer, carries them
// out at the target in that order.
type pass struct {
	*Engine
	user   User
	row    accountRow
	src    SourceAccount
	dst    TargetAccount
	jobs   chan *job
	memory *semaphore.Weighted // bytes of messages on their way
	lost   map[string]error    // folders to leave out, by key

	originals map[int64]string // folders of the target that hold what the ledger says, by id

	res    *Result // the writer's
	failed []error // of single folders; the writer's
}

// What one account may have on its way: jobs, and bytes in memory.
const (
	jobQueue  = 4 * batchItems
	jobMemory = 24 << 20
)

// folderError is an error of one folder.
type folderError struct {
	key, name string
	err       error
}

// Error names the folder.
func (e *folderError) Error() string { return fmt.Sprintf("folder %q: %v", e.name, e.err) }

// Unwrap returns the cause.
func (e *folderError) Unwrap() error { return e.err }

// pass opens both sides and copies what the source has and the target has not.
// What was fetched when the source is lost is still written.
func (e *Engine) pass(ctx context.Context, row accountRow, res *Result, lost map[string]error) (err error) {
	walking, stop := context.WithCancel(ctx)
	defer stop()
	dst, err := e.target.Open(ctx, row.user)
	if err != nil {
		return fmt.Errorf("opening the target account %s: %w", row.user.Target, err)
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	src := row.src
	if src == nil {
		if src, err = e.openSource(walking, row.user); err != nil {
			return fmt.Errorf("opening the source account %s: %w", row.user.Source, err)
		}
		defer src.Close() // nothing was written there: its error says nothing
	}
	p := &pass{
		Engine: e, user: row.user, row: row, src: src, dst: dst, lost: lost, res: res,
		jobs: make(chan *job, jobQueue), memory: semaphore.NewWeighted(jobMemory),
	}
	p.remember(ctx)
	walked := make(chan error, 1)
	go func() {
		defer close(p.jobs)
		walked <- p.walk(walking)
	}()
	err = (&writer{pass: p}).run(ctx)
	if err != nil {
		stop()
	}
	for j := range p.jobs { // what a writer that failed has left
		p.drop(j)
	}
	if werr := <-walked; err == nil {
		err = werr
	}
	if d, ok := src.(Damaged); ok {
		for _, text := range d.Damage() {
			if !slices.Contains(res.Damage, text) {
				res.Damage = append(res.Damage, text)
			}
		}
	}
	return errors.Join(append([]error{err}, p.failed...)...)
}

// fail records what is wrong with one folder.
func (p *pass) fail(ctx context.Context, f *folderRow, err error) error {
	p.failed = append(p.failed, &folderError{f.Key, f.Name, err})
	p.opt.Log.Warn("a folder was left out", "source", p.user.Source, "folder", f.Name, "error", err)
	f.error, f.settled = err.Error(), false
	return p.ledger.putFolder(ctx, p.row.id, f)
}

// walk goes through the folders that need work.
func (p *pass) walk(ctx context.Context) error {
	todo, missing, err := p.survey(ctx)
	if err != nil {
		return err
	}
	for _, f := range todo {
		err := p.lost[f.Key]
		if err == nil {
			err = p.walkFolder(ctx, f)
			if err != nil && (ctx.Err() != nil || passing(err)) {
				return &folderError{f.Key, f.Name, err}
			}
		}
		if err != nil { // a folder that cannot be read does not keep the others
			if err := p.send(ctx, &job{do: func(ctx context.Context, _ *writer) error { return p.fail(ctx, f, err) }}); err != nil {
				return err
			}
		}
	}
	return p.walkDeleted(ctx, missing)
}

// survey compares the source's folders with the ledger and the target, brings
// the ledger up to date and returns the folders that need work, and those that
// the source lists no more, those below others first.
func (p *pass) survey(ctx context.Context) (todo, missing []*folderRow, err error) {
	folders, err := p.src.Folders(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the source's folders: %w", err)
	}
	targets, err := p.dst.Folders(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the target's folders: %w", err)
	}
	if targets, err = p.followRenames(ctx, folders, targets); err != nil {
		return nil, nil, err
	}
	rows, missing, err := p.ledger.sync(ctx, p.row.id, folders, namesAt(p.dst))
	if err != nil {
		return nil, nil, err
	}
	slices.SortStableFunc(missing, deeper)
	byName := make(map[string]Folder, len(targets))
	for _, t := range targets {
		byName[t.Name] = t
	}
	p.originals = map[int64]string{}
	for _, f := range slices.Concat(rows, missing) {
		if t, exists := byName[f.target]; exists && f.adopted != 0 && t.State.UIDValidity == f.adopted {
			p.originals[f.id] = f.target
		}
	}
	items := 0
	for _, f := range rows {
		if p.excluded(f.Name) {
			if err := p.ledger.leaveOut(ctx, p.row.id, f); err != nil {
				return nil, nil, err
			}
			continue
		}
		work, err := p.needsWork(ctx, f, byName)
		if err != nil {
			return nil, nil, err
		}
		if work {
			todo = append(todo, f)
			items += max(0, f.State.Messages)
		}
	}
	p.opt.Progress.Start(p.user, items)
	return todo, missing, nil
}

// needsWork tells whether anything can be different from what the last pass
// left, and takes back what the ledger says of a target that was replaced.
func (p *pass) needsWork(ctx context.Context, f *folderRow, targets map[string]Folder) (bool, error) {
	t, exists := targets[f.target]
	f.occupied = t.State.Messages > 0
	f.made = f.made || f.adopted == 0 && !exists
	if p.row.stage == StageMoved {
		return p.needsStragglers(ctx, f, exists && t.State.UIDValidity == f.adopted)
	}
	same := t.State.UIDValidity == f.adopted || f.renewing != 0 && t.State.UIDValidity == f.renewing
	if f.adopted != 0 && (!exists || !same || t.State.UIDNext <= f.top) {
		p.opt.Log.Warn("the target's folder is not the one that was filled: copying it again", "target", p.user.Target, "folder", f.target)
		f.made = !exists
		return true, p.ledger.forget(ctx, p.row.id, f)
	}
	if !f.settled || !exists || f.renewing != 0 {
		return true, nil
	}
	if f.NoItems {
		return false, nil
	}
	s := f.State
	if s.ModSeq == 0 || s.ModSeq != f.since.ModSeq || s.UIDNext != f.since.UIDNext || s.Messages != f.since.Messages {
		return true, nil
	}
	c, err := p.ledger.counts(ctx, f.id)
	return c.Aside+c.Seen > 0, err
}

// needsStragglers tells whether the source's folder may have something new
// though the account has moved. What became of the target's folder meanwhile is
// its user's doing.
func (p *pass) needsStragglers(ctx context.Context, f *folderRow, same bool) (bool, error) {
	if !same {
		f.adopted, f.renewing, f.merged, f.base, f.top = 0, 0, "", 0, 0
	}
	s := f.State
	if f.NoItems || f.settled && s.ModSeq != 0 && s.UIDNext == f.since.UIDNext {
		return false, nil
	}
	c, err := p.ledger.counts(ctx, f.id)
	return !f.settled || c.Seen+c.Aside > 0 || s.Messages != f.since.Messages || s.UIDNext != f.since.UIDNext, err
}

// send gives a job to the writer.
func (p *pass) send(ctx context.Context, j *job) error {
	select {
	case p.jobs <- j:
		return nil
	case <-ctx.Done():
		p.drop(j)
		return ctx.Err()
	}
}
