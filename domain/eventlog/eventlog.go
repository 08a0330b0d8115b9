// Package eventlog says what an event is, how streams of them are named and versioned,
// and what may go wrong when one is appended. It holds no storage.
package eventlog

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"hooktrail/domain/jsonobject"
)

// Position is the place of an event in the whole log: 1 for the first, without gaps,
// in the order in which the transactions were committed. 0 is "before the first".
type Position int64

// StreamID names the stream of one aggregate: "<kind>-<id>".
type StreamID string

// The kinds of streams.
const (
	TriggerStream   = "trigger"
	AgentStream     = "agent"
	ExecutionStream = "execution"
	APIKeyStream    = "api_key"
	// SubscriptionStream is that of a receiver of events.
	SubscriptionStream = "subscription"
	// BacktestStream is that of a trial on invocations of the past.
	BacktestStream = "backtest"
)

// Stream names the stream of the aggregate of that kind and id.
func Stream(kind, id string) StreamID { return StreamID(kind + "-" + id) }

// ID gives the aggregate's id.
func (s StreamID) ID() string {
	_, id, _ := strings.Cut(string(s), "-")
	return id
}

// Kind gives the aggregate's kind.
func (s StreamID) Kind() string {
	kind, _, _ := strings.Cut(string(s), "-")
	return kind
}

// Actor is who caused an event: "api_key:<id>", "trigger:<id>", "worker:<id>" or "system".
type Actor string

// System is the actor of what Hooktrail does by itself.
const System Actor = "system"

// ActorOf names the actor of that kind and id.
func ActorOf(kind, id string) Actor { return Actor(kind + ":" + id) }

// ID gives the id behind the actor's kind, "" for the system.
func (a Actor) ID() string {
	_, id, _ := strings.Cut(string(a), ":")
	return id
}

// Metadata says who and what an event came from.
type Metadata struct {
	Actor         Actor  `json:"-"`
	RequestID     string `json:"request_id,omitempty"`
	TraceParent   string `json:"traceparent,omitempty"`
	CausationID   string `json:"causation_id,omitempty"`
	CorrelationID string `json:"correlation_id,omitempty"`
}

// JSON writes the metadata without the actor, in the form in which it is stored.
func (m *Metadata) JSON() []byte {
	return jsonobject.New(160).TextIfAny("request_id", m.RequestID).TextIfAny("traceparent", m.TraceParent).
		TextIfAny("causation_id", m.CausationID).TextIfAny("correlation_id", m.CorrelationID).End()
}

// Proposed is an event that a decision wants to append.
type Proposed struct {
	ID     string // a KSUID; appending the same one twice appends it once
	Type   string
	Schema int
	Data   []byte // JSON
	// Event is what Data encodes, so that who projects it at once need not decode it.
	Event Event
	// Payload is stored beside the event and may be erased later; Data holds its digest.
	Payload []byte
	// Fact marks an event that no later decision depends on: it is stored with the version
	// of the stream under which it was admitted and does not raise it.
	Fact bool
}

// Recorded is an event of the log.
type Recorded struct {
	Position    Position
	ID          string
	WorkspaceID string
	Stream      StreamID
	Version     int64
	Fact        bool
	Type        string
	Schema      int
	At          time.Time
	Meta        Metadata
	Data        []byte
	// Event is what Data encodes, on events that are being appended; else nil.
	Event Event
	// Payload is set on events that are being appended; reading the log leaves it nil.
	Payload []byte
}

// Guard demands that a stream is at a version.
type Guard struct {
	Stream  StreamID
	Version int64
}

// IdempotencyKey makes an append happen once for a scope and key.
type IdempotencyKey struct {
	Scope, Key string
	// Digest of what was sent; the same key with another digest is a mismatch.
	Digest []byte
	// Subject is what a repeat is answered with: the execution's id.
	Subject   string
	ExpiresAt time.Time
}

// Credential is a secret kept outside the log, because it must be possible to erase it
// and to seal it anew: a keyed hash to find its owner by, or sealed bytes to sign with.
type Credential struct {
	ID          string
	WorkspaceID string
	Owner       StreamID
	Hash        []byte // of a token or API key; nil for a sealed secret
	Sealed      []byte // of a signing secret; nil for a hash
}

// Append is one atomic addition to the log: all of it or nothing.
type Append struct {
	WorkspaceID string
	Stream      StreamID
	// Expected is the version of Stream on which Events were decided; 0 for a new stream.
	Expected int64
	Guards   []Guard
	Events   []Proposed
	Meta     Metadata

	Idempotency *IdempotencyKey
	// Due says that workers may have something to run behind it: an execution that waits, or
	// room for one.
	Due bool
	// Erase takes the payloads of earlier events away in the same transaction.
	Erase []Position
	// Keep and Forget change credentials in the same transaction.
	Keep   []Credential
	Forget []string
}

// Appended says what an append did.
type Appended struct {
	Events []Recorded
	// Replayed is the subject of an earlier append with the same idempotency key, in which
	// case nothing was appended now; else "".
	Replayed string
}

// ConflictError says that a stream was not at the version a decision was made on. The
// decision may be made again on the newer state.
type ConflictError struct {
	Stream           StreamID
	Expected, Actual int64
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("stream %s is at version %d, not %d", e.Stream, e.Actual, e.Expected)
}

// IsConflict reports whether err is a ConflictError.
func IsConflict(err error) bool {
	var c *ConflictError
	return errors.As(err, &c)
}

// ErrIdempotencyMismatch says that an idempotency key was used before with other content.
var ErrIdempotencyMismatch = errors.New("idempotency key was used with other content")

// ErrQueueFull says that more appends are waiting than the store takes.
var ErrQueueFull = errors.New("append queue is full")

// ErrUnavailable says that the store could not be reached or did not answer in time. What
// was asked for may or may not have happened.
var ErrUnavailable = errors.New("event store is unavailable")
