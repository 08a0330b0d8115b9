package agent

import "hooktrail/domain/eventlog"

// Registered is the first event of an agent.
type Registered struct {
	eventlog.Base
	Settings
	SigningSecretID string      `json:"signing_secret_id,omitempty"`
	Credential      *Credential `json:"credential,omitempty"`
}

// Updated replaces the settings and names the credential that goes with them.
type Updated struct {
	eventlog.Base
	Settings
	SigningSecretID string      `json:"signing_secret_id,omitempty"`
	Credential      *Credential `json:"credential,omitempty"`
}

// Archived ends an agent; its executions stay readable.
type Archived struct{ eventlog.Base }

// Codec stores the events of this package.
var Codec = eventlog.NewCodec(
	eventlog.Type[Registered]("agent.registered", eventlog.Unchanged), // v2 has a credential and the fields of openai
	eventlog.Type[Updated]("agent.updated", eventlog.Unchanged),       // as above
	eventlog.Type[Archived]("agent.archived"),
)
