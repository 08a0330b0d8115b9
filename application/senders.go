package application

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

// Sender knows how one sender signs, numbers and sets up its calls. It holds no state.
type Sender interface {
	// CheckSecret says what keeps a text from being a secret of the sender, as the end of a
	// sentence about it; "" when nothing does.
	CheckSecret(secret string) string
	// NewSecret makes a secret of the form that the sender takes. It fails when random does.
	NewSecret(random io.Reader) (string, error)
	// Verify checks that one of the message's secrets has signed it, and recently enough where
	// the sender signs a time. Else it is a fault.InvalidSignature. It takes the same time
	// wherever a signature differs.
	Verify(m *Message) error
	// SetUp answers a request by which the sender asks, without a signature, whether the hook
	// takes calls; nil when the message is none. The error is a refusal of one.
	SetUp(m *Message) (*Handshake, error)
	// Ping answers a verified message that only tests the hook; nil when it is none.
	Ping(m *Message) *Handshake
	// Delivery tells which delivery a verified message is.
	Delivery(m *Message) Delivery
	// WantsOK reports whether the sender demands the status 200 for what it has delivered, where
	// others take any 2xx.
	WantsOK() bool
}

// Sent is the request of a call, for senders that say more than their body. It must not be
// used after the call is answered.
type Sent interface {
	Method() string
	// Header gives the values of all headers of a name, in the order they were sent.
	Header(name string) []string
	// Query gives the first value of a query parameter; "" when there is none.
	Query(name string) string
	// URL is the absolute URL that was called; with forwarded as the proxy before us says it was.
	URL(forwarded bool) string
	// URI is the path and query as they were sent.
	URI() string
}

// Message is a call as its sender's scheme sees it.
type Message struct {
	Sent
	ContentType string
	// Body is what the agent gets; Signed is what was sent, which differs when it was compressed.
	Body, Signed []byte
	// URLs are those under which the sender may know us.
	URLs []string
	// Secrets are those of which one must have signed, the current one first.
	Secrets []string
	// VerifyToken is what the sender repeats when it sets the hook up; "" when there is none.
	VerifyToken string
	// RateLimit is the calls that we take in 60 s; 0 is any number.
	RateLimit int
	Now       time.Time
}

// Handshake is the answer, of status 200, to a request that sets a hook up or tests it.
type Handshake struct {
	Kind        string // the sender's word for the request
	ContentType string // "" when there is no body
	Body        []byte
	Header      map[string]string
}

// Delivery is what stays the same when a sender tries again.
type Delivery struct {
	ID string // "" when the sender gives none
	// Proven says that the signature covers the id. A repeat of a proven id is a repeat whatever
	// its body says: senders update what stands beside the event between two tries.
	Proven bool
	// Material is what must be the same beside an id that is not proven; nil is all that was sent.
	Material []byte
	// Event is the sender's name for what happened; "" when it gives none.
	Event string
}

const maxSenderEvent = 100 // bytes

// event gives the name of what happened if it is one that can be kept.
func (d Delivery) event() string {
	if len(d.Event) > maxSenderEvent || checkIdempotencyKey(d.Event) != nil {
		return ""
	}
	return d.Event
}

// key gives what a delivery counts once under, and the digest that must be the same for it.
//
// An id that the signature does not cover is anybody's word. With the digest of what is signed
// in the key, a body under the id of another delivery is neither answered with that one's
// result nor refused on its account, so nobody who sees ids can keep a delivery from running.
// What remains: who has a signed body and the trigger's token can have it run again under an
// id of their own, for as long as the scheme's tolerance allows. Senders repeat equal bodies
// in good faith (a label that is set, removed and set again), so that the digest alone cannot
// be the key.
func (d Delivery) key(scheme trigger.Scheme, m *Message) (string, []byte) {
	key := string(scheme) + ":" + d.ID
	if !d.Proven {
		material := d.Material
		if material == nil {
			material = m.Signed
		}
		digest := sha256.Sum256(material)
		key += ":" + hex.EncodeToString(digest[:])
	}
	digest := sha256.Sum256([]byte(key))
	if checkIdempotencyKey(key) != nil {
		key = string(scheme) + ":" + hex.EncodeToString(digest[:])
	}
	return key, digest[:]
}

// senderOf gives the sender of a signature option.
func (app *Application) senderOf(s *trigger.Signature) Sender {
	if s == nil {
		s = &trigger.Signature{Scheme: trigger.Hooktrail}
	}
	return app.Senders(*s)
}

// message gives a call the form in which its sender's scheme looks at it.
func (app *Application) message(bound *boundTrigger, call *Call, now time.Time) *Message {
	limit, _ := app.rateLimit(bound)
	m := &Message{
		Sent: call.Sent, ContentType: call.ContentType, Body: call.Body, Signed: call.Signed,
		VerifyToken: bound.verifyToken, RateLimit: limit, Now: now,
		// A proxy that ends TLS may not be a trusted one; the operator's own word is good as well.
		URLs: []string{app.config.PublicURL + call.Sent.URI(), call.Sent.URL(call.Forwarded)},
	}
	for _, id := range bound.trigger.SecretsAt(now) {
		if secret, kept := bound.secrets[id]; kept {
			m.Secrets = append(m.Secrets, secret)
		}
	}
	return m
}

// errNoSetUp answers requests of other methods than POST: whether the token is wrong, or the
// trigger's sender does not set hooks up so, it is the same answer.
var errNoSetUp = fault.New(fault.MethodNotAllowed, "this path takes the method POST")

// setUp answers a request that sets the hook up, or its refusal, if the trigger takes calls.
func (app *Application) setUp(ctx context.Context, bound *boundTrigger, call *Call, h *Handshake, refused error) (Invocation, error) {
	if err := bound.open(call.Client, app.Now()); err != nil {
		return Invocation{}, err
	}
	if refused != nil {
		return Invocation{}, refused
	}
	return app.shakeHands(ctx, bound, call, h)
}

// shakeHands records a request that sets the hook up, or tests it, and gives its answer.
func (app *Application) shakeHands(ctx context.Context, bound *boundTrigger, call *Call, h *Handshake) (Invocation, error) {
	proposed, err := trigger.Codec.Encode(trigger.Handshaken{
		Scheme: bound.trigger.Options.Signature.SchemeName(), Kind: h.Kind, TokenID: bound.tokenID, ClientIP: call.Client.String(),
	})
	if err != nil {
		return Invocation{}, err
	}
	proposed.ID = app.NewID()
	_, err = app.Store.Append(ctx, eventlog.Append{
		WorkspaceID: bound.trigger.WorkspaceID, Stream: bound.stream, Expected: bound.trigger.Version, Guards: bound.guards,
		Events: []eventlog.Proposed{proposed},
		Meta:   eventlog.Metadata{Actor: bound.actor, RequestID: call.RequestID, TraceParent: call.TraceParent, CorrelationID: proposed.ID},
	})
	return Invocation{Handshake: h, TriggerID: bound.trigger.ID, WorkspaceID: bound.trigger.WorkspaceID}, err
}

// setVerifyToken puts a token that options name into the decision, and takes out the one that
// they do not name any more.
func (app *Application) setVerifyToken(d *decision, t trigger.Trigger, next *trigger.Options, token string) error {
	before := t.Options.VerifyTokenID()
	if token != "" {
		kept, err := app.seal(t.WorkspaceID, eventlog.Stream(eventlog.TriggerStream, t.ID), token)
		if err != nil {
			return err
		}
		d.keep = append(d.keep, kept)
		*next = next.WithVerifyToken(kept.ID)
	}
	if before != "" && next.VerifyTokenID() != before {
		d.forget = append(d.forget, before)
	}
	return nil
}

// checkScheme demands that a trigger's secret can be used by the scheme that its options are
// to name. Those in their grace period may be of another form: then they have ended.
func (app *Application) checkScheme(ctx context.Context, t trigger.Trigger, next trigger.Options) error {
	if !t.HasSecret() || next.Signature.SchemeName() == t.Options.Signature.SchemeName() {
		return nil
	}
	secret, found, err := app.openSecret(ctx, t.Secrets[0].ID)
	if err != nil || !found {
		return refusal(err) // replaced at this moment; the version check sees it
	}
	if why := app.senderOf(next.Signature).CheckSecret(secret); why != "" {
		return fault.Field("options.signature.scheme", "%s cannot use the trigger's secret, which %s; set another by rotate-secret first", next.Signature.SchemeName(), why)
	}
	return nil
}
