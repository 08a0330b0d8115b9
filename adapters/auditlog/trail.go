package auditlog

import (
	"context"
	"errors"
	"fmt"

	"hooktrail/adapters/database"
	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/trail"
)

// Trail shows what the builders have made. It works in processes that build nothing too.
type Trail struct{ db *database.DB }

// NewTrail makes the trail of a database.
func NewTrail(db *database.DB) *Trail { return &Trail{db} }

// Checkpoint gives the latest checkpoint; false when there is none.
func (t *Trail) Checkpoint(ctx context.Context) (application.CheckpointView, bool, error) {
	last, opened, verifier, err := t.latest(ctx)
	if err != nil || verifier == nil {
		return application.CheckpointView{}, false, err
	}
	return application.CheckpointView{
		Origin: verifier.Origin(), Size: opened.Size, Root: opened.Root, Note: last.Note, CreatedAt: last.MadeAt, VerifierKey: verifier.String(),
	}, true, nil
}

// latest gives a nil verifier when there is no checkpoint.
func (t *Trail) latest(ctx context.Context) (Stored, trail.Checkpoint, *trail.Verifier, error) {
	last, found, err := Latest(ctx, t.db)
	if err != nil || !found {
		return last, trail.Checkpoint{}, nil, t.translate(err)
	}
	verifier, err := Verifier(ctx, t.db)
	if err != nil {
		return last, trail.Checkpoint{}, nil, t.translate(err)
	}
	opened, err := verifier.Open(last.Note)
	if err != nil {
		return last, opened, nil, fmt.Errorf("%w: the latest checkpoint: %w", ErrInconsistent, err)
	}
	return last, opened, verifier, nil
}

// Receipt proves an event of a workspace; false when there is none. Of one that no checkpoint
// covers it is nil.
func (t *Trail) Receipt(ctx context.Context, workspace, eventID string) (*trail.Receipt, bool, error) {
	encoded, position, err := t.leaf(ctx, workspace, eventID)
	if err != nil || encoded == nil {
		return nil, false, t.translate(err)
	}
	last, opened, verifier, err := t.latest(ctx)
	if err != nil {
		return nil, false, err
	}
	if verifier == nil || opened.Size < uint64(position) {
		return nil, true, nil
	}
	index := uint64(position) - 1
	hashes, err := trail.Inclusion(index, opened.Size, newBlocks(ctx, t.db).get)
	if err != nil {
		return nil, false, t.translate(err)
	}
	receipt := &trail.Receipt{
		Format: trail.ReceiptFormat, EventID: eventID, Index: index, Leaf: encoded, Hashes: hashes, Checkpoint: last.Note, VerifierKey: verifier.String(),
	}
	if _, _, err := receipt.Verify(verifier); err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrInconsistent, err) // nobody is given a receipt that does not hold
	}
	return receipt, true, nil
}

// leaf encodes an event; nil when there is none.
func (t *Trail) leaf(ctx context.Context, workspace, eventID string) ([]byte, int64, error) {
	rows, err := t.db.Read.QueryContext(ctx, t.db.SQL("SELECT "+leafColumns+" FROM events WHERE event_id = ? AND workspace_id = ?"), eventID, workspace)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, 0, rows.Err()
	}
	r := newRaw()
	if err := rows.Scan(r.destinations...); err != nil {
		return nil, 0, err
	}
	if r.leaf.Position < 1 {
		return nil, 0, fmt.Errorf("%w: an event is at position %d", ErrInconsistent, r.leaf.Position)
	}
	return r.encode(), r.leaf.Position, rows.Err()
}

func (t *Trail) translate(err error) error {
	if err != nil && !errors.Is(err, eventlog.ErrUnavailable) && t.db.IsUnavailable(err) {
		return fmt.Errorf("%w: %w", eventlog.ErrUnavailable, err)
	}
	return err
}
