package runnertest

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2acompat/a2av0"
	"github.com/a2aproject/a2a-go/v2/a2asrv"
)

// A2AServer is an agent on the server of the protocol's own library. What it does is in its
// input: {"do": "answer"}, which is also what it does with any other input, sends the input
// back in a message; "work" reports as many steps as "steps" says, each when the test calls
// Step, and puts the input into an artifact; "fail", "reject", "ask" and "authorise" end a task
// in that way; "break" ends it with an error of the protocol.
type A2AServer struct {
	// URL is where its card is found below.
	URL string
	// Version is the protocol's that it speaks.
	Version a2a.ProtocolVersion
	// Started is sent the id of each task that it begins to work on.
	Started chan a2a.TaskID

	step     chan struct{}
	mu       sync.Mutex
	messages []*a2a.Message
	headers  []http.Header
	ended    map[a2a.TaskID]a2a.TaskState
}

// A2AOptions set up an A2AServer.
type A2AOptions struct {
	// Token is required of callers; "" lets all in.
	Token string
	// Version is "1.0", over JSON-RPC, also for "", or "0.3".
	Version a2a.ProtocolVersion
	// REST is HTTP+JSON in place of JSON-RPC, for version 1.0.
	REST bool
	// Modes are the card's input modes.
	Modes []string
	// Elsewhere is what the card names in place of the server's address.
	Elsewhere string
}

// NewA2AServer starts an agent.
func NewA2AServer(t testing.TB, options A2AOptions) *A2AServer {
	t.Helper()
	s := &A2AServer{Version: a2a.Version, Started: make(chan a2a.TaskID, 100), step: make(chan struct{}), ended: map[a2a.TaskID]a2a.TaskState{}}
	handler := a2asrv.NewHandler(s, a2asrv.WithCallInterceptors(signedIn{}), a2asrv.WithLogger(slog.New(slog.DiscardHandler)))
	mux := http.NewServeMux()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if options.Token != "" && r.Header.Get("Authorization") != "Bearer "+options.Token {
			http.Error(w, "not for "+r.Header.Get("Authorization"), http.StatusUnauthorized)
			return
		}
		s.mu.Lock()
		s.headers = append(s.headers, r.Header)
		s.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	base := s.URL
	if options.Elsewhere != "" {
		base = options.Elsewhere
	}
	card := &a2a.AgentCard{
		Name: "Echo", Description: "sends back what it gets", Version: "1", DefaultInputModes: options.Modes, DefaultOutputModes: []string{"text/plain"},
		SupportedInterfaces: []*a2a.AgentInterface{{URL: base + "/v1", ProtocolBinding: a2a.TransportProtocolJSONRPC, ProtocolVersion: a2a.Version}},
		Skills:              []a2a.AgentSkill{{ID: "echo", Name: "Echo", Description: "sends back what it gets", Tags: []string{"echo"}}},
	}
	only := card.SupportedInterfaces[0]
	switch {
	case options.Version == a2av0.Version:
		only.URL, only.ProtocolVersion = base+"/v0", a2av0.Version
		s.Version = a2av0.Version
		mux.Handle("/v0", a2av0.NewJSONRPCHandler(handler))
		mux.Handle(a2asrv.WellKnownAgentCardPath, a2asrv.NewAgentCardHandler(a2av0.NewStaticAgentCardProducer(card)))
		return s
	case options.REST:
		only.URL, only.ProtocolBinding = base+"/rest", a2a.TransportProtocolHTTPJSON
		mux.Handle("/rest/", http.StripPrefix("/rest", a2asrv.NewRESTHandler(handler)))
	default:
		mux.Handle("/v1", a2asrv.NewJSONRPCHandler(handler))
	}
	mux.Handle(a2asrv.WellKnownAgentCardPath, a2asrv.NewStaticAgentCardHandler(card))
	return s
}

// signedIn lets callers list their tasks.
type signedIn struct {
	a2asrv.PassthroughCallInterceptor
}

// Before names the caller.
func (signedIn) Before(ctx context.Context, call *a2asrv.CallContext, _ *a2asrv.Request) (context.Context, any, error) {
	call.User = a2asrv.NewAuthenticatedUser("hooktrail", nil)
	return ctx, nil, nil
}

// Messages are those that the agent was sent, and Headers of all its requests.
func (s *A2AServer) Messages() []*a2a.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*a2a.Message(nil), s.messages...)
}

// Headers gives the headers of all requests that were let in.
func (s *A2AServer) Headers() []http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]http.Header(nil), s.headers...)
}

// Cancelled tells whether a task was cancelled.
func (s *A2AServer) Cancelled(id a2a.TaskID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended[id] == a2a.TaskStateCanceled
}

// Step lets a task that works go one step on.
func (s *A2AServer) Step(t testing.TB) {
	t.Helper()
	select {
	case s.step <- struct{}{}:
	case <-t.Context().Done():
		t.Error("no task waits for its next step")
	}
}

// Execute does what the message says.
func (s *A2AServer) Execute(ctx context.Context, call *a2asrv.ExecutorContext) iter.Seq2[a2a.Event, error] {
	s.mu.Lock()
	s.messages = append(s.messages, call.Message)
	s.mu.Unlock()
	return func(yield func(a2a.Event, error) bool) {
		order := orderIn(call.Message)
		status := func(state a2a.TaskState, text string) bool {
			var said *a2a.Message
			if text != "" {
				said = a2a.NewMessageForTask(a2a.MessageRoleAgent, call, a2a.NewTextPart(text))
			}
			return yield(a2a.NewStatusUpdateEvent(call, state, said), nil)
		}
		switch order.Do {
		case "work", "fail", "reject", "ask", "authorise":
			if !yield(a2a.NewSubmittedTask(call, call.Message), nil) {
				return
			}
			s.Started <- call.TaskID
		case "break":
			yield(nil, fmt.Errorf("%w: the agent does not like it", a2a.ErrInvalidParams))
			return
		default:
			yield(a2a.NewMessage(a2a.MessageRoleAgent, call.Message.Parts...), nil)
			return
		}
		switch order.Do {
		case "work":
			for i := range order.Steps {
				if !status(a2a.TaskStateWorking, fmt.Sprintf("step %d of %d", i+1, order.Steps)) {
					return
				}
				select {
				case <-s.step:
				case <-ctx.Done():
					return
				}
			}
			artifact := a2a.NewArtifactEvent(call, call.Message.Parts...)
			artifact.Artifact.Name = "result"
			if yield(artifact, nil) {
				status(a2a.TaskStateCompleted, "done")
			}
		case "fail":
			status(a2a.TaskStateFailed, "the tool broke")
		case "reject":
			status(a2a.TaskStateRejected, "not my task")
		case "ask":
			status(a2a.TaskStateInputRequired, "which repository?")
		case "authorise":
			status(a2a.TaskStateAuthRequired, "sign in at the tool")
		}
	}
}

// Cancel ends a task.
func (s *A2AServer) Cancel(_ context.Context, call *a2asrv.ExecutorContext) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		s.mu.Lock()
		s.ended[call.TaskID] = a2a.TaskStateCanceled
		s.mu.Unlock()
		yield(a2a.NewStatusUpdateEvent(call, a2a.TaskStateCanceled, nil), nil)
	}
}

type order struct {
	Do    string `json:"do"`
	Steps int    `json:"steps"`
}

// orderIn reads the order in the text or in the data of a message.
func orderIn(message *a2a.Message) order {
	var o order
	for _, part := range message.Parts {
		text := []byte(part.Text())
		if data := part.Data(); data != nil {
			text, _ = json.Marshal(data) // it came as JSON
		}
		if json.Unmarshal(text, &o) == nil && o.Do != "" {
			return o
		}
	}
	return o
}
