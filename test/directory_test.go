package test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	managerDN = "cn=manager,dc=linuxforu,dc=com"
	bookDN    = "ou=addressbook,dc=linuxforu,dc=com"
)

// write makes a file in the server's folder.
func (s *server) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// TestDirectoryAndItsCopy changes a directory over the network with the
// commands of the program, under rules of its configuration, and has another
// server keep a copy of it.
func TestDirectoryAndItsCopy(t *testing.T) {
	t.Parallel()
	needs(t, "ldapsearch", "ldapwhoami", "ldapmodify")
	first := newServer(t)
	first.write("root-password", "geheim")
	first.configure("[directory]", "[directory]\nroot-dn = \""+managerDN+"\"\nroot-password-file = \"root-password\"")
	first.configure("[log]", `[[directory.access]]
regex = "^cn=([^,]+),ou=addressbook,dc=linuxforu,dc=com$"
attributes = ["description"]
by = ["dn.regex=^uid=$1@linuxforu[.]com,ou=people write", "peername.ip=127.0.0.0/8 users read", "* none"]
[[directory.access]]
attributes = ["title"]
value = "Secret"
by = ["* none"]
[log]`)
	first.addAccounts("ajay@linuxforu.com", "biswajit@linuxforu.com")
	first.start()
	host := first.addr["ldap"]
	first.write("people.ldif", "dn: cn=ajay,"+bookDN+"\nobjectClass: inetOrgPerson\ncn: ajay\nsn: Ajay\nmail: ajay@lpsboi.com\ntitle: Editor\ntitle: Secret\ndescription: private\n")

	// The commands, over the network.
	out := first.run("directory", "add", "-h", host, "-D", managerDN, "-w", "geheim", "-f", "people.ldif")
	if !strings.Contains(out, "1 records done") {
		t.Errorf("add -h: %s", out)
	}
	first.write("change.ldif", "dn: cn=ajay,"+bookDN+"\nchangetype: modify\nadd: mobile\nmobile: 9810003018\n")
	first.run("directory", "modify", "-H", "ldap://"+host, "-D", managerDN, "-w", "geheim", "-f", "change.ldif")
	if out, errs, err := first.try(context.Background(), "", "directory", "add", "-h", host, "-D", managerDN, "-w", "wrong", "-f", "people.ldif"); err == nil || !strings.Contains(errs, "logging in as") {
		t.Errorf("a wrong password: %v %s%s", err, out, errs)
	}
	if out, errs, err := first.try(context.Background(), "", "directory", "modify", "-h", "127.0.0.1:1", "-D", managerDN, "-w", "geheim", "-f", "change.ldif"); err == nil || !strings.Contains(errs, "127.0.0.1:1") {
		t.Errorf("nobody listens: %v %s%s", err, out, errs)
	}

	// The rules.
	at := func(host, who string) []string {
		return []string{"-x", "-H", "ldap://" + host, "-D", "uid=" + who + "@linuxforu.com,ou=people,dc=linuxforu,dc=com", "-w", password}
	}
	for who, shown := range map[string]string{"ajay": "description: private", "biswajit": "description: private"} {
		out, err := client(t, "", nil, "ldapsearch", append(at(host, who), "-LLL", "-o", "ldif-wrap=no", "-b", bookDN, "(cn=ajay)", "description", "title", "mobile")...)
		if err != nil || !strings.Contains(out, shown) || strings.Contains(out, "Secret") || !strings.Contains(out, "title: Editor") || !strings.Contains(out, "mobile: 9810003018") {
			t.Errorf("%s sees: %v\n%s", who, err, out)
		}
	}
	for who, ok := range map[string]bool{"ajay": true, "biswajit": false} {
		change := "dn: cn=ajay," + bookDN + "\nchangetype: modify\nreplace: description\ndescription: by " + who + "\n"
		out, err := client(t, change, nil, "ldapmodify", at(host, who)...)
		if (err == nil) != ok || !ok && !strings.Contains(out, "Insufficient access") {
			t.Errorf("%s changes the description: %v\n%s", who, err, out)
		}
	}
	if out, _ := client(t, "", nil, "ldapsearch", "-x", "-LLL", "-H", "ldap://"+host, "-b", bookDN, "(cn=ajay)"); strings.Contains(out, "description") {
		t.Errorf("anonymous sees a description\n%s", out)
	}

	// The copy.
	second := newServer(t)
	second.write("copy-password", "geheim")
	second.configure("[log]", "[directory.copy]\nserver = \"ldap://"+host+"\"\nbind-dn = \""+managerDN+"\"\npassword-file = \"copy-password\"\ntls = \"never\"\n[log]")
	second.start()
	search := func() string {
		out, _ := client(t, "", nil, "ldapsearch", "-x", "-LLL", "-H", "ldap://"+second.addr["ldap"], "-b", bookDN, "(mail=ajay@lpsboi.com)", "mail", "mobile")
		return out
	}
	await(t, "the copy has what was there", func() bool { return strings.Contains(search(), "mobile: 9810003018") })
	first.write("change.ldif", "dn: cn=ajay,"+bookDN+"\nchangetype: modify\nreplace: mobile\nmobile: 9810009999\n")
	first.run("directory", "modify", "-h", host, "-D", managerDN, "-w", "geheim", "-f", "change.ldif")
	await(t, "the copy has the change", func() bool { return strings.Contains(search(), "mobile: 9810009999") })
	change := "dn: cn=ajay," + bookDN + "\nchangetype: modify\nreplace: description\ndescription: at the copy\n"
	if out, err := client(t, change, nil, "ldapmodify", at(second.addr["ldap"], "ajay")...); err == nil || !strings.Contains(out, "ldap://"+host+"/cn=ajay") {
		t.Errorf("a change at the copy: %v\n%s", err, out)
	}
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("within 30 s not: %s", what)
		}
	}
}
