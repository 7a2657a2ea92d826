package migrate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pitfalls are what goes wrong in migrations off Exchange, and the test with a
// server or a disk that behaves so. Folders are relative to this one.
var pitfalls = []struct{ what, dir, test string }{
	{"the source goes away for longer than a run waits", ".", "TestSourceAway"},
	{"the source goes away for an hour in the middle of a pass", ".", "TestSourceAwayForAnHour"},
	{"UIDVALIDITY changes between passes", ".", "TestUIDValidityChanges"},
	{"UIDVALIDITY changes during a pass", ".", "TestUIDValidityChangesDuringThePass"},
	{"a folder is renamed during a pass", ".", "TestFolderRenamedDuringThePass"},
	{"a folder is renamed between passes", ".", "TestFolderRenamed"},
	{"all folders have one UIDVALIDITY", ".", "TestFolderRenamedInDoubt"},
	{"a UID comes back with other bytes", ".", "TestSameUIDOtherBytes"},
	{"literals are truncated, lie, or have no end", ".", "TestItemsThatTheSourceDoesNotGive"},
	{"one item is refused for ever", ".", "TestItemsThatTheSourceDoesNotGive"},
	{"NUL and 8-bit bytes", ".", "TestBytesThatNoMailHas"},
	{"bytes that a target does not take", "target/imap", "TestMend"},
	{"a target changes what it takes, and takes few names", ".", "TestThroughServers"},
	{"throttled at the login", ".", "TestThrottledLogin"},
	{"throttled for five minutes, with the connection ended", ".", "TestThrottledForFiveMinutes"},
	{"throttled while listing", ".", "TestThrottledListing"},
	{"throttled, and the run is started again", ".", "TestThrottlingIsRemembered"},
	{"throttled for the login that all users share", ".", "TestThrottlingIsShared"},
	{"the connection ends after ten errors", ".", "TestTenErrors"},
	{"a folder always loses the connection", ".", "TestFolderThatAlwaysLosesTheConnection"},
	{"a folder is refused", ".", "TestFolderRefused"},
	{"sizes lie, numbers beyond EXISTS, strange items", ".", "TestServersThatDoWrong"},
	{"folders of Exchange's own, names in its language", ".", "TestExchangeFolders"},
	{"public folders and those of others", ".", "TestFoldersOfOthersAreNotCopied"},
	{"no command may be longer than 10 KB", ".", "TestCommandsAreShort"},
	{"the login has another spelling than one thinks", "source/imap", "TestProbeFindsTheSpelling"},
	{"IMAP is off, there is no right, the login is throttled", "source/imap", "TestProbeRefusals"},
	{"MIME format and calendar settings that lose content", "source/imap", "TestProbeSettings"},
	{"a message is moved at the source", ".", "TestMovedAtTheSource"},
	{"a folder is deleted at the source", ".", "TestFolderDeletedAtTheSource"},
	{"the year's mail is moved to an archive", ".", "TestYearEnd"},
	{"a message is taken for another", ".", "TestTakenForAnother"},
	{"HIGHESTMODSEQ stands or falls, VANISHED leaves out", ".", "TestResyncThatIsWrong"},
	{"STATUS tells nothing, or UIDVALIDITY 0", ".", "TestStatusThatTellsNothing"},
	{"a folder is not listed for once", ".", "TestFolderNotListed"},
	{"siblings of one name", ".", "TestSiblingsOfOneName"},
	{"names that a mailbox cannot have", ".", "TestNames"},
	{"names that differ in case only", ".", "TestClashingNames"},
	{"roles only by localised names", ".", "TestGuessUse"},
	{"no date, or one that cannot be read", ".", "TestHeaderDate"},
	{"receipts would be sent again", ".", "TestReceiptsAreNotSentAgain"},
	{"MIME is made anew at each reading", ".", "TestRemadeMIME"},
	{"copies of an earlier tool", ".", "TestCopiesOfOtherTools"},
	{"a message above the target's limit", ".", "TestSizeLimit"},
	{"a message that the target refuses", ".", "TestTargetRefusesOneMessage"},
	{"the target fills up or fails", ".", "TestTargetFails"},
	{"mail is delivered at the target meanwhile", ".", "TestDeliveredMeanwhile"},
	{"half of a folder vanishes at once", ".", "TestVanishedAtOnceIsKept"},
	{"the plan names a user twice", ".", "TestPlanMistakes"},
	{"two runs at once", ".", "TestTwoRunsAtOnce"},
	{"the clock is set, back or on, at any moment", ".", "TestClockJumps"},
	{"a message that arrives late would make UIDs lie", ".", "TestLateMessageRenewsUIDValidity"},
	{"a rollback is interrupted", ".", "TestRollbackInterrupted"},
	{"a rollback is killed at any moment", ".", "TestRollbackKilled"},
	{"names change hands between cutover and rollback, messages are alike", ".", "TestCarries"},
	{"a user moves, deletes and renames between cutover and rollback", ".", "TestRollbackCarries"},
	{"killed at any moment", ".", "TestKilled"},
	{"the ledger is lost", ".", "TestLedgerLost"},
	{"a cutover is interrupted", ".", "TestCutoverCrashes"},
	{"UIDLs of POP3 clients", "../../test", "TestCutoverKeepsUniqueIDs"},
	{"UIDLs that follow no rule", "../../test", "TestCutoverMapsUniqueIDs"},
	{"replies to X.500 addresses of old mail", "../delivery", "TestLegacyAddresses"},
	{"deleted items and orphans of a PST", "../../pst", "TestDeleted"},
	{"4K pages and compressed blocks of newer OSTs", "../../pst", "TestRaw4K"},
	{"S/MIME and other signed mail", "../../mapi", "TestSignedMailStays"},
	{"winmail.dat", "../../mapi/tnef", "TestExpected"},
	{"a PST cut off, or with its roots lost", "../../pst", "TestTruncated"},
	{"a folder too large to be listed at once", ".", "TestHugeFolder"},
	{"throttled at the login behind a lost connection", ".", "TestThrottledBehindALostConnection"},
	{"no Message-ID, and nothing that tells messages apart", ".", "TestMessagesAlike"},
	{"what IMAP never shows", ".", "TestRouteNotes"},
	{"mail comes while a cutover is under way", "../../test", "TestRehearsal"},
	{"passes go on behind the cutover", ".", "TestPassesBehindTheCutover"},
	{"a target that is full", ".", "TestTargetFillsUp"},
	{"passwords of a PST, protected files", "../../pst", "TestRefused"},
	{"old and new formats, password or not", "../../pst", "TestShapes"},
	{"blocks that are permuted though the file says no, and the other way round", "../../pst", "TestMixed"},
	{"index roots that are lost", "../../pst", "TestRootsLost"},
	{"values, rows and names out of bounds", "../../pst", "TestCorruption"},
	{"items that other readers drop: notes, tasks, lists", "../../pst", "TestPeersCount"},
	{"text and names that other readers garble, attachments that they empty", "../../pst", "TestPeersContent"},
	{"contacts and distribution lists that refer to entries", "../../pst", "TestPeople"},
	{"a message embedded in itself", "../../pst", "TestEmbeddedInItself"},
	{"files that end in the middle while they are read", "../../pst", "TestVanishes"},
	{"8-bit text in a code page", "../../mapi/codepage", "TestDecode"},
	{"bodies in RTF only, with HTML in them", "../../mapi/rtf", "TestUnwrapHTML"},
	{"bodies in RTF only, with text in them", "../../mapi/rtf", "TestUnwrapText"},
	{"prefixes of subjects, addresses of X.500, flags", "../../mapi", "TestConvert"},
	{"attachments that are links, archive stubs, rights management, unknown classes", "../../mapi", "TestContentElsewhere"},
	{"meetings: UIDs, exceptions, attendees, reminders of a series that were dealt with", "../../mapi", "TestGroupware"},
	{"time zones of appointments", "../../mapi", "TestZone"},
	{"damage in a PST is in the report", "source/pst", "TestDamageIsReported"},
}

// TestPitfalls checks that each of them has its test.
func TestPitfalls(t *testing.T) {
	t.Parallel()
	source := map[string]string{}
	for _, p := range pitfalls {
		if source[p.dir] == "" {
			files, err := filepath.Glob(filepath.Join(p.dir, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				source[p.dir] += string(b)
			}
		}
		if !strings.Contains(source[p.dir], "\nfunc "+p.test+"(") {
			t.Errorf("%s: there is no %s in %s", p.what, p.test, p.dir)
		}
	}
}
