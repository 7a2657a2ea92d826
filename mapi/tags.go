package mapi

// The properties that are read here by their own ids ([MS-OXPROPS] 2). The type
// of a string is left open: files have it as TypeString or TypeString8.
const (
	idImportance           = 0x0017
	idExpiryTime           = 0x0015
	idMessageClass         = 0x001A
	idDeliveryReport       = 0x0023
	idPriority             = 0x0026
	idReadReceipt          = 0x0029
	idReplyTime            = 0x0030
	idReportTime           = 0x0032
	idSensitivity          = 0x0036
	idSubject              = 0x0037
	idClientSubmitTime     = 0x0039
	idSubjectPrefix        = 0x003D
	idRepresentingEntryID  = 0x0041
	idRepresentingName     = 0x0042
	idReplyEntries         = 0x004F
	idReplyNames           = 0x0050
	idRepresentingType     = 0x0064
	idRepresentingAddress  = 0x0065
	idConversationTopic    = 0x0070
	idConversationIndex    = 0x0071
	idTransportHeaders     = 0x007D
	idDiagCode             = 0x0C05
	idReasonCode           = 0x0C04
	idRecipientType        = 0x0C15
	idSenderEntryID        = 0x0C19
	idSenderName           = 0x0C1A
	idSupplementaryInfo    = 0x0C1B
	idSenderType           = 0x0C1E
	idSenderAddress        = 0x0C1F
	idStatusCode           = 0x0C20
	idRemoteMTA            = 0x0C21
	idDisplayBcc           = 0x0E02
	idDisplayCc            = 0x0E03
	idDisplayTo            = 0x0E04
	idDeliveryTime         = 0x0E06
	idMessageFlags         = 0x0E07
	idMessageStatus        = 0x0E17
	idNormalizedSubject    = 0x0E1D
	idRTFInSync            = 0x0E1F
	idBody                 = 0x1000
	idReportText           = 0x1001
	idRTFCompressed        = 0x1009
	idHTML                 = 0x1013
	idNativeBody           = 0x1016
	idMessageID            = 0x1035
	idReferences           = 0x1039
	idInReplyTo            = 0x1042
	idListHelp             = 0x1043
	idListSubscribe        = 0x1044
	idListUnsubscribe      = 0x1045
	idOriginalMessageID    = 0x1046
	idIconIndex            = 0x1080
	idLastVerb             = 0x1081
	idFlagStatus           = 0x1090
	idDisplayName          = 0x3001
	idAddressType          = 0x3002
	idEmailAddress         = 0x3003
	idCreationTime         = 0x3007
	idModificationTime     = 0x3008
	idSearchKey            = 0x300B
	idStoreCodepage        = 0x66C3
	idAttachData           = 0x3701
	idAttachExtension      = 0x3703
	idAttachFilename       = 0x3704
	idAttachMethod         = 0x3705
	idAttachLongFilename   = 0x3707
	idAttachPathname       = 0x3708
	idAttachRendering      = 0x370B
	idAttachLongPathname   = 0x370D
	idAttachMIME           = 0x370E
	idAttachContentID      = 0x3712
	idAttachLocation       = 0x3713
	idAttachFlags          = 0x3714
	idAttachHidden         = 0x7FFE
	idContactPhoto         = 0x7FFF
	idAttachExceptionFlags = 0x7FFD
	idSMTPAddress          = 0x39FE
	idInternetCodepage     = 0x3FDE
	idDeferredSend         = 0x3FEF
	idMessageCodepage      = 0x3FFD
	idLocale               = 0x3FF1
	idSenderSMTP           = 0x5D01
	idRepresentingSMTP     = 0x5D02
	idRecipientFlags       = 0x5FFD
	idRecipientTrackStatus = 0x5FFF
	idRecipientEntryID     = 0x0FFF
)

// The values of PidTagAttachMethod ([MS-OXCMSG] 2.2.2.9).
const (
	attachByReference = 2
	attachOnlyRef     = 4
	attachEmbedded    = 5
	attachOLE         = 6
	attachWeb         = 7
)

// NewTag returns the tag of a property id and a type.
func NewTag(id uint16, typ Type) Tag { return Tag(uint32(id)<<16 | uint32(typ)) }

// namespace returns the GUID {xxxxxxxx-0000-0000-C000-000000000046}.
func namespace(first uint32) GUID {
	return GUID{byte(first), byte(first >> 8), byte(first >> 16), byte(first >> 24), 8: 0xC0, 15: 0x46}
}

// The property sets ([MS-OXPROPS] 1.3.2).
var (
	SetCommon          = namespace(0x00062008)
	SetAddress         = namespace(0x00062004)
	SetAppointment     = namespace(0x00062002)
	SetTask            = namespace(0x00062003)
	SetLog             = namespace(0x0006200A)
	SetNote            = namespace(0x0006200E)
	SetPublicStrings   = namespace(0x00020329)
	SetMAPI            = namespace(0x00020328)
	SetInternetHeaders = namespace(0x00020386)
	SetMeeting         = GUID{0x90, 0xDA, 0xD8, 0x6E, 0x0B, 0x45, 0x1B, 0x10, 0x98, 0xDA, 0x00, 0xAA, 0x00, 0x3F, 0x13, 0x05}
)
