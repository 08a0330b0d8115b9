package execution

import (
	"crypto/sha256"

	"github.com/segmentio/ksuid"
)

// RetryID gives the id of the execution that retries another one under a key of a workspace: with
// the same key, an execution is retried once, however often it is asked for.
func RetryID(workspaceID, key, executionID string) string {
	sum := sha256.Sum256([]byte("hooktrail retry/" + workspaceID + "/" + executionID + "/" + key))
	id, err := ksuid.FromBytes(sum[:20])
	if err != nil {
		panic(err) // a KSUID has 20 bytes, whichever they are
	}
	return id.String()
}
