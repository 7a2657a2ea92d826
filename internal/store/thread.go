package store

import (
	"crypto/sha256"
	"encoding/binary"

	"expost/internal/mail"
	"expost/internal/message"
)

// maxThreadRefs bounds the references of a message that are looked at: the
// first, which began the thread, and the newest.
const maxThreadRefs = 32

// threadHashes returns the hashes of the message ids that tie a message to a
// thread: its references, the oldest first, then its own.
func threadHashes(refs message.Refs) []uint64 {
	ids := refs.References
	if n := len(ids); n > maxThreadRefs {
		ids = append([]string{ids[0]}, ids[n-maxThreadRefs+1:]...)
	}
	hashes := make([]uint64, 0, len(ids)+1)
	for _, id := range ids {
		hashes = append(hashes, hashMessageID(id))
	}
	if refs.MessageID != "" {
		hashes = append(hashes, hashMessageID(refs.MessageID))
	}
	return hashes
}

// hashMessageID returns 64 bits of a message id that nobody can choose.
func hashMessageID(id string) uint64 {
	sum := sha256.Sum256([]byte(id))
	return binary.LittleEndian.Uint64(sum[:])
}

// findThread returns the thread that the first known of hashes belongs to, or
// 0, and the hashes that are not known.
func (b *batch) findThread(hashes []uint64) (thread mail.ThreadID, unknown []uint64, err error) {
	for _, hash := range hashes {
		id, ok := b.threads[hash]
		if !ok {
			if id, err = b.tx.Thread(hash); err != nil {
				return 0, nil, err
			}
		}
		if id == 0 {
			unknown = append(unknown, hash)
		} else if thread == 0 {
			thread = id
		}
	}
	return thread, unknown, nil
}
