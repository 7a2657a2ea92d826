package migrate

import (
	"strings"

	"golang.org/x/text/unicode/norm"

	"expost/internal/mail"
)

// GuessUse returns the role that a folder's name suggests: what Exchange,
// Outlook and the usual IMAP programs call their special folders, in the
// language of the user's first login. It is for sources that do not say.
func GuessUse(name string) mail.SpecialUse {
	level := strings.TrimPrefix(strings.ToLower(norm.NFC.String(name)), "inbox/")
	if strings.Contains(level, mail.Delimiter) {
		return mail.UseNone
	}
	return roleNames()[level]
}

// roleNames returns the known names, in lower case.
func roleNames() map[string]mail.SpecialUse {
	lists := map[mail.SpecialUse]string{
		mail.UseSent: "sent|sent items|sent mail|sent messages|gesendete elemente|gesendet|gesendete objekte|éléments envoyés|messages envoyés|envoyés|" +
			"elementos enviados|enviados|itens enviados|mensagens enviadas|posta inviata|inviata|verzonden items|verzonden|skickat|skickade objekt|" +
			"sendt post|sendte elementer|sendt|lähetetyt|lähetetyt viestit|elementy wysłane|wysłane|odeslaná pošta|odoslaná pošta|elküldött elemek|küldött elemek|" +
			"elemente trimise|gönderilmiş öğeler|отправленные|отправленные элементы|надіслані|изпратени|απεσταλμένα|נשלח|العناصر المرسلة|送信済みアイテム|送信済みメール|已发送邮件|已发送|寄件備份|보낸 편지함",
		mail.UseDrafts: "drafts|draft|entwürfe|brouillons|borradores|rascunhos|bozze|concepten|utkast|kladder|luonnokset|wersje robocze|szkice|koncepty|rozepsané|" +
			"piszkozatok|ciorne|schițe|taslaklar|черновики|чернетки|чернови|πρόχειρα|טיוטות|مسودات|下書き|草稿|草稿匣|임시 보관함",
		mail.UseTrash: "trash|deleted items|deleted messages|deleted|gelöschte elemente|gelöschte objekte|papierkorb|éléments supprimés|corbeille|elementos eliminados|papelera|" +
			"itens excluídos|itens eliminados|lixo eletrônico excluído|posta eliminata|cestino|verwijderde items|prullenbak|borttaget|papperskorg|slettet post|slettede elementer|" +
			"papirkurv|poistetut|roskakori|elementy usunięte|kosz|odstraněná pošta|koš|odstránená pošta|kôš|törölt elemek|elemente șterse|silinmiş öğeler|удаленные|удалённые|корзина|видалені|кошик|" +
			"изтрити|διαγραμμένα|פריטים שנמחקו|العناصر المحذوفة|削除済みアイテム|ごみ箱|已删除邮件|已删除|刪除的郵件|지운 편지함",
		mail.UseJunk: "junk|junk e-mail|junk email|junk mail|spam|bulk mail|junk-e-mail|unerwünschte werbung|courrier indésirable|indésirables|correo no deseado|lixo eletrônico|correio electrónico de lixo|" +
			"posta indesiderata|ongewenste e-mail|skräppost|uønsket e-post|søppelpost|uønsket mail|roskaposti|wiadomości-śmieci|nevyžádaná pošta|nevyžiadaná pošta|levélszemét|mesaje nedorite|" +
			"önemsiz e-posta|gereksiz|нежелательная почта|спам|небажана пошта|ανεπιθύμητη αλληλογραφία|דואר זבל|البريد غير الهام|迷惑メール|垃圾邮件|垃圾郵件|정크 메일",
		mail.UseArchive: "archive|archives|archiv|archivo|arquivo|arquivo morto|archivio|archief|arkiv|arkisto|archiwum|archív|archívum|arhivă|arşiv|архив|архів|αρχειοθήκη|アーカイブ|存档|封存|보관",
	}
	out := make(map[string]mail.SpecialUse, 256)
	for use, names := range lists {
		for n := range strings.SplitSeq(names, "|") {
			out[norm.NFC.String(n)] = use
		}
	}
	return out
}

// GuessUses gives roles by name to folders that have none, each role to the
// first only, where the source gave none to any.
func GuessUses(folders []Folder) {
	taken := map[mail.SpecialUse]bool{}
	for _, f := range folders {
		if f.Use != mail.UseNone {
			return
		}
	}
	for i := range folders {
		if use := GuessUse(folders[i].Name); use != mail.UseNone && !taken[use] && !folders[i].NoItems {
			folders[i].Use = use
			taken[use] = true
		}
	}
}
