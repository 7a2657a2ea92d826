package archive_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"expost/internal/archive"
	"expost/internal/migrate"
	sourcepst "expost/internal/migrate/source/pst"
)

// BenchmarkPST exports the PST file that EXPOST_PST_FILE names; TestWriterLarge
// of package pst makes one.
func BenchmarkPST(b *testing.B) {
	path := os.Getenv("EXPOST_PST_FILE")
	info, err := os.Stat(path)
	if err != nil {
		b.Skip("EXPOST_PST_FILE names no file")
	}
	for _, format := range []string{"mbox", "eml"} {
		b.Run(format, func(b *testing.B) {
			b.SetBytes(info.Size())
			n := 0
			for i := range b.N {
				src, err := sourcepst.New(sourcepst.Config{Log: slog.New(slog.DiscardHandler)}).Open(b.Context(), migrate.User{Source: path, Target: "a@example.org"})
				if err != nil {
					b.Fatal(err)
				}
				dir := filepath.Join(b.TempDir(), string(rune('a'+i)))
				res, err := archive.Copy(b.Context(), src, dir, archive.Options{Format: format})
				if err != nil {
					b.Fatal(err)
				}
				n += res.Messages
				src.Close()
				os.RemoveAll(dir)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
