package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"expost/internal/mail"
)

// Stage says where an account's mailbox lives, or is on its way to. It is
// written down before anything is done; the directory's mailHost decides what
// a crash has left:
//
//	""         It lives at the source; passes copy it.
//	cutting    A cutover has begun. Crash: where the mailHost is the target's
//	           already, everything before the flip was done and verified, and the
//	           next command writes moved. Else nothing has changed: the account
//	           was only frozen, which ends with the process.
//	moved      It lives at the target. Later passes only bring over what is new
//	           at the source; what users do at the target is theirs.
//	returning  A rollback has begun. Crash: where the mailHost is the old one
//	           already, the next command writes ""; else the account lives at the
//	           target as before, and what was carried to the source is known
//	           message by message.
type Stage string

// The stages of an account. The words are in ledgers.
const (
	StageCopying   Stage = ""
	StageCutting   Stage = "cutting"
	StageMoved     Stage = "moved"
	StageReturning Stage = "returning"
)

// Site is where accounts live: what cutovers freeze and flip.
type Site struct {
	// Place returns the account of an address and its mailHost, "" for the
	// target's own. mail.KindNotExist.
	Place func(ctx context.Context, addr mail.Address) (id mail.AccountID, host string, err error)
	// Ready says what keeps the account's user from working at the target, or nil.
	// A nil Ready is not asked.
	Ready func(ctx context.Context, addr mail.Address) error
	// Freeze ends the account's sessions, waits for deliveries, and keeps new
	// ones waiting until thaw.
	Freeze func(ctx context.Context, id mail.AccountID) (thaw func(), err error)
	// IDs takes over the ids by which clients of POP3 know the messages, from the
	// account's host, and says how that went, "" where the host has none. It is
	// called before the freeze and, where it says so, once more behind the flip. A
	// nil IDs is not asked.
	IDs func(ctx context.Context, u User, host string) (note string, again bool)
	// SetHost writes the mailHost, on disk when it returns; "" for the target's own.
	SetHost func(ctx context.Context, addr mail.Address, host string) error
}

// Move is what a cutover or rollback did with one account.
type Move struct {
	User    User          `json:"-"`
	Source  string        `json:"source"`
	Target  string        `json:"target"`
	Done    bool          `json:"done"`
	Before  string        `json:"mailHost_before"`
	After   string        `json:"mailHost_after"`
	Gap     time.Duration `json:"frozen_ns"` // how long nobody could work with the mailbox
	Copied  int           `json:"copied"`    // while it was frozen
	Updated int           `json:"flags_changed"`
	Removed int           `json:"removed"`
	Carried int           `json:"carried_back,omitempty"` // by a rollback
	Moved   int           `json:"moved_back,omitempty"`   // between folders of the old server
	Left    int           `json:"left_here,omitempty"`    // what a rollback did not carry
	// Renumbered are folders in which messages that came here have other UIDs at the
	// old server: clients have to fetch them again, and do not know.
	Renumbered []string `json:"renumbered,omitempty"`
	Problems   []string `json:"problems,omitempty"` // why it was not done
	Note       string   `json:"note,omitempty"`
	IDs        string   `json:"pop3_ids,omitempty"` // what became of those of POP3
	Error      string   `json:"error,omitempty"`
}

// freezeTime bounds how long a cutover waits for an account's sessions to end.
const freezeTime = 20 * time.Second

// Cutover moves accounts, several at a time: a pass while users work, then,
// with the account frozen, a last pass, a comparison of folders and counts, and
// the flip of the mailHost. What goes wrong leaves the account where it was.
func (e *Engine) Cutover(ctx context.Context, users []User, site Site) ([]Move, error) {
	return e.moves(ctx, users, func(ctx context.Context, row accountRow, m *Move) error { return e.cutover(ctx, row, site, m) })
}

// moves calls fn for each account, several at a time.
func (e *Engine) moves(ctx context.Context, users []User, fn func(context.Context, accountRow, *Move) error) ([]Move, error) {
	e.opt.Progress.Accounts(len(users))
	if err := e.ledger.enter(ctx, users); err != nil {
		return nil, err
	}
	now := e.opt
	now.Pace = Pace{Workers: e.opt.Workers} // whoever waits for a cutover waits for no window
	e.pacer = newPacer(now)
	stop := e.startSpoolers(ctx)
	out := make([]Move, len(users))
	turns := byTarget(users)
	err := each(ctx, e.opt.Workers, len(turns), func(ctx context.Context, n int) error {
		for _, i := range turns[n] {
			u := users[i]
			out[i] = Move{User: u, Source: u.Source, Target: string(u.Target)}
			row, err := e.ledger.account(ctx, u)
			if err != nil {
				return err
			}
			if err := fn(ctx, row, &out[i]); err != nil {
				out[i].Error = err.Error()
			}
			e.opt.Progress.Done(u, Result{User: u})
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	return out, errors.Join(err, stop())
}

// cutover moves one account.
func (e *Engine) cutover(ctx context.Context, row accountRow, site Site, m *Move) error {
	id, host, err := site.Place(ctx, row.user.Target)
	if err != nil {
		return fmt.Errorf("looking up %s: %w", row.user.Target, err)
	}
	m.Before, m.After = host, host
	switch {
	case row.stage == StageMoved && host == "":
		m.Done, m.Note = true, "it has moved already"
		return nil
	case row.stage == StageCutting && host == "":
		m.Before, m.Done, m.Note = row.host, true, "a cutover that was interrupted had flipped it already"
		row.stage, row.moved = StageMoved, e.opt.Now().Unix()
		return e.land(ctx, row, "cutover", m)
	case host == "":
		return mail.Errorf(mail.KindInvalid, "%s has no other mailHost: it lives here already, and users see what passes copy; "+
			"a cutover is for accounts whose mailHost is the old server (expost account set %s --mail-host HOST)", row.user.Target, row.user.Target)
	}
	if site.Ready != nil {
		if err := site.Ready(ctx, row.user.Target); err != nil {
			return err
		}
	}
	if row.stage == StageMoved || row.stage == StageReturning { // it was flipped back by hand, or by a rollback that was interrupted
		if err := e.reconcile(ctx, row); err != nil {
			return err
		}
	}
	row.stage, row.host = StageCopying, host
	var warm Result
	if err := e.patience(ctx, row); err != nil {
		return err
	}
	// One session at the source for both passes: making another one would take
	// longer than all else that is done while nobody can work.
	if row.src, err = e.openSource(ctx, row.user); err != nil {
		return fmt.Errorf("opening the source account %s: %w", row.user.Source, err)
	}
	defer row.src.Close() // nothing was written there: its error says nothing
	if err := e.attempts(ctx, row, &warm); err != nil {
		return fmt.Errorf("the pass before the cutover: %w", err)
	}
	again := false
	if site.IDs != nil {
		m.IDs, again = site.IDs(ctx, row.user, host)
	}
	row.stage = StageCutting
	if err := e.ledger.setStage(ctx, row); err != nil {
		return err
	}
	err = e.frozen(ctx, id, site, &row, m)
	ctx = context.WithoutCancel(ctx)
	if !m.Done {
		row.stage = StageCopying
		return errors.Join(err, e.ledger.setStage(ctx, row))
	}
	if again {
		m.IDs, _ = site.IDs(ctx, row.user, host)
	}
	return errors.Join(err, e.land(ctx, row, "cutover", m))
}

// frozen is the part of a cutover in which nobody can work with the mailbox.
func (e *Engine) frozen(ctx context.Context, id mail.AccountID, site Site, row *accountRow, m *Move) error {
	waiting, cancel := context.WithTimeout(ctx, freezeTime)
	defer cancel()
	thaw, err := site.Freeze(waiting, id)
	if err != nil {
		return fmt.Errorf("freezing the account: %w", err)
	}
	defer thaw()
	began := time.Now()
	var res Result
	last := *row
	last.stage = StageCopying
	err = e.pass(ctx, last, &res, map[string]error{})
	m.Copied, m.Updated, m.Removed = res.Copied+res.There+res.Moved, res.Updated, res.Removed
	if err != nil {
		return fmt.Errorf("the last pass: %w", err)
	}
	if m.Problems, err = e.level(ctx, *row); err != nil || len(m.Problems) > 0 {
		return err
	}
	if err := e.ledger.settle(ctx); err != nil {
		return err
	}
	if err := site.SetHost(ctx, row.user.Target, ""); err != nil {
		return fmt.Errorf("flipping the mailHost: %w", err)
	}
	m.After, m.Done, m.Gap = "", true, time.Since(began)
	row.stage, row.moved, row.gap = StageMoved, e.opt.Now().Unix(), m.Gap.Milliseconds()
	// The flip is done: where this is not written down any more, the next command
	// finds it.
	return e.ledger.setStage(context.WithoutCancel(ctx), *row)
}

// land writes down where an account has arrived.
func (e *Engine) land(ctx context.Context, row accountRow, what string, m *Move) error {
	digest, err := e.ledger.digest(ctx, row.id)
	if err != nil {
		return err
	}
	about := struct {
		*Move
		Items string `json:"items_sha256"`
	}{m, digest}
	return e.ledger.update(ctx, func() error {
		if err := e.ledger.exec(`UPDATE account SET stage = ?, host = ?, moved = ?, gap = ? WHERE id = ?`,
			string(row.stage), row.host, row.moved, row.gap, row.id); err != nil {
			return err
		}
		if row.stage == StageMoved { // its rows claim what a rollback before had carried
			if err := e.ledger.exec(`DELETE FROM carried WHERE account = ?`, row.id); err != nil {
				return err
			}
		}
		return e.ledger.link(row.id, what, about)
	})
}

// level compares folders and counts of both sides with the ledger, right
// behind a pass, and says what is not as it should be.
func (e *Engine) level(ctx context.Context, row accountRow) (problems []string, err error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	dst, err := e.target.Open(ctx, row.user)
	if err != nil {
		return nil, fmt.Errorf("opening the target account %s: %w", row.user.Target, err)
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	targets, err := dst.Folders(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the target's folders: %w", err)
	}
	held := make(map[string]int, len(targets))
	for _, t := range targets {
		held[t.Name] = t.State.Messages
	}
	rows, err := e.ledger.folders(ctx, row.id)
	if err != nil {
		return nil, err
	}
	for _, f := range rows {
		if !f.present || f.NoItems || f.error == leftOut {
			continue
		}
		c, err := e.ledger.counts(ctx, f.id)
		if err != nil {
			return nil, err
		}
		n, there := held[f.target]
		switch {
		case f.error != "":
			wrong("folder %q: %s", f.Name, f.error)
		case !f.settled:
			wrong("folder %q: the last pass left something undone", f.Name)
		case !there:
			wrong("folder %q is missing at the target", f.Name)
		case n < c.Placed():
			wrong("folder %q: the target holds %d messages, the ledger says %d", f.Name, n, c.Placed())
		case c.Seen > 0:
			wrong("folder %q: %d messages wait to be copied", f.Name, c.Seen)
		case f.since.Messages >= 0 && c.Items() != f.since.Messages:
			wrong("folder %q: the source holds %d messages, the ledger says %d", f.Name, f.since.Messages, c.Items())
		}
	}
	return problems, nil
}

// String writes a move for people, one line.
func (m Move) String() string {
	switch {
	case m.Error != "":
		return fmt.Sprintf("%s: stays at %s: %s", m.Target, m.Before, strings.ReplaceAll(m.Error, "\n", "; "))
	case len(m.Problems) > 0:
		return fmt.Sprintf("%s: stays at %s: %s", m.Target, m.Before, strings.Join(m.Problems, "; "))
	case m.Note != "":
		return fmt.Sprintf("%s: %s", m.Target, m.Note)
	}
	text := fmt.Sprintf("%s: %s -> %s, frozen for %.2f s; ", m.Target, hostText(m.Before), hostText(m.After), m.Gap.Seconds())
	if m.After == "" {
		text += fmt.Sprintf("%d new, %d changed, %d removed in it", m.Copied, m.Updated, m.Removed)
	} else {
		text += fmt.Sprintf("carried back: %d new, %d changed, %d moved, %d removed; %d only here", m.Carried, m.Updated, m.Moved, m.Removed, m.Left)
		if len(m.Renumbered) > 0 {
			text += "; clients have to fetch anew: " + strings.Join(m.Renumbered, ", ")
		}
	}
	if m.IDs != "" {
		text += "; " + m.IDs
	}
	return text
}

func hostText(host string) string {
	if host == "" {
		return "here"
	}
	return host
}
