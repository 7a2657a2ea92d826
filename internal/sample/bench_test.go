package sample

import "testing"

func BenchmarkMessages(b *testing.B) {
	m := New(Options{}).Mailbox(0)
	for b.Loop() {
		var n int64
		for f := range m.Folders {
			for msg := range m.Messages(f) {
				n += int64(len(msg.Body))
			}
		}
		b.SetBytes(n)
	}
}

func BenchmarkPlan(b *testing.B) {
	for b.Loop() {
		New(Options{People: 200, Messages: 500})
	}
}
