package subscription

import (
	"time"

	"hooktrail/domain/eventlog"
)

// Created is the first event of a subscription.
type Created struct {
	eventlog.Base
	Settings
	StartAfter eventlog.Position `json:"start_after"`
	SecretID   string            `json:"secret_id"`
}

// Updated replaces the settings.
type Updated struct {
	eventlog.Base
	Settings
}

// SecretSet puts a new signing secret in place.
type SecretSet struct {
	eventlog.Base
	SecretID string `json:"secret_id"`
	// PreviousUntil ends the time in which the secret before signs too; absent when it ended at once.
	PreviousUntil *time.Time `json:"previous_until,omitempty"`
}

// Why a subscription is disabled.
const (
	Requested   = "requested"   // by somebody with a key
	Gone        = "gone"        // the receiver answered 410
	Rejected    = "rejected"    // the receiver refused one event for a day
	Unreachable = "unreachable" // the receiver failed for a day
)

// Disabled ends deliveries until the subscription is enabled again.
type Disabled struct {
	eventlog.Base
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Position and EventID name the event that could not be delivered, if that is why.
	Position eventlog.Position `json:"position,omitempty"`
	EventID  string            `json:"event_id,omitempty"`
}

// Enabled lets deliveries go on from where they ended.
type Enabled struct{ eventlog.Base }

// Deleted ends a subscription for good.
type Deleted struct{ eventlog.Base }

// Skipped records that somebody gave up the delivery of one event.
type Skipped struct {
	eventlog.Base
	Position eventlog.Position `json:"position"`
	EventID  string            `json:"event_id"`
}

// Rewound records that somebody moved the subscription in the log, to go on behind a position.
type Rewound struct {
	eventlog.Base
	After eventlog.Position `json:"after"`
}

// Redelivered records that somebody had one event sent again.
type Redelivered struct {
	eventlog.Base
	Position eventlog.Position `json:"position"`
	EventID  string            `json:"event_id"`
}

// Codec stores the events of this package.
var Codec = eventlog.NewCodec(
	eventlog.Type[Created]("subscription.created"),
	eventlog.Type[Updated]("subscription.updated"),
	eventlog.Type[SecretSet]("subscription.secret_set"),
	eventlog.Type[Disabled]("subscription.disabled"),
	eventlog.Type[Enabled]("subscription.enabled"),
	eventlog.Type[Deleted]("subscription.deleted"),
	eventlog.FactType[Skipped]("subscription.event_skipped"),
	eventlog.FactType[Rewound]("subscription.rewound"),
	eventlog.FactType[Redelivered]("subscription.event_redelivered"),
)
