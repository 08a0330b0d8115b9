package auditlog

import (
	"context"

	"hooktrail/domain/trail"
)

// Keep keeps a checkpoint of that size, without looking at others.
func (b *Builder) Keep(ctx context.Context, size uint64) error {
	return b.keep(ctx, trail.Checkpoint{Size: size, Note: "note"}, b.config.Now())
}
