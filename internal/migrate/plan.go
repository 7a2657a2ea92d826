package migrate

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"expost/internal/mail"
)

// Plan is what a plan file (migration.toml) says. Relative paths in it are
// relative to its folder; Plan has them resolved.
type Plan struct {
	File      string     `toml:"-"`
	Source    SourcePlan `toml:"source"`
	Target    TargetPlan `toml:"target"`
	Users     []UserPlan `toml:"user"`
	UsersFile string     `toml:"users-file"` // CSV: source,target[,password[,batch]]
	Run       RunPlan    `toml:"run"`
}

// SourcePlan says where mail comes from.
type SourcePlan struct {
	Kind         string    `toml:"kind"`    // imap | files | pst
	Address      string    `toml:"address"` // imap: host:port; 993 and 143 may be left out
	TLS          string    `toml:"tls"`     // imap: implicit | starttls | none; default by port
	TLSCA        string    `toml:"tls-ca"`  // imap: file with the certificates (PEM) to trust
	TLSVerify    *bool     `toml:"tls-verify"`
	Login        string    `toml:"login"`   // imap: {address} {local} {domain}
	Authzid      string    `toml:"authzid"` // imap: the same; the account that login acts for
	Admin        string    `toml:"admin"`   // imap: whose login preflight tries: DOMAIN\\admin, admin@example.org
	Password     string    `toml:"-"`
	PasswordFile string    `toml:"password-file"`
	Codepage     int       `toml:"codepage"` // pst: of 8-bit text in files that name none
	Recover      bool      `toml:"recover"`  // pst: bring deleted items too
	Exclude      *[]string `toml:"exclude"`  // folders left out; default, of imap: LeftOut()
	MDNSent      string    `toml:"mdn-sent"` // imap: auto (of Exchange) | always | never: $MDNSent on every message
	Folder       string    `toml:"folder"`   // files, pst: where the paths of users start; default the plan's
}

// TargetPlan says where mail goes. The keys are those of SourcePlan; templates
// stand for the parts of the user's target.
type TargetPlan struct {
	Kind         string `toml:"kind"` // store | imap | maildir
	Address      string `toml:"address"`
	TLS          string `toml:"tls"`
	TLSCA        string `toml:"tls-ca"`
	TLSVerify    *bool  `toml:"tls-verify"`
	Login        string `toml:"login"`
	Authzid      string `toml:"authzid"`
	Password     string `toml:"-"`
	PasswordFile string `toml:"password-file"`
	Path         string `toml:"path"`  // maildir: "/home/vmail/{domain}/{local}/Maildir"
	Owner        string `toml:"owner"` // maildir: "vmail" or "vmail:vmail", who the files belong to
	Names        string `toml:"names"` // maildir: of folders: utf-7 (Dovecot, old Couriers; the default), utf-8 (Courier from 5.0 on)
}

// Server returns the keys that say where a server is and how to log in, for a
// target of kind imap.
func (t TargetPlan) Server() SourcePlan {
	return SourcePlan{
		Kind: t.Kind, Address: t.Address, TLS: t.TLS, TLSCA: t.TLSCA, TLSVerify: t.TLSVerify,
		Login: t.Login, Authzid: t.Authzid, Password: t.Password,
	}
}

// RunPlan says how a run goes.
type RunPlan struct {
	Workers   int    `toml:"workers"`   // accounts at once, at most: 8
	Bandwidth string `toml:"bandwidth"` // bytes a second, all accounts together: "10M"; "": no limit
	Window    string `toml:"window"`    // when passes work: "22:00-06:00"; "": always
	Pace      Pace   `toml:"-"`
}

// UserPlan is one account.
type UserPlan struct {
	Source   string `toml:"source"`
	Path     string `toml:"path"` // files, pst: instead of source
	Target   string `toml:"target"`
	Password string `toml:"password"`
	Batch    string `toml:"batch"` // which of the cutovers it belongs to
}

// LoadPlan reads a plan and checks it. Mistakes are mail.KindInvalid and name
// the file and the line or the key.
func LoadPlan(file string) (Plan, error) {
	p := Plan{File: file}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return p, mail.Errorf(mail.KindNotExist, "there is no plan %s: have one written (expost migrate draft HOST), or name it with -f", file)
	}
	if errors.Is(err, os.ErrPermission) {
		return p, mail.WrapError(mail.KindPermission, err, "the plan must lie in a folder that this server's user may write, such as one below its data")
	}
	if err != nil {
		return p, fmt.Errorf("reading the plan: %w", err)
	}
	dec := toml.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return p, planError(file, err)
	}
	for _, path := range []*string{&p.UsersFile, &p.Source.PasswordFile, &p.Source.TLSCA, &p.Source.Folder, &p.Target.PasswordFile, &p.Target.TLSCA, &p.Target.Path} {
		if *path != "" {
			*path = p.path(*path)
		}
	}
	if p.Source.Folder == "" {
		p.Source.Folder = filepath.Dir(file)
	}
	return p, p.complete()
}

// planError names the line of a mistake.
func planError(file string, err error) error {
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		line, _ := strict.Errors[0].Position()
		return mail.Errorf(mail.KindInvalid, "%s:%d: unknown key %q", file, line, strings.Join(strict.Errors[0].Key(), "."))
	}
	if de, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := de.Position()
		return mail.Errorf(mail.KindInvalid, "%s:%d:%d: %s", file, line, column, strings.TrimPrefix(de.Error(), "toml: "))
	}
	return mail.WrapError(mail.KindInvalid, err, "%s", file)
}

// path resolves a path of the plan.
func (p *Plan) path(s string) string {
	if filepath.IsAbs(s) {
		return s
	}
	return filepath.Join(filepath.Dir(p.File), s)
}

// wrong is an error about a key.
func (p *Plan) wrong(key, format string, args ...any) error {
	return mail.Errorf(mail.KindInvalid, "%s: %s: %s", p.File, key, fmt.Sprintf(format, args...))
}

// complete reads the files that the plan names and checks all values.
func (p *Plan) complete() error {
	switch p.Source.Kind {
	case "imap":
		if p.Source.Address == "" {
			return p.wrong("source.address", "say where the server is: \"exchange.example.org:993\"")
		}
	case "files", "pst":
	case "":
		return p.wrong("source.kind", "say \"imap\", \"files\" or \"pst\"")
	default:
		return p.wrong("source.kind", "%q is not a source this version can read; \"imap\", \"files\" and \"pst\" are", p.Source.Kind)
	}
	if err := p.checkTLS("source.tls", p.Source.TLS); err != nil {
		return err
	}
	if err := p.completeRun(); err != nil {
		return err
	}
	if err := p.completeTarget(); err != nil {
		return err
	}
	var err error
	if p.Source.Password, err = p.readPassword("source.password-file", p.Source.PasswordFile); err != nil {
		return err
	}
	if p.UsersFile != "" {
		if err := p.readUsers(); err != nil {
			return err
		}
	}
	return p.checkUsers()
}

// completeRun reads the limits of a run, and what is left out.
func (p *Plan) completeRun() (err error) {
	if p.Run.Pace.Bandwidth, err = ParseRate(p.Run.Bandwidth); err != nil {
		return p.wrong("run.bandwidth", "%v", err)
	}
	if p.Run.Pace.Window, err = ParseWindow(p.Run.Window); err != nil {
		return p.wrong("run.window", "%v", err)
	}
	switch p.Source.MDNSent {
	case "", "auto", "always", "never":
	default:
		return p.wrong("source.mdn-sent", "%q is none of auto, always, never", p.Source.MDNSent)
	}
	if p.Source.Exclude == nil && p.Source.Kind == "imap" {
		list := LeftOut()
		p.Source.Exclude = &list
	}
	return nil
}

// checkTLS checks a key that says how a connection is protected.
func (p *Plan) checkTLS(key, value string) error {
	switch value {
	case "", "implicit", "starttls", "none":
		return nil
	}
	return p.wrong(key, "%q is none of implicit, starttls, none", value)
}

// readPassword reads the file of a password; "" is none.
func (p *Plan) readPassword(key, file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", mail.WrapError(mail.KindInvalid, err, "%s: %s", p.File, key)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// completeTarget checks the target.
func (p *Plan) completeTarget() (err error) {
	t := &p.Target
	switch t.Kind {
	case "":
		t.Kind = "store"
	case "store":
	case "imap":
		if t.Address == "" {
			return p.wrong("target.address", "say where the server is: \"mail.example.org:993\"")
		}
	case "maildir":
		if t.Path == "" {
			return p.wrong("target.path", "say where the Maildirs are: \"/home/{local}/Maildir\"")
		}
		if t.Names != "" && t.Names != "utf-7" && t.Names != "utf-8" {
			return p.wrong("target.names", "%q is neither utf-7 nor utf-8", t.Names)
		}
	default:
		return p.wrong("target.kind", "%q is not a target this version can write; \"store\" (this server), \"imap\" and \"maildir\" are", t.Kind)
	}
	if err := p.checkTLS("target.tls", t.TLS); err != nil {
		return err
	}
	t.Password, err = p.readPassword("target.password-file", t.PasswordFile)
	return err
}

// readUsers adds the accounts of the users file.
func (p *Plan) readUsers() error {
	f, err := os.Open(p.UsersFile)
	if err != nil {
		return mail.WrapError(mail.KindInvalid, err, "%s: users-file", p.File)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	r.TrimLeadingSpace = true
	r.Comment = '#'
	for first := true; ; first = false {
		rec, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return mail.WrapError(mail.KindInvalid, err, "%s", p.UsersFile)
		}
		line, _ := r.FieldPos(0)
		rec[0] = strings.TrimPrefix(rec[0], "\ufeff")
		if first && len(rec) >= 2 && strings.EqualFold(rec[0], "source") {
			continue
		}
		if len(rec) < 2 || len(rec) > 4 {
			return mail.Errorf(mail.KindInvalid, "%s:%d: a line is source,target[,password[,batch]]; this one has %d fields", p.UsersFile, line, len(rec))
		}
		u := UserPlan{Source: strings.TrimSpace(rec[0]), Target: strings.TrimSpace(rec[1])}
		if len(rec) > 2 {
			u.Password = rec[2]
		}
		if len(rec) > 3 {
			u.Batch = strings.TrimSpace(rec[3])
		}
		p.Users = append(p.Users, u)
	}
}

// checkUsers checks the accounts.
func (p *Plan) checkUsers() error {
	if len(p.Users) == 0 {
		return p.wrong("user", "the plan names no accounts: add [[user]] tables or users-file")
	}
	known := map[[2]string]bool{}
	for i := range p.Users {
		u := &p.Users[i]
		where := fmt.Sprintf("user %d", i+1)
		switch {
		case u.Source != "" && u.Path != "":
			return p.wrong(where, "give source or path, not both")
		case u.Path != "" && p.Source.Kind != "files" && p.Source.Kind != "pst":
			return p.wrong(where, "path is for sources of kind \"files\" and \"pst\"; give source")
		case u.Path == "":
			u.Path = u.Source
		}
		if u.Path == "" {
			return p.wrong(where, "source is missing")
		}
		if u.Target == "" {
			u.Target = u.Source
		}
		a, err := mail.ParseAddress(u.Target)
		if err != nil {
			return p.wrong(where, "target: %v", err)
		}
		if key := [2]string{u.Path, a.Key()}; known[key] {
			return p.wrong(where, "%s to %s is in the plan already", u.Path, u.Target)
		} else {
			known[key] = true
		}
	}
	return nil
}

// Accounts returns the accounts of the plan as the engine wants them.
func (p *Plan) Accounts() []User { return p.Batch(nil) }

// Batch returns the accounts of the batches named; of all where none is.
func (p *Plan) Batch(names []string) []User {
	var users []User
	for _, u := range p.Users {
		if len(names) > 0 && !slices.Contains(names, u.Batch) {
			continue
		}
		users = append(users, User{Source: u.Path, Target: mail.Address(u.Target), Password: u.Password})
	}
	return users
}

// LedgerPath returns where the plan's ledger lies: beside it, .ledger for .toml.
func (p *Plan) LedgerPath() string {
	return strings.TrimSuffix(p.File, filepath.Ext(p.File)) + ".ledger"
}
