package sample

import (
	"fmt"
	"strconv"
	"strings"

	"expost/internal/mail"
)

// Person is a member of the organisation as its address list has them.
type Person struct {
	First, Last string
	Name        string // as displayed: "Müller, Jürgen"
	Address     mail.Address
	Locale      string // of the mailbox's folder names: "en", "de", "fr", "ru" or "ja"
	Zone        int    // minutes east of UTC

	Title, Department, Office string
	Phone, Fax, Mobile, Home  string
	Street, City, PostalCode  string
	State, Country            string
	Notes                     string // may hold line ends
}

// founders are the first twelve, Address without the domain: the three of the
// address list that the project grew from, and the kinds of name that go wrong.
func founders() []Person {
	return []Person{
		{Address: "ajay", First: "ajay", Name: "ajay", Locale: "en"},
		{Address: "anup", First: "Anup", Last: "Sharma", Name: "Anup Sharma", Locale: "en"},
		{Address: "biswajit", First: "Biswajit", Last: "Banerjee", Name: "Biswajit Banerjee", Locale: "en", Phone: "911124650722 5311", Fax: "911162225923", Mobile: "9810003018", Home: "911122014572"},
		{Address: "kavita", First: "Kavita", Last: "Iyer", Name: "Kavita Iyer", Locale: "en"},
		{Address: "juergen", First: "Jürgen", Last: "Müller", Name: "Müller, Jürgen", Locale: "de"},
		{Address: "zoe", First: "Zoë", Last: "D'Souza", Name: "Zoë \"Zed\" D'Souza", Locale: "en"},
		{Address: "anais", First: "Anaïs", Last: "Lefèvre", Name: "Anaïs Lefèvre", Locale: "fr"},
		{Address: "john.smith", First: "John", Last: "Smith", Name: "John Smith", Locale: "en"},
		{Address: "john.smith", First: "John", Last: "Smith", Name: "John Smith", Locale: "en"},
		{Address: "bishakha", First: "Bishakha", Last: "Sen", Name: "Bishakha Sen", Locale: "en"},
		{Address: "iwan", First: "Iwan", Last: "Petrow", Name: "Iwan Petrow", Locale: "ru"},
		{Address: "kenji", First: "Kenji", Last: "Sato", Name: "Kenji Sato", Locale: "ja"},
	}
}

// zones are the minutes east of UTC of a locale.
func zone(locale string) int {
	switch locale {
	case "de", "fr":
		return 60
	case "ru":
		return 180
	case "ja":
		return 540
	}
	return 330
}

var (
	firstNames  = strings.Fields("Amit Anita Rahul Priya Sunil Deepak Meena Rajesh Sunita Vikram Neha Arjun Pooja Sanjay Lakshmi Ravi Geeta Manoj Asha Anil Radha Suresh Usha Rekha Vijay Lata Karan Divya Rohit Sneha Peter Anna Thomas Julia Søren Chloé Łukasz Ågot")
	lastNames   = strings.Fields("Verma Gupta Singh Kumar Patel Reddy Nair Menon Rao Das Ghosh Mukherjee Bose Joshi Desai Mehta Shah Kapoor Bhatt Pillai Kulkarni Miller Schmidt Rossi Dubois Novák Jensen García Østergård")
	departments = []string{"Sales", "Research & Development", "Accounts", "Support", "Human Resources", "Editorial, Print", "Operations"}
	titles      = []string{"Manager", "Engineer", "Senior Engineer", "Assistant", "Director", "Editor", "Consultant"}
	streets     = []string{"Okhla Industrial Area, Phase I", "Nehru Place", "M.G. Road", "Park Street", "Linking Road"}
	cities      = []struct{ city, state, code string }{{"New Delhi", "Delhi", "110020"}, {"Kolkata", "West Bengal", "700016"}, {"Mumbai", "Maharashtra", "400050"}, {"Bangalore", "Karnataka", "560001"}}
)

// people returns the members of the organisation; addresses are distinct.
func people(opt Options) []Person {
	list := founders()
	r := (&Org{opt: opt}).random(forPlan, 1, 0)
	for len(list) < opt.People {
		p := Person{First: pick(r, firstNames), Last: pick(r, lastNames), Locale: pick(r, []string{"en", "en", "en", "de", "fr", "ru", "ja"})}
		p.Name = p.First + " " + p.Last
		p.Address = mail.Address(asciiName(p.First + "." + p.Last))
		list = append(list, p)
	}
	list = list[:opt.People]
	taken := map[mail.Address]int{}
	for i := range list {
		p := &list[i]
		local := p.Address
		if taken[local]++; taken[local] > 1 {
			local += mail.Address(strconv.Itoa(taken[local]))
		}
		p.Address = local + "@" + mail.Address(opt.Domain)
		p.Zone = zone(p.Locale)
		p.Title, p.Department = pick(r, titles), pick(r, departments)
		p.Office = fmt.Sprintf("%d.%02d", 1+r.IntN(5), 1+r.IntN(40))
		place := pick(r, cities)
		p.Street, p.City, p.State, p.PostalCode, p.Country = fmt.Sprintf("%d, %s", 1+r.IntN(200), pick(r, streets)), place.city, place.state, place.code, "India"
		if p.Phone == "" {
			p.Phone = fmt.Sprintf("9111246507%02d %04d", r.IntN(100), 5000+i)
			p.Mobile = fmt.Sprintf("98%08d", r.IntN(1e8))
		}
		if oneIn(r, 4) {
			p.Notes = "Away on Fridays.\r\nAsk \"" + p.First + "'s\" deputy, please."
		}
	}
	return list
}

// asciiName returns name in lower case with its letters reduced to ASCII.
func asciiName(name string) string {
	return strings.NewReplacer("ü", "ue", "ö", "oe", "ø", "oe", "å", "aa", "ł", "l", "é", "e", "è", "e", "ë", "e", "ï", "i", "í", "i", "á", "a", "ō", "o", "'", "").
		Replace(strings.ToLower(name))
}
