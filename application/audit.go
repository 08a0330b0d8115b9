package application

import (
	"context"
	"time"

	"hooktrail/domain/fault"
	"hooktrail/domain/trail"
)

// AuditTrail is the Merkle tree over the log, which follows it.
type AuditTrail interface {
	// Checkpoint gives the latest signed checkpoint; false when there is none.
	Checkpoint(ctx context.Context) (CheckpointView, bool, error)
	// Receipt proves that an event of a workspace is in the tree of the latest checkpoint; false
	// when there is no such event. Of an event that no checkpoint covers yet it is nil.
	Receipt(ctx context.Context, workspace, eventID string) (*trail.Receipt, bool, error)
}

// CheckpointView is a signed checkpoint of the log.
type CheckpointView struct {
	Origin string `json:"origin"`
	// Size is the position of the last event that it covers.
	Size      uint64    `json:"size"`
	Root      []byte    `json:"root"`
	Note      string    `json:"note"`
	CreatedAt time.Time `json:"created_at"`
	// VerifierKey is what the note is verified with.
	VerifierKey string `json:"verifier_key"`
}

// checkpointSoon is after what time an event has been covered for sure, as long as a worker runs.
const checkpointSoon = 15 * time.Second

// GetCheckpoint shows the latest checkpoint.
func (app *Application) GetCheckpoint(ctx context.Context) (CheckpointView, error) {
	view, found, err := app.Trail.Checkpoint(ctx)
	if err != nil {
		return CheckpointView{}, refusal(err)
	}
	if !found {
		return CheckpointView{}, fault.New(fault.Conflict, "no checkpoint was made yet; a worker makes one soon after it has started").Retry(checkpointSoon)
	}
	return view, nil
}

// ProveEvent gives a receipt for an event.
func (app *Application) ProveEvent(ctx context.Context, caller Caller, eventID string) (*trail.Receipt, error) {
	receipt, found, err := app.Trail.Receipt(ctx, caller.WorkspaceID, eventID)
	switch {
	case err != nil:
		return nil, refusal(err)
	case !found:
		return nil, fault.New(fault.NotFound, "there is no event with that id")
	case receipt == nil:
		return nil, fault.New(fault.Conflict, "no checkpoint covers this event yet; one is made every 10 seconds").Retry(checkpointSoon)
	}
	return receipt, nil
}
