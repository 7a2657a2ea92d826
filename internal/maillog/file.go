package maillog

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// nameLayout is the name of a file: when it was begun.
const nameLayout = "2006-01-02T150405.000"

// writer writes what is pending until Close.
func (l *Log) writer() {
	tick := time.NewTimer(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-l.wake:
		}
		tick.Reset(flushEvery)
		select {
		case <-l.done:
			return
		case <-tick.C:
		case <-l.wake: // much is pending
		}
		l.flush()
	}
}

// flush writes what is pending.
func (l *Log) flush() {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	l.mu.Lock()
	out, lost := l.pending, l.lost
	l.pending, l.lost = l.spare[:0], 0
	l.mu.Unlock()
	if len(out) > 0 {
		if err := l.write(out); err != nil && l.cfg.Now().Sub(l.warned) > time.Minute {
			l.warned = l.cfg.Now()
			l.cfg.Log.Error("the mail log cannot be written", slog.Any("error", err))
		}
	}
	if lost > 0 {
		l.cfg.Log.Error("the mail log was too slow, lines are missing", slog.Int("lines", lost))
	}
	if l.spare = out[:0]; cap(out) > maxPending/4 {
		l.spare = nil
	}
}

// write writes lines into the present file, or the next one.
func (l *Log) write(out []byte) error {
	if l.file != nil && (l.written >= l.cfg.MaxFile || l.cfg.Now().Sub(l.opened) >= 24*time.Hour) {
		if err := l.file.Close(); err != nil {
			return err
		}
		l.file = nil
		l.expire()
	}
	if l.file == nil {
		if err := l.begin(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(out)
	l.written += int64(n)
	return err
}

// begin opens the next file: the last one of the folder goes on where it is
// young and small.
func (l *Log) begin() error {
	now := l.cfg.Now()
	name, size := "", int64(0)
	if all := l.files(); len(all) > 0 && l.opened.IsZero() {
		last := all[len(all)-1]
		begun, err := time.Parse(nameLayout, strings.TrimSuffix(last, ".log"))
		if info, serr := os.Stat(filepath.Join(l.cfg.Dir, last)); err == nil && serr == nil && now.Sub(begun) < 24*time.Hour && info.Size() < l.cfg.MaxFile {
			name, size, l.opened = last, info.Size(), begun
		}
	}
	if name == "" {
		name, l.opened = now.UTC().Format(nameLayout)+".log", now
	}
	f, err := os.OpenFile(filepath.Join(l.cfg.Dir, name), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
	if err != nil {
		return fmt.Errorf("opening the mail log: %w", err)
	}
	l.file, l.name, l.written = f, name, size
	if size > 0 { // a crash may have torn the last line
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err == nil && last[0] != '\n' {
			_, _ = f.Write([]byte{'\n'})
			l.written++
		}
	}
	link := filepath.Join(l.cfg.Dir, "mail.log")
	_ = os.Remove(link)
	return os.Symlink(name, link)
}

// files returns the names of the files, the oldest first.
func (l *Log) files() []string {
	entries, err := os.ReadDir(l.cfg.Dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if _, err := time.Parse(nameLayout, strings.TrimSuffix(e.Name(), ".log")); err == nil {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// expire removes files that are too old.
func (l *Log) expire() {
	for _, name := range l.files() {
		info, err := os.Stat(filepath.Join(l.cfg.Dir, name))
		if err != nil || l.cfg.Now().Sub(info.ModTime()) < l.cfg.Keep {
			continue
		}
		if err := os.Remove(filepath.Join(l.cfg.Dir, name)); err != nil {
			l.cfg.Log.Warn("removing an old mail log", slog.Any("error", err))
		}
	}
}
