package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/ldif"
	"expost/internal/slapdconf"
)

// directoryImport are the flags of an import.
type directoryImport struct {
	app          *app
	parents      bool
	passwordFile string

	restorer directory.Restorer // nil: operational attributes are made anew
	dir      directory.Directory
	file     string
	late     []lateEntry // the one above is not there yet
	wait     []lateEntry
	done     int

	mu     sync.Mutex // of failed and what is said of it
	failed int
}

// lateEntry is an entry that waits, with its line.
type lateEntry struct {
	line  int
	entry *ldap.Entry
}

// importBatch is how many entries are written at once.
const importBatch = 10_000

// directoryImportCommand takes an OpenLDAP over.
func directoryImportCommand(a *app) *cobra.Command {
	in := &directoryImport{app: a}
	cmd := &cobra.Command{
		Use:         "import FILE…",
		Short:       "Take over an OpenLDAP: slapd.conf, and what slapcat writes",
		Annotations: map[string]string{needsNode: "yes"},
		Long: `Import reads what an OpenLDAP has. What the files are is found by content:

  slapd.conf, or slapcat -n 0   its suffix, root DN, access rules, indexes and schema
                                are printed as keys of expost.toml; what has no
                                counterpart is reported with its line
  LDIF of slapcat               the entries go into the directory as they are, in
                                whatever order they come, with entryUUID, who made
                                them and when, and their password hashes

Entries that are there already become as the file has them, so that the same
command can be given again. What cannot be taken over is reported with its line and
does not stop the rest.`,
		Example: `  expost directory import /etc/ldap/slapd.conf >> /etc/expost/expost.toml
  slapcat | expost directory import -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return in.run(cmd.Context(), args) },
	}
	cmd.Flags().BoolVar(&in.parents, "parents", false, "make the entries above that are nowhere in the files")
	cmd.Flags().StringVar(&in.passwordFile, "root-password-file", "", "write slapd.conf's rootpw to this `file`, which only its owner may read")
	return cmd
}

func (in *directoryImport) run(ctx context.Context, files []string) error {
	for _, file := range files {
		if err := in.read(ctx, file); err != nil {
			return err
		}
	}
	if in.dir != nil {
		if err := in.finish(ctx); err != nil {
			return err
		}
		fmt.Fprintf(in.app.stdout, "%d entries are in the directory, %d failed\n", in.done, in.failed)
	}
	if in.failed > 0 {
		return exitStatus(exitFailed)
	}
	return nil
}

// read takes one file.
func (in *directoryImport) read(ctx context.Context, file string) error {
	f, err := in.app.open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buffered := bufio.NewReaderSize(f, 64<<10)
	head, err := buffered.Peek(64 << 10)
	if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if text := string(head); !slapdconf.IsLDIF(text) || slapdconf.IsConfig(text) {
		return in.config(file)
	}
	return in.entries(ctx, file, buffered)
}

// config prints what a configuration of slapd is here.
func (in *directoryImport) config(file string) error {
	c, err := slapdconf.Read(in.app.path(file))
	if err != nil {
		return err
	}
	for _, issue := range c.Issues {
		fmt.Fprintln(in.app.stderr, issue)
	}
	text := c.TOML()
	if in.passwordFile != "" && c.RootPW != "" {
		path := in.app.path(in.passwordFile)
		if err := writeSynced(path, 0o600, func(w io.Writer) error { _, err := io.WriteString(w, c.RootPW+"\n"); return err }); err != nil {
			return fmt.Errorf("writing the root password: %w", err)
		}
		text = slapdconf.WithPasswordFile(text, path)
	}
	_, err = io.WriteString(in.app.stdout, text)
	return err
}

// entries puts the entries of LDIF into the directory.
func (in *directoryImport) entries(ctx context.Context, file string, r io.Reader) error {
	n, err := in.app.node(ctx)
	if err != nil {
		return err
	}
	in.dir, in.file = n.Directory, file
	in.restorer, _ = n.Directory.(directory.Restorer)
	reader := ldif.NewReader(r, ldif.Options{File: file, Lenient: true, Report: func(i ldif.Issue) {
		fmt.Fprintf(in.app.stderr, "%s:%d: %s: %s\n", file, i.Line, i.What, i.Did)
	}})
	batches := make(chan []lateEntry)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { // writes while the next are read
		for batch := range batches {
			in.wait = batch
			if err := in.flush(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error {
		defer close(batches)
		return in.parse(ctx, reader, batches)
	})
	return group.Wait()
}

// parse reads LDIF in batches.
func (in *directoryImport) parse(ctx context.Context, r *ldif.Reader, batches chan<- []lateEntry) error {
	var batch []lateEntry
	send := func() error {
		select {
		case batches <- batch:
			batch = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return send()
		}
		if bad, ok := errors.AsType[*ldif.Error](err); ok {
			in.report("%v", bad)
			continue
		}
		if err != nil {
			return err
		}
		e, err := rec.Entry()
		if err != nil {
			in.fail(rec.Line, rec.DN, err)
			continue
		}
		if batch = append(batch, lateEntry{rec.Line, e}); len(batch) >= importBatch {
			if err := send(); err != nil {
				return err
			}
		}
	}
}

func (in *directoryImport) fail(line int, dn string, err error) {
	in.report("%s:%d: %q: %v%s", in.file, line, dn, err, hint(err, &ldif.Record{}))
}

// report says what failed.
func (in *directoryImport) report(format string, args ...any) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.failed++
	fmt.Fprintf(in.app.stderr, format+"\n", args...)
}

// flush writes what waits; what the entry above is missing of waits on.
func (in *directoryImport) flush(ctx context.Context) error {
	list := append(in.late, in.wait...)
	in.late, in.wait = nil, nil
	for len(list) > 0 {
		again, err := in.put(ctx, list)
		if err != nil {
			return err
		}
		if len(again) == len(list) {
			in.late = again
			return nil
		}
		list = again
	}
	return nil
}

// put writes entries and returns those whose parents are not there.
func (in *directoryImport) put(ctx context.Context, list []lateEntry) ([]lateEntry, error) {
	entries := make([]*ldap.Entry, len(list))
	for i, l := range list {
		entries[i] = l.entry
	}
	var errs []error
	if in.restorer != nil {
		errs = in.restorer.Restore(ctx, entries)
	} else {
		for _, e := range entries {
			errs = append(errs, in.dir.Add(ctx, directory.Local(), withoutOperational(e)))
		}
	}
	var again []lateEntry
	for i, err := range errs {
		le, ok := errors.AsType[*ldap.Error](err)
		switch {
		case err == nil:
			in.done++
		case ok && le.Code == ldap.NoSuchObject:
			again = append(again, list[i])
		case ok && le.Code == ldap.Unavailable:
			return nil, err
		default:
			in.fail(list[i].line, list[i].entry.DN.String(), err)
		}
	}
	return again, nil
}

// withoutOperational leaves out what other servers make themselves.
func withoutOperational(e *ldap.Entry) *ldap.Entry {
	kept := &ldap.Entry{DN: e.DN}
	for _, a := range e.Attributes {
		switch a.Desc {
		case "structuralObjectClass", "entryUUID", "creatorsName", "createTimestamp", "entryCSN", "modifiersName", "modifyTimestamp",
			"entryDN", "subschemaSubentry", "hasSubordinates", "contextCSN":
		default:
			kept.Attributes = append(kept.Attributes, a)
		}
	}
	return kept
}

// finish deals with what still has no parent.
func (in *directoryImport) finish(ctx context.Context) error {
	for in.parents && len(in.late) > 0 {
		before := len(in.late)
		for _, l := range in.late {
			if err := in.makeParents(ctx, l.entry.DN.Parent()); err != nil {
				in.fail(l.line, l.entry.DN.String(), err)
			}
		}
		if err := in.flush(ctx); err != nil {
			return err
		}
		if len(in.late) == before {
			break
		}
	}
	for _, l := range in.late {
		in.report("%s:%d: %q: the entry above is neither there nor in the file (--parents makes it)", in.file, l.line, l.entry.DN)
	}
	in.late = nil
	return nil
}

// makeParents makes an organizational unit, and those above it, where there is
// none.
func (in *directoryImport) makeParents(ctx context.Context, dn ldap.DN) error {
	if len(dn) <= len(in.dir.Suffix()) {
		return nil
	}
	if err := in.makeParents(ctx, dn.Parent()); err != nil {
		return err
	}
	e := &ldap.Entry{DN: dn, Attributes: []ldap.Attribute{ldap.NewAttribute("objectClass", "top", "organizationalUnit", "extensibleObject"), ldap.NewAttribute("ou", dn[0][0].Value)}}
	err := in.dir.Add(ctx, directory.Local(), e)
	if le, ok := errors.AsType[*ldap.Error](err); ok && le.Code == ldap.EntryAlreadyExists {
		return nil
	}
	return err
}
