package config

// MailLog is the log of what became of each message.
type MailLog struct {
	Off     bool     `toml:"off"`
	Folder  string   `toml:"folder"`   // default: log in the data folder
	Keep    Duration `toml:"keep"`     // how long files are kept
	MaxFile int64    `toml:"max-file"` // bytes, after which the next file begins
}

func (m *MailLog) check(wrong func(key, format string, args ...any) error) error {
	if m.Keep < 0 || m.MaxFile < 0 {
		return wrong("maillog.keep, maillog.max-file", "must be above zero")
	}
	return nil
}
