package trigger

import (
	"time"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/jsonobject"
)

// Created is the first event of a trigger.
type Created struct {
	eventlog.Base
	AgentID     string  `json:"agent_id"`
	Name        string  `json:"name"`
	Active      bool    `json:"is_active"`
	TokenID     string  `json:"token_id"`
	TokenPrefix string  `json:"token_prefix"`
	SecretID    string  `json:"secret_id,omitempty"`
	Options     Options `json:"options"`
}

// Renamed gives another display name.
type Renamed struct {
	eventlog.Base
	Name string `json:"name"`
}

// Configured replaces the options.
type Configured struct {
	eventlog.Base
	Options Options `json:"options"`
}

// Rebound gives the trigger another agent.
type Rebound struct {
	eventlog.Base
	AgentID string `json:"agent_id"`
}

// Activated switches the trigger on.
type Activated struct{ eventlog.Base }

// Deactivated switches the trigger off.
type Deactivated struct{ eventlog.Base }

// TokenRotated puts a new token in place.
type TokenRotated struct {
	eventlog.Base
	TokenID     string `json:"token_id"`
	TokenPrefix string `json:"token_prefix"`
	// PreviousUntil ends the grace period of the token before; absent when it ended at once.
	PreviousUntil *time.Time `json:"previous_until,omitempty"`
}

// SecretSet puts a first or a new signing secret in place.
type SecretSet struct {
	eventlog.Base
	SecretID      string     `json:"secret_id"`
	PreviousUntil *time.Time `json:"previous_until,omitempty"`
}

// SecretRemoved ends the need to sign.
type SecretRemoved struct{ eventlog.Base }

// Digest identifies a payload that is kept beside the log.
type Digest struct {
	SHA256 string `json:"sha256"` // hex
	Size   int    `json:"size"`   // bytes
}

// AddTo adds the digest to an object that is being written.
func (d Digest) AddTo(o jsonobject.Object, name string) jsonobject.Object {
	return o.Begin(name).Text("sha256", d.SHA256).Int("size", d.Size).End()
}

// Invoked is an accepted call. It creates the execution of that id.
type Invoked struct {
	eventlog.Base
	ExecutionID string `json:"execution_id"`
	AgentID     string `json:"agent_id"`
	// Runs is false when the agent's runner is none: somebody outside does the work.
	Runs           bool   `json:"runs"`
	Input          Digest `json:"input"`
	MediaType      string `json:"media_type,omitempty"` // "" means application/json
	TokenID        string `json:"token_id,omitempty"`   // "" for a run that no call asked for
	Signed         bool   `json:"signed,omitempty"`
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	ClientIP       string `json:"client_ip,omitempty"`
	// ScheduledFor is the time of the schedule that this run is for; absent for a call.
	ScheduledFor *time.Time `json:"scheduled_for,omitempty"`
	// NextRunAt is when the schedule goes on behind it; absent when it does not.
	NextRunAt *time.Time `json:"next_run_at,omitempty"`
	// SenderEvent is the sender's own name for what happened, such as pull_request; since version 2.
	SenderEvent string `json:"sender_event,omitempty"`
}

// JSON writes the event.
func (e Invoked) JSON() []byte {
	o := jsonobject.New(384).Text("execution_id", e.ExecutionID).Text("agent_id", e.AgentID).Bool("runs", e.Runs)
	return e.Input.AddTo(o, "input").TextIfAny("media_type", e.MediaType).TextIfAny("token_id", e.TokenID).BoolIfTrue("signed", e.Signed).
		TextIfAny("idempotency_key", e.IdempotencyKey).TextIfAny("client_ip", e.ClientIP).
		TimeIfAny("scheduled_for", e.ScheduledFor).TimeIfAny("next_run_at", e.NextRunAt).TextIfAny("sender_event", e.SenderEvent).End()
}

// Handshaken is a request by which the sender set the hook up or tested it, and that was
// answered as the sender wants. Nothing ran.
type Handshaken struct {
	eventlog.Base
	Scheme   Scheme `json:"scheme"`
	Kind     string `json:"kind"` // the sender's word for it, such as url_verification
	TokenID  string `json:"token_id"`
	ClientIP string `json:"client_ip,omitempty"`
}

// Received is what a call brought that the trigger's filter or mapping was evaluated on. The
// Invoked behind it, of the same append, holds the agent's input: what the mapping made of the
// body, or the body itself; then there is no second copy of it here.
type Received struct {
	eventlog.Base
	ExecutionID string `json:"execution_id"`
	Body        Digest `json:"body"`
	MediaType   string `json:"media_type,omitempty"` // "" means application/json
	Seen
}

// Filtered is a call that the trigger's filter kept from its agent.
type Filtered struct {
	eventlog.Base
	AgentID   string `json:"agent_id"`
	Body      Digest `json:"body"`
	MediaType string `json:"media_type,omitempty"`
	TokenID   string `json:"token_id"`
	Signed    bool   `json:"signed,omitempty"`
	ClientIP  string `json:"client_ip,omitempty"`
	Seen
}

// Seen is what expressions were given of a call beside its body, so that they can be tried
// again on it.
type Seen struct {
	Event   string            `json:"event,omitempty"` // the sender's name for it
	Headers map[string]string `json:"headers,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
}

// Deleted ends a trigger.
type Deleted struct{ eventlog.Base }

// Codec stores the events of this package.
var Codec = eventlog.NewCodec(
	eventlog.Type[Created]("trigger.created", eventlog.Unchanged),
	eventlog.Type[Renamed]("trigger.renamed"),
	eventlog.Type[Configured]("trigger.configured", eventlog.Unchanged),
	eventlog.Type[Rebound]("trigger.rebound"),
	eventlog.Type[Activated]("trigger.activated"),
	eventlog.Type[Deactivated]("trigger.deactivated"),
	eventlog.Type[TokenRotated]("trigger.token_rotated"),
	eventlog.Type[SecretSet]("trigger.secret_set"),
	eventlog.Type[SecretRemoved]("trigger.secret_removed"),
	eventlog.FactType[Invoked]("trigger.invoked", eventlog.Unchanged),
	eventlog.FactType[Received]("trigger.received"),
	eventlog.FactType[Filtered]("trigger.filtered"),
	eventlog.FactType[Handshaken]("trigger.handshaken"),
	eventlog.FactType[ScheduleMissed]("trigger.schedule_missed"),
	eventlog.Type[Deleted]("trigger.deleted"),
)
