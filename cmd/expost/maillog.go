package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"expost/internal/config"
	"expost/internal/maillog"
)

// openMailLog opens the mail log; nil where the configuration turns it off.
func (n *node) openMailLog() (err error) {
	c := n.Config.MailLog
	if c.Off {
		return nil
	}
	if c.Folder == "" {
		c.Folder = filepath.Join(n.Config.Data, "log")
	}
	n.MailLog, err = maillog.Open(maillog.Config{Dir: c.Folder, Keep: time.Duration(c.Keep), MaxFile: c.MaxFile, Observe: n.Metrics.Mail, Log: n.Log})
	return err
}

// logCommand is the parent of what is done with the mail log.
func logCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Find out what became of a message",
	}
	cmd.AddCommand(logFindCommand(a))
	return cmd
}

// logFindCommand tells the stories of messages.
func logFindCommand(a *app) *cobra.Command {
	var q maillog.Query
	var since, until string
	cmd := nodeCommand(a, cobra.Command{
		Use:   "find",
		Short: "Tell the whole story of messages: received, queued, each attempt, delivered or returned",
		Long: `Find messages in the mail log and tell their stories: a line for each message and
recipient at each step, from the client's hands to the mailbox, the next server
or the report to the sender.

--from and --to take an address, or @domain for all of one. --id takes the id that
we said when we accepted the message, the one of the queue, or the Message-ID.
--since and --until take a date, a date with a time, or how long ago.`,
		Example: `  expost log find --to ajay@example.org --since 2h
  expost log find --from @example.org --since 2026-11-27 --until 2026-11-28
  expost log find --id 4ZVQ2M5YXGKJ7H2A --json`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, n *node, _ []string) (err error) {
		now := time.Now()
		if q.Since, err = parseWhen(since, now); err != nil {
			return usageError{err}
		}
		if q.Until, err = parseWhen(until, now); err != nil {
			return usageError{err}
		}
		if n.MailLog == nil {
			return fmt.Errorf("the configuration turns the mail log off (maillog.off)")
		}
		stories, err := n.MailLog.Find(ctx, q)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(stories)
		}
		for i, s := range stories {
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			for _, r := range s.Records {
				fmt.Fprintln(a.stdout, storyLine(&r))
			}
		}
		return nil
	})
	f := cmd.Flags()
	f.StringVar(&q.From, "from", "", "of this sender: an `address`, @domain, or <> for reports")
	f.StringVar(&q.To, "to", "", "for this recipient: an `address` or @domain")
	f.StringVar(&since, "since", "", "not before this `time`: 2h, 3d, 2026-11-27, 2026-11-27T15:04")
	f.StringVar(&until, "until", "", "before this `time`")
	f.StringVar(&q.ID, "id", "", "this message: an `id` of ours, of the queue, or a Message-ID")
	f.IntVar(&q.Limit, "limit", 1000, "at most this `number` of messages, the newest")
	return cmd
}

// parseWhen reads a point in time, or how long ago it was.
func parseWhen(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	var ago config.Duration
	if err := ago.UnmarshalText([]byte(s)); err == nil {
		return now.Add(-time.Duration(ago)), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 2h, 3d, 2026-11-27 or 2026-11-27T15:04", s)
}

// storyLine is a record for people.
func storyLine(r *maillog.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-9s", r.Time.Local().Format("2006-01-02 15:04:05.000"), r.Event)
	field := func(format string, value string) {
		if value != "" {
			fmt.Fprintf(&b, format, value)
		}
	}
	if r.Event != maillog.Reported {
		field("  from %s", orNull(r.From))
	}
	field("  to %s", r.To)
	field("  %s", r.Result)
	field("  %s", r.Reason)
	field("  id %s", r.ID)
	field("  queue %s", r.Queue)
	if r.Size > 0 {
		fmt.Fprintf(&b, "  %d bytes", r.Size)
	}
	if r.Delay > 0 {
		fmt.Fprintf(&b, "  after %s", r.Delay.Round(time.Millisecond))
	}
	field("  by %s", r.With)
	field("  from client %s", r.Client)
	field("  via %s", r.Remote)
	field("  TLS %s", r.TLS)
	field("  login %s", r.Login)
	field("  Message-ID %s", r.MessageID)
	return b.String()
}
