package application

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"mime"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
	"hooktrail/domain/jsonobject"
	"hooktrail/domain/trigger"
)

// Call is a webhook call as it came in. Body is kept: it must not be reused.
type Call struct {
	Token       *Presented
	Signatures  []string // the values of trigger.SignatureHeaders that were sent
	ContentType string
	// Body is what the agent gets; Signed is what the signature covers: the same bytes, unless
	// the body came in compressed.
	Body, Signed []byte
	// Unreadable is why the body could not be decompressed; nil when there is nothing wrong.
	Unreadable     error
	Client         netip.Addr
	IdempotencyKey string
	RequestID      string
	TraceParent    string
	// Sent is the request itself, for senders whose scheme looks at more of it, and for
	// expressions, which are given what they name.
	Sent Sent
	// Forwarded says that a trusted proxy stands between.
	Forwarded bool
	// SetUp marks a request of another method than POST, which can only set the hook up.
	SetUp bool
}

// Invocation is the answer to a call that was accepted, on disk, or accepted before under
// the same idempotency key.
type Invocation struct {
	ID          string
	ExecutionID string
	TriggerID   string
	AgentID     string
	Status      execution.Status
	CreatedAt   time.Time
	WorkspaceID string
	Replayed    bool
	// Handshake is set, and what is about an execution is not, when the call set the hook up or
	// tested it.
	Handshake *Handshake
	// WantsOK says that the sender takes no other status than 200 for an acceptance.
	WantsOK bool
	// Filtered says that the trigger's filter kept the call from the agent: there is no execution,
	// and ID is the event's.
	Filtered bool
}

// AddTo adds the invocation to an object that is being written.
func (i *Invocation) AddTo(o jsonobject.Object, name string) jsonobject.Object {
	return o.Begin(name).Text("id", i.ID).Text("execution_id", i.ExecutionID).Text("trigger_id", i.TriggerID).
		Text("agent_id", i.AgentID).Text("status", string(i.Status)).Time("created_at", i.CreatedAt).End()
}

// Acknowledged is the answer to a call that is refused with a status of 2xx because its
// sender would switch the hook off otherwise.
type Acknowledged struct{ Fault *fault.Error }

func (e *Acknowledged) Error() string { return e.Fault.Error() }
func (e *Acknowledged) Unwrap() error { return e.Fault }

// Gone is an inactive trigger that answers 410.
type Gone struct{ Fault *fault.Error }

func (e *Gone) Error() string { return e.Fault.Error() }
func (e *Gone) Unwrap() error { return e.Fault }

// InvokeTrigger accepts a webhook call, or says why not. When it returns without an error
// the call is on disk.
func (app *Application) InvokeTrigger(ctx context.Context, call Call) (Invocation, error) {
	invocation, err := app.invoke(ctx, call)
	app.Observe.Invoked(outcomeOf(invocation, err))
	return invocation, err
}

func outcomeOf(i Invocation, err error) string {
	switch {
	case err != nil:
		return string(fault.CodeOf(err))
	case i.Replayed:
		return "replayed"
	case i.Handshake != nil:
		return "handshake"
	case i.Filtered:
		return "filtered"
	}
	return "accepted"
}

var errNotProven = fault.New(fault.Unauthorized, "a valid trigger token is required, as Authorization: Bearer or in the path /api/v1/hooks/{token}")

func (c *Call) notProven() error {
	if c.SetUp {
		return errNoSetUp
	}
	return errNotProven
}

func (app *Application) invoke(ctx context.Context, call Call) (Invocation, error) {
	if !call.Token.valid {
		return Invocation{}, call.notProven()
	}
	hash := app.hashOf(call.Token)
	bound, _ := app.triggers.Get(hash)
	loads := 0
	current := false // whether bound was read after the call came in
	var before *boundTrigger
	var stopped error // what an evaluation under before came to
	for tries := 1; ; tries++ {
		if bound == nil {
			var joined bool
			var err error
			if bound, joined, err = app.loadBound(ctx, hash); err != nil {
				return Invocation{}, err
			}
			loads++
			current = !joined || loads > 1
			if current && stopped != nil && bound.sameAs(before) {
				return Invocation{}, stopped // it would be the same once more, and may have taken long
			}
		}
		invocation, err := app.admit(ctx, bound, call)
		if err == nil {
			return invocation, nil
		}
		// What memory holds may be old: nobody is refused, and nobody let in, on its word.
		// But an append whose outcome is not known may have taken effect: another would be a second.
		conflict := eventlog.IsConflict(err)
		if conflict && tries > maxConflicts || !conflict && (current || errors.Is(err, eventlog.ErrUnavailable)) {
			return Invocation{}, refusal(err)
		}
		if fault.CodeOf(err) == fault.ExpressionFailed {
			before, stopped = bound, err
		}
		app.triggers.Remove(hash)
		bound = nil
	}
}

// admit makes the checks on one state of the trigger, nil for none, and appends the invocation.
func (app *Application) admit(ctx context.Context, bound *boundTrigger, call Call) (Invocation, error) {
	now := app.Now()
	if bound == nil || !bound.trigger.Proven(bound.tokenID, now) {
		return Invocation{}, call.notProven()
	}
	if limit := app.bodyLimit(bound); len(call.Body) > limit {
		return Invocation{}, fault.New(fault.PayloadTooLarge, "the body is larger than %d bytes", limit)
	}
	var message *Message // nil for the usual scheme, which needs none
	if bound.sender != nil {
		message = app.message(bound, &call, now)
		if handshake, err := bound.sender.SetUp(message); err != nil || handshake != nil {
			return app.setUp(ctx, bound, &call, handshake, err)
		}
	}
	if call.SetUp {
		return Invocation{}, errNoSetUp
	}
	if err := bound.verify(call, message, now); err != nil {
		return Invocation{}, err
	}
	if err := bound.open(call.Client, now); err != nil {
		return Invocation{}, err
	}
	mediaType, err := mediaTypeOf(call.ContentType)
	if err != nil {
		return Invocation{}, err
	}
	if call.Unreadable != nil {
		return Invocation{}, call.Unreadable
	}
	if message != nil {
		if handshake := bound.sender.Ping(message); handshake != nil {
			return app.shakeHands(ctx, bound, &call, handshake)
		}
	}
	if bound.evaluates != nil {
		return app.admitEvaluated(ctx, bound, call, message, mediaType)
	}
	if err := bound.checkInput(mediaType, call.Body); err != nil {
		return Invocation{}, err
	}
	delivery, err := bound.deliveryOf(&call, message)
	if err != nil {
		return Invocation{}, err
	}
	return app.accept(ctx, bound, call, mediaType, delivery, nil)
}

// counted is what a call counts once under, if under anything.
type counted struct {
	body        [sha256.Size]byte // its digest
	key         string
	digest      []byte // that must be the same under the key; nil is that of the body
	senderEvent string
}

func (b *boundTrigger) deliveryOf(call *Call, message *Message) (counted, error) {
	c := counted{body: sha256.Sum256(call.Body), key: call.IdempotencyKey}
	if message != nil {
		d := b.sender.Delivery(message)
		if d.ID != "" {
			c.key, c.digest = d.key(b.trigger.Options.Signature.Scheme, message)
		}
		c.senderEvent = d.event()
	}
	return c, checkIdempotencyKey(c.key)
}

// accept appends a call that has passed all checks. mapped is what was evaluated; nil when there
// is nothing of it to be kept.
func (app *Application) accept(ctx context.Context, bound *boundTrigger, call Call, mediaType string, delivery counted, mapped *mappedCall) (Invocation, error) {
	t := &bound.trigger
	digest := hex.EncodeToString(delivery.body[:])
	id := app.NewID()
	invoked := trigger.Invoked{
		ExecutionID: id, AgentID: t.AgentID, Runs: bound.agent.Runner.Kind != agent.RunnerNone,
		Input: trigger.Digest{SHA256: digest, Size: len(call.Body)}, MediaType: mediaType,
		TokenID: bound.tokenID, Signed: t.HasSecret(), IdempotencyKey: delivery.key, ClientIP: call.Client.String(),
		SenderEvent: delivery.senderEvent,
	}
	if mapped != nil && mapped.input != nil {
		invoked.Input, invoked.MediaType = digestOf(mapped.input), ""
	}
	proposed, err := trigger.Codec.Encode(invoked)
	if err != nil {
		return Invocation{}, err
	}
	proposed.ID, proposed.Payload = id, call.Body
	a := eventlog.Append{
		WorkspaceID: t.WorkspaceID, Stream: bound.stream, Expected: t.Version, Guards: bound.guards,
		Events: []eventlog.Proposed{proposed}, Due: invoked.Runs,
		Meta: eventlog.Metadata{
			Actor: bound.actor, RequestID: call.RequestID, TraceParent: call.TraceParent, CorrelationID: id,
		},
	}
	if mapped != nil {
		if err := app.putBefore(&a, call, mapped, id, digest, mediaType); err != nil {
			return Invocation{}, err
		}
	}
	if delivery.key != "" {
		same := delivery.digest
		if same == nil {
			same = delivery.body[:]
		}
		a.Idempotency = &eventlog.IdempotencyKey{
			Scope: t.ID, Key: delivery.key, Digest: same, Subject: id, ExpiresAt: app.Now().Add(idempotencyPeriod),
		}
	}
	appended, err := app.Store.Append(ctx, a)
	if err != nil {
		return Invocation{}, err
	}
	if appended.Replayed != "" {
		invocation, err := app.replayed(ctx, t.WorkspaceID, appended.Replayed)
		invocation.WantsOK = bound.wantsOK()
		return invocation, err
	}
	return Invocation{
		ID: id, ExecutionID: id, TriggerID: t.ID, AgentID: t.AgentID, Status: execution.Pending,
		CreatedAt: appended.Events[0].At, WorkspaceID: t.WorkspaceID, WantsOK: bound.wantsOK(),
	}, nil
}

const maxIdempotencyKey = 255 // bytes

func checkIdempotencyKey(key string) error {
	if len(key) > maxIdempotencyKey {
		return fault.Field("Idempotency-Key", "is longer than %d bytes", maxIdempotencyKey)
	}
	for _, r := range key {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return fault.Field("Idempotency-Key", "must be printable text")
		}
	}
	return nil
}

// idempotencyPeriod is how long a key is remembered (SPEC, "Idempotency").
const idempotencyPeriod = 24 * time.Hour

// replayed answers a repeat as the first call was answered.
func (app *Application) replayed(ctx context.Context, workspace, id string) (Invocation, error) {
	first, found, err := app.Views.Execution(ctx, workspace, id)
	if err != nil {
		return Invocation{}, err
	}
	if !found {
		return Invocation{}, errors.New("an idempotency key names an execution that is not there: " + id)
	}
	return Invocation{
		ID: id, ExecutionID: id, TriggerID: first.TriggerID, AgentID: first.AgentID, Status: execution.Pending,
		CreatedAt: first.CreatedAt, WorkspaceID: workspace, Replayed: true,
	}, nil
}

func inactive(status int, err error) error {
	var refused *fault.Error
	if !errors.As(err, &refused) || refused.Code != fault.TriggerInactive {
		return err
	}
	switch status {
	case 200:
		return &Acknowledged{Fault: refused}
	case 410:
		return &Gone{Fault: refused}
	}
	return err
}

// mediaTypeOf names what a body is: "" for JSON, also when the sender does not say.
func mediaTypeOf(contentType string) (string, error) {
	if contentType == "" || contentType == "application/json" {
		return "", nil
	}
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", fault.New(fault.UnsupportedMediaType, "the Content-Type header cannot be read")
	}
	if charset := strings.ToLower(parameters["charset"]); charset != "" && charset != "utf-8" && charset != "utf8" && charset != "us-ascii" {
		return "", fault.New(fault.UnsupportedMediaType, "the body must be encoded in UTF-8")
	}
	switch {
	case mediaType == "application/json", strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json"):
		return "", nil
	case mediaType == formMediaType:
		return formMediaType, nil
	}
	return "", fault.New(fault.UnsupportedMediaType, "the body must be application/json or application/x-www-form-urlencoded")
}

const formMediaType = "application/x-www-form-urlencoded"
