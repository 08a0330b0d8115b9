package serve

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/segmentio/ksuid"
)

// newID gives a KSUID whose payload begins with the fraction of its second, before 96 random
// bits. Ids that are made one after the other so go to the end of an index, instead of to
// anywhere among those of the same second.
func newID() string {
	now := time.Now()
	var payload [16]byte
	binary.BigEndian.PutUint32(payload[:], uint32(uint64(now.Nanosecond())<<32/uint64(time.Second)))
	_, _ = rand.Read(payload[4:])             // never fails
	id, _ := ksuid.FromParts(now, payload[:]) // fails for another length only
	return id.String()
}
