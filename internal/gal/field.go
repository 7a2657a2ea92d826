package gal

import "sync"

// Field is a piece of what an address list knows of a recipient.
type Field string

// The fields. A field may have several values (three streets, two phones).
const (
	NamePrefix     Field = "namePrefix"
	FirstName      Field = "firstName"
	MiddleName     Field = "middleName"
	LastName       Field = "lastName"
	NameSuffix     Field = "nameSuffix"
	FullName       Field = "fullName"
	Nickname       Field = "nickname"
	Initials       Field = "initials"
	UID            Field = "uid"   // login name, Exchange alias
	Email          Field = "email" // SMTP addresses, the primary one first
	Company        Field = "company"
	Department     Field = "department"
	JobTitle       Field = "jobTitle"
	Office         Field = "office"
	EmployeeNumber Field = "employeeNumber"
	Language       Field = "language"
	ManagerName    Field = "managerName"
	AssistantName  Field = "assistantName"
	Notes          Field = "notes"

	WorkPhone      Field = "workPhone"
	HomePhone      Field = "homePhone"
	MobilePhone    Field = "mobilePhone"
	Pager          Field = "pager"
	WorkFax        Field = "workFax"
	HomeFax        Field = "homeFax"
	OtherFax       Field = "otherFax"
	OtherPhone     Field = "otherPhone"
	PrimaryPhone   Field = "primaryPhone"
	CarPhone       Field = "carPhone"
	CompanyPhone   Field = "companyPhone"
	AssistantPhone Field = "assistantPhone"
	ISDN           Field = "isdn"

	WorkAddress     Field = "workAddress" // whole, in lines
	WorkStreet      Field = "workStreet"
	WorkCity        Field = "workCity"
	WorkState       Field = "workState"
	WorkPostalCode  Field = "workPostalCode"
	WorkCountry     Field = "workCountry"
	WorkPOBox       Field = "workPOBox"
	WorkCountryCode Field = "workCountryCode" // ISO 3166, two letters
	HomeAddress     Field = "homeAddress"
	HomeStreet      Field = "homeStreet"
	HomeCity        Field = "homeCity"
	HomeState       Field = "homeState"
	HomePostalCode  Field = "homePostalCode"
	HomeCountry     Field = "homeCountry"
	HomePOBox       Field = "homePOBox"

	WorkURL Field = "workURL"
	HomeURL Field = "homeURL"

	Birthday    Field = "birthday"
	Anniversary Field = "anniversary"
	Categories  Field = "categories"

	// Of Exchange and Active Directory.
	LegacyDN    Field = "legacyExchangeDN"
	Proxy       Field = "proxyAddress" // X500:, X400:, sip: and the like
	Forward     Field = "forward"      // address that mail goes to instead
	HomeServer  Field = "homeServer"
	Employee    Field = "employeeType"
	DisabledAcc Field = "disabled" // "true": the account may not log in

	// Settings of mailboxes and groups.
	QuotaBytes  Field = "quota"
	MaxMessage  Field = "maxMessage"  // bytes
	KeepsCopy   Field = "keepsCopy"   // "true": of what is forwarded
	MembersOnly Field = "membersOnly" // "true": only who is logged in may write to it
	SharedBox   Field = "shared"      // "true": a mailbox that nobody logs in to

	label Field = "label" // a column that is known and holds nothing of use
)

// birthday's parts, put together by assemble.
const (
	birthYear  Field = "birthYear"
	birthMonth Field = "birthMonth"
	birthDay   Field = "birthDay"
)

// fieldInfo says how a field is called and where it goes.
type fieldInfo struct {
	field Field
	label string // in descriptions and reports
	attr  string // LDAP attribute of person, organizationalPerson or inetOrgPerson; "": description
	ours  string // attribute of the auxiliary class expostPerson, where it has one
	phone bool   // telephone number syntax
}

// fields lists the fields with the place each has in an LDAP entry. Those
// that entries.go builds from several (names, addresses, streets) are not
// among them, and any that is unknown here goes to description too.
var fields = sync.OnceValue(func() []fieldInfo {
	return []fieldInfo{
		{field: NamePrefix, label: "Name Prefix", ours: "personalTitle"},
		{field: NameSuffix, label: "Name Suffix"},
		{field: MiddleName, label: "Middle Name", ours: "middleName"},
		{field: Nickname, label: "Nickname", ours: "mozillaNickname"},
		{field: Initials, label: "Initials", attr: "initials"},
		{field: UID, label: "Alias", attr: "uid", ours: "mailNickname"},
		{field: Company, label: "Company", attr: "o", ours: "company"},
		{field: JobTitle, label: "Job Title", attr: "title"},
		{field: Office, label: "Office", attr: "physicalDeliveryOfficeName"},
		{field: EmployeeNumber, label: "Employee Number", attr: "employeeNumber"},
		{field: Employee, label: "Employee Type", attr: "employeeType"},
		{field: Language, label: "Language"},
		{field: WorkPhone, label: "Business Phone", attr: "telephoneNumber", phone: true},
		{field: HomePhone, label: "Home Phone", attr: "homePhone", phone: true},
		{field: MobilePhone, label: "Mobile Phone", attr: "mobile", phone: true},
		{field: Pager, label: "Pager", attr: "pager", phone: true},
		{field: WorkFax, label: "Business Fax", attr: "facsimileTelephoneNumber", phone: true},
		{field: HomeFax, label: "Home Fax", ours: "otherFacsimileTelephoneNumber", phone: true},
		{field: OtherFax, label: "Other Fax", ours: "otherFacsimileTelephoneNumber", phone: true},
		{field: OtherPhone, label: "Other Phone"},
		{field: PrimaryPhone, label: "Primary Phone"},
		{field: CarPhone, label: "Car Phone"},
		{field: CompanyPhone, label: "Company Main Phone"},
		{field: AssistantPhone, label: "Assistant's Phone", ours: "telephoneAssistant", phone: true},
		{field: ISDN, label: "ISDN"},
		{field: WorkCity, label: "Business City", attr: "l"},
		{field: WorkState, label: "Business State", attr: "st"},
		{field: WorkPostalCode, label: "Business Postal Code", attr: "postalCode"},
		{field: WorkCountry, label: "Business Country", ours: "co"},
		{field: WorkCountryCode, label: "Country Code", ours: "c"},
		{field: WorkPOBox, label: "Business PO Box", attr: "postOfficeBox"},
		{field: WorkURL, label: "Business Web Page", attr: "labeledURI"},
		{field: Notes, label: "", attr: "description"},
		{field: LegacyDN, label: "Exchange DN", ours: "legacyExchangeDN"},
		{field: Proxy, label: "Proxy Address", ours: "proxyAddresses"},
		{field: Forward, label: "Forward", ours: "targetAddress"},
		{field: HomeServer, label: "Home Server"},
		{field: ManagerName, label: "Manager"},
		{field: AssistantName, label: "Assistant"},
		{field: Categories, label: "Categories"},
		{field: Birthday, label: "Birthday"},
		{field: Anniversary, label: "Anniversary"},
		{field: "otherStreet", label: "Other Street"},
		{field: "otherCity", label: "Other City"},
		{field: "otherState", label: "Other State"},
		{field: "otherPostalCode", label: "Other Postal Code"},
		{field: "otherCountry", label: "Other Country"},
		{field: "otherPOBox", label: "Other PO Box"},
		{field: "account", label: "Account", ours: "sAMAccountName"},
		{field: "billingInfo", label: "Billing Information"},
		{field: "callbackPhone", label: "Callback"},
		{field: "children", label: "Children"},
		{field: "custom1", label: "User 1", ours: "mozillaCustom1"},
		{field: "custom2", label: "User 2", ours: "mozillaCustom2"},
		{field: "custom3", label: "User 3", ours: "mozillaCustom3"},
		{field: "custom4", label: "User 4", ours: "mozillaCustom4"},
		{field: "directoryServer", label: "Directory Server"},
		{field: "freeBusy", label: "Internet Free Busy"},
		{field: "gender", label: "Gender"},
		{field: "governmentId", label: "Government ID Number"},
		{field: "hobby", label: "Hobby"},
		{field: "keywords", label: "Keywords"},
		{field: "location", label: "Location"},
		{field: "mileage", label: "Mileage"},
		{field: "phoneticFirstName", label: "Phonetic First Name"},
		{field: "phoneticLastName", label: "Phonetic Last Name"},
		{field: "phoneticCompany", label: "Phonetic Company"},
		{field: "profession", label: "Profession"},
		{field: "radioPhone", label: "Radio Phone"},
		{field: "referredBy", label: "Referred By"},
		{field: "screenName", label: "Screen Name"},
		{field: "spouse", label: "Spouse"},
		{field: "telex", label: "Telex"},
		{field: "ttyPhone", label: "TTY/TDD Phone"},
		{field: HomeURL, label: "Personal Web Page"},
	}
})
