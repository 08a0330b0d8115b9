package application

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"hooktrail/domain/agent"
	"hooktrail/domain/credential"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
	"hooktrail/domain/trigger"
)

// boundTrigger is a trigger with all that a call needs, as of the versions of its streams.
// It may be old: the append demands that both streams are still at these versions.
type boundTrigger struct {
	readAt  time.Time
	tokenID string
	trigger trigger.Trigger
	agent   agent.Agent
	schema  *payload.Schema
	keys    map[string]*trigger.Key // by credential id
	// Of triggers with a signature of another scheme than the usual one.
	sender      Sender
	secrets     map[string]string // by credential id
	verifyToken string
	// evaluates is the filter and the mapping; nil for the many triggers that have neither.
	evaluates *evaluated
	// What all its events have in common.
	stream eventlog.StreamID
	guards []eventlog.Guard
	actor  eventlog.Actor
}

// lookupTimeout bounds what is asked of the store, or of the rate limit's, for the checks of a call.
const lookupTimeout = 10 * time.Second

// loadBound reads the trigger that a token belongs to; nil when there is none. joined says
// that the reading had begun before, for another call, and so may have missed a change that
// was answered before this call came in.
func (app *Application) loadBound(ctx context.Context, hash string) (bound *boundTrigger, joined bool, err error) {
	joined = true
	found, err, _ := app.loads.Do(hash, func() (any, error) {
		joined = false
		// Others may wait for this load: it must not end with the request that began it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		return app.readBound(ctx, hash)
	})
	if err != nil {
		return nil, joined, refusal(err)
	}
	bound, _ = found.(*boundTrigger)
	if bound != nil {
		app.triggers.Add(hash, bound)
	} else {
		app.triggers.Remove(hash)
	}
	return bound, joined, nil
}

func (app *Application) readBound(ctx context.Context, hash string) (*boundTrigger, error) {
	credential, found, err := app.Store.CredentialByHash(ctx, []byte(hash))
	if err != nil || !found || credential.Owner.Kind() != eventlog.TriggerStream {
		return nil, err
	}
	state, err := fold[trigger.Trigger](ctx, app.Store, trigger.Codec, credential.Owner, 0)
	if err != nil {
		return nil, err
	}
	return app.bind(ctx, credential.ID, state)
}

// bind reads what a call of a trigger needs beside it.
func (app *Application) bind(ctx context.Context, tokenID string, state trigger.Trigger) (*boundTrigger, error) {
	bound := &boundTrigger{readAt: app.Now(), tokenID: tokenID, trigger: state, keys: map[string]*trigger.Key{}, evaluates: evaluatedBy(state.Options)}
	if signature := state.Options.Signature; !signature.Plain() {
		if bound.sender = app.Senders(*signature); bound.sender == nil {
			return nil, fmt.Errorf("the signature scheme %q is not known to this version", signature.Scheme)
		}
		bound.secrets = map[string]string{}
	}
	var err error
	for _, id := range credential.IDs(bound.trigger.Secrets) {
		secret, found, err := app.openSecret(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case !found: // replaced at this moment; the version check sees it
		case bound.sender != nil:
			bound.secrets[id] = secret
		default:
			bound.keys[id] = trigger.NewKey([]byte(secret))
		}
	}
	if id := bound.trigger.Options.VerifyTokenID(); id != "" {
		if bound.verifyToken, _, err = app.openSecret(ctx, id); err != nil { // "" when it is replaced at this moment
			return nil, err
		}
	}
	if bound.agent, err = fold[agent.Agent](ctx, app.Store, agent.Codec, eventlog.Stream(eventlog.AgentStream, bound.trigger.AgentID), 0); err != nil {
		return nil, err
	}
	if len(bound.agent.InputSchema) > 0 {
		if bound.schema, err = payload.CompileSchema(bound.agent.InputSchema); err != nil {
			return nil, err
		}
	}
	bound.stream, bound.actor = eventlog.Stream(eventlog.TriggerStream, bound.trigger.ID), eventlog.ActorOf("trigger", bound.trigger.ID)
	bound.guards = []eventlog.Guard{{Stream: eventlog.Stream(eventlog.AgentStream, bound.trigger.AgentID), Version: bound.agent.Version}}
	return bound, nil
}

// open checks that the trigger takes calls now from that client, and that its agent is there.
func (b *boundTrigger) open(client netip.Addr, now time.Time) error {
	status := b.trigger.Options.InactiveStatus
	if err := b.trigger.Open(client, now); err != nil {
		return inactive(status, err)
	}
	if b.agent.Version == 0 || b.agent.Archived {
		return inactive(status, fault.New(fault.TriggerInactive, "the trigger's agent is archived"))
	}
	return nil
}

// verify checks the signature; m is the call as the trigger's sender sees it, nil for the
// usual scheme.
func (b *boundTrigger) verify(call Call, m *Message, now time.Time) error {
	if !b.trigger.HasSecret() {
		return nil
	}
	if m != nil {
		return b.sender.Verify(m)
	}
	var keys []*trigger.Key
	for _, id := range b.trigger.SecretsAt(now) {
		if key, kept := b.keys[id]; kept {
			keys = append(keys, key)
		}
	}
	if !trigger.Verify(call.Signatures, keys, call.Signed) {
		return fault.New(fault.InvalidSignature, "a valid signature of the exact body is required, as X-Webhook-Signature: sha256=<hex HMAC-SHA256>")
	}
	return nil
}

func (b *boundTrigger) wantsOK() bool { return b.sender != nil && b.sender.WantsOK() }

func (b *boundTrigger) checkInput(mediaType string, body []byte) error {
	input := body
	if mediaType == "" {
		kind, err := payload.CheckJSON(body)
		if err != nil {
			return err
		}
		if kind != payload.Object && (b.schema == nil || !b.schema.AllowsNonObject()) {
			return fault.New(fault.InvalidJSON, "the body must be a JSON object")
		}
	} else {
		var err error
		if input, err = payload.FormToJSON(body); err != nil {
			return err
		}
	}
	if b.schema == nil {
		return nil
	}
	return b.schema.Validate(input)
}
