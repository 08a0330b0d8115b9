package agent

import "hooktrail/domain/eventlog"

// Registered is the first event of an agent.
type Registered struct {
	eventlog.Base
	Settings
	SigningSecretID string `json:"signing_secret_id,omitempty"`
}

// Updated replaces the settings.
type Updated struct {
	eventlog.Base
	Settings
	SigningSecretID string `json:"signing_secret_id,omitempty"`
}

// Archived ends an agent; its executions stay readable.
type Archived struct{ eventlog.Base }

// Codec stores the events of this package.
var Codec = eventlog.NewCodec(
	eventlog.Type[Registered]("agent.registered"),
	eventlog.Type[Updated]("agent.updated"),
	eventlog.Type[Archived]("agent.archived"),
)
