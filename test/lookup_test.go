package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// outlook is the filter Outlook sends by default for what is typed, and the
// attributes it asks for.
func outlook(typed string) []string {
	filter := strings.ReplaceAll("(&(mail=*)(|(mail=%s*)(|(cn=%s*)(|(sn=%s*)(givenName=%s*)))))", "%s", typed)
	return append([]string{filter}, strings.Fields("cn commonName mail roleOccupant display-name displayname sn surname co organizationName o givenName legacyExchangeDN objectClass uid mailNickname title company physicalDeliveryOfficeName telephoneNumber")...)
}

// addressBook is what Outlook Express exports, cut down to some columns.
const addressBook = "First Name,Last Name,Name,E-mail Address,Business Phone,Department\r\n" +
	"Biswajit,Banerjee,Biswajit Banerjee,biswajit@linuxforu.com,911124650722 5311,Editorial\r\n" +
	",,ajay,ajay@linuxforu.com,,\r\n" +
	"Anup,Sharma,Anup Sharma,anup@linuxforu.com,24650722 / 5311; #12*,\r\n"

func (s *server) ldapsearch(args ...string) (string, error) {
	out, err := exec.Command("ldapsearch", append([]string{"-x", "-LLL", "-o", "ldif-wrap=no", "-H", "ldap://" + s.addr["ldap"]}, args...)...).CombinedOutput()
	return string(out), err
}

func TestOutlookFindsWhoWasImported(t *testing.T) {
	t.Parallel()
	needs(t, "ldapsearch")
	s := newServer(t)
	if err := os.WriteFile(filepath.Join(s.dir, "addressbook.csv"), []byte(addressBook), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.run("gal", "import", "addressbook.csv", "--base", "ou=addressbook,dc=linuxforu,dc=com")
	out, err := s.ldapsearch(append([]string{"-b", "ou=addressbook,dc=linuxforu,dc=com", "-z", "100", "-l", "60"}, outlook("Bis")...)...)
	if err != nil {
		t.Fatalf("ldapsearch: %v\n%s", err, out)
	}
	for _, want := range []string{"cn: Biswajit Banerjee\n", "mail: biswajit@linuxforu.com\n", "sn: Banerjee\n", "givenName: Biswajit\n", "telephoneNumber: 911124650722 5311\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "ajay") {
		t.Errorf("an entry that does not match:\n%s", out)
	}
	if out, err := s.ldapsearch("-b", "dc=linuxforu,dc=com", "(userPassword=*)"); strings.Contains(out, "userPassword") {
		t.Errorf("a password can be read: %v\n%s", err, out)
	}
}

func TestConvertedAddressListLoadsIntoSlapd(t *testing.T) {
	t.Parallel()
	needs(t, "slapadd", "slapcat")
	s := newServer(t)
	csv := filepath.Join(s.dir, "addressbook.csv")
	if err := os.WriteFile(csv, []byte(addressBook), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, err := s.try(t.Context(), "", "gal", "convert", csv, "--from", "auto", "--to", "ldif", "--base", "ou=addressbook,dc=linuxforu,dc=com")
	if err != nil {
		t.Fatalf("gal convert: %v\n%s", err, errs)
	}
	db := t.TempDir()
	conf := filepath.Join(db, "slapd.conf")
	text := "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n" +
		"modulepath /usr/lib/ldap\nmoduleload back_mdb\ndatabase mdb\nsuffix \"dc=linuxforu,dc=com\"\nrootdn \"cn=manager,dc=linuxforu,dc=com\"\ndirectory " + db + "\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	containers := "dn: dc=linuxforu,dc=com\nobjectClass: dcObject\nobjectClass: organization\ndc: linuxforu\no: linuxforu\n\n" +
		"dn: ou=addressbook,dc=linuxforu,dc=com\nobjectClass: organizationalUnit\nou: addressbook\n"
	for _, ldif := range []string{containers, out} {
		add := exec.Command("slapadd", "-f", conf)
		add.Stdin = strings.NewReader(ldif)
		if b, err := add.CombinedOutput(); err != nil {
			t.Fatalf("slapadd: %v\n%s\n%s", err, b, ldif)
		}
	}
	cat, err := exec.Command("slapcat", "-f", conf).Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(cat), "objectClass: inetOrgPerson"); n != 3 {
		t.Errorf("slapd holds %d people, want 3\n%s", n, cat)
	}
}
