package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"expost/internal/queue"
)

// queueCommand is the parent of what is done with mail that waits to leave.
func queueCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "See and steer the mail that waits to leave",
		Long: `Mail for other servers waits in the queue until it has left: a message that cannot
be delivered now is tried again and again, for five days, and then returned to
its sender. A command that changes messages takes their IDs, or chooses them with
--from and --hop, or all with --all.`,
	}
	cmd.AddCommand(queueListCommand(a), queueShowCommand(a),
		queueChangeCommand(a, queueChange{"retry", "Try messages now", "retried", (*queue.Queue).Retry}),
		queueChangeCommand(a, queueChange{"hold", "Keep messages from being sent", "held", (*queue.Queue).Hold}),
		queueChangeCommand(a, queueChange{"release", "Send messages that were held", "released", (*queue.Queue).Release}),
		queueChangeCommand(a, queueChange{"drop", "Remove messages; their senders are not told", "dropped", (*queue.Queue).Drop}))
	return cmd
}

// filterFlags adds the flags that choose messages.
func filterFlags(cmd *cobra.Command, f *queue.Filter) {
	cmd.Flags().StringVar(&f.From, "from", "", "messages of this sender: an `address`")
	cmd.Flags().StringVar(&f.Hop, "hop", "", "messages for this next `hop`: a domain, or [host]:port")
}

// queueListCommand lists messages.
func queueListCommand(a *app) *cobra.Command {
	var filter queue.Filter
	var limit int
	cmd := nodeCommand(a, cobra.Command{
		Use:   "list",
		Short: "List the messages, the oldest first",
		Args:  cobra.NoArgs,
	}, func(ctx context.Context, n *node, _ []string) error {
		entries := []*queue.Entry{}
		err := n.Queue.List(ctx, filter, func(e *queue.Entry) bool {
			if limit > 0 && len(entries) == limit {
				return false
			}
			entries = append(entries, e)
			return true
		})
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(entries)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		for _, e := range entries {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", e.ID, e.Arrived.Format(time.DateTime), e.Size, orNull(string(e.From)), queueSummary(e))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		a.printHeld(entries)
		return nil
	})
	filterFlags(cmd, &filter)
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most this `number`; 0: all")
	return cmd
}

// printHeld says how many messages are held, and why.
func (a *app) printHeld(entries []*queue.Entry) {
	reasons := map[string]int{}
	for _, e := range entries {
		if len(e.Recipients) > 0 && e.Recipients[0].State == queue.Held.String() {
			reasons[e.Recipients[0].Reply]++
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		why := reason
		if why == "" {
			why = "by an administrator"
		}
		fmt.Fprintf(a.stdout, "%d held: %s\n", reasons[reason], why)
	}
}

// orNull shows the null sender.
func orNull(address string) string {
	if address == "" {
		return "<>"
	}
	return address
}

// queueSummary says on a line for whom a message is.
func queueSummary(e *queue.Entry) string {
	if len(e.Recipients) == 0 {
		return ""
	}
	r := e.Recipients[0]
	s := fmt.Sprintf("%s (%s)", r.Address, r.State)
	if more := len(e.Recipients) - 1; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// queueShowCommand shows one message.
func queueShowCommand(a *app) *cobra.Command {
	return nodeCommand(a, cobra.Command{
		Use:   "show ID",
		Short: "Show one message: its recipients and what was said of them",
		Args:  cobra.ExactArgs(1),
	}, func(ctx context.Context, n *node, args []string) error {
		id, err := queue.ParseID(args[0])
		if err != nil {
			return usageError{err}
		}
		var found *queue.Entry
		err = n.Queue.List(ctx, queue.Filter{ID: id}, func(e *queue.Entry) bool { found = e; return false })
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(found)
		}
		a.printEntry(found)
		return nil
	})
}

func (a *app) printEntry(e *queue.Entry) {
	fmt.Fprintf(a.stdout, "id       %s\nfrom     %s\nsize     %d\narrived  %s\nexpires  %s\n",
		e.ID, orNull(string(e.From)), e.Size, e.Arrived.Format(time.DateTime), e.Expires.Format(time.DateTime))
	for _, r := range e.Recipients {
		fmt.Fprintf(a.stdout, "to       %s, %s, tried %d times, by way of %s\n", r.Address, r.State, r.Tries, r.Hop)
		if r.Next != nil {
			fmt.Fprintf(a.stdout, "         again at %s\n", r.Next.Format(time.DateTime))
		}
		if r.Reply != "" {
			fmt.Fprintf(a.stdout, "         %s\n", r.Reply)
		}
	}
}

// queueChange is a command that changes messages.
type queueChange struct {
	use, short, done string
	do               func(*queue.Queue, context.Context, queue.Filter) (int, error)
}

func queueChangeCommand(a *app, c queueChange) *cobra.Command {
	var filter queue.Filter
	var all bool
	cmd := nodeCommand(a, cobra.Command{
		Use:   c.use + " [ID…]",
		Short: c.short,
		Example: "  expost queue " + c.use + " 1A2B3C4D5E\n" +
			"  expost queue " + c.use + " --hop example.org",
	}, func(ctx context.Context, n *node, args []string) error {
		filters, err := queueFilters(filter, all, args)
		if err != nil {
			return err
		}
		total := 0
		for _, f := range filters {
			changed, err := c.do(n.Queue, ctx, f)
			if err != nil {
				return err
			}
			total += changed
		}
		if a.json {
			return a.printJSON(map[string]int{c.done: total})
		}
		fmt.Fprintf(a.stdout, "%d %s\n", total, c.done)
		return nil
	})
	filterFlags(cmd, &filter)
	cmd.Flags().BoolVar(&all, "all", false, "all messages")
	return cmd
}

// queueFilters returns what the arguments choose: messages by ID, or by the
// flags; all only where that is said.
func queueFilters(f queue.Filter, all bool, args []string) ([]queue.Filter, error) {
	chosen := f != queue.Filter{}
	if len(args) > 0 && (chosen || all) || len(args) == 0 && !chosen && !all {
		return nil, usageError{fmt.Errorf("give IDs, or --from and --hop, or --all")}
	}
	if len(args) == 0 {
		return []queue.Filter{f}, nil
	}
	var list []queue.Filter
	for _, arg := range args {
		id, err := queue.ParseID(arg)
		if err != nil {
			return nil, usageError{err}
		}
		list = append(list, queue.Filter{ID: id})
	}
	return list, nil
}
