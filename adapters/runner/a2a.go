package runner

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2aclient"
	"github.com/a2aproject/a2a-go/v2/a2aclient/agentcard"
	"github.com/a2aproject/a2a-go/v2/a2acompat/a2av0"
	"github.com/a2aproject/a2a-go/v2/log"
	"github.com/cenkalti/backoff/v5"

	"hooktrail/application"
)

const (
	// firstPoll and longestPoll bound the pauses between two looks at a task.
	firstPoll   = 100 * time.Millisecond
	longestPoll = 5 * time.Second
	// cancelPatience is how long an agent has to take in that its task is cancelled.
	cancelPatience = 5 * time.Second
	// sendGrace is how long the answer to a message is waited for once the run is over: without
	// it nobody would know which task to cancel.
	sendGrace = 2 * time.Second
	// recentTasks is how many of an agent's tasks are searched for one of an earlier attempt.
	recentTasks = 100
)

// A2A runs agents that speak the Agent2Agent protocol, version 1.0 or 0.3, over JSON-RPC or,
// version 1.0, plain HTTP.
type A2A struct{ *outbound }

// NewA2A makes the a2a runner. Close gives its idle connections up.
func NewA2A(config HTTPConfig) *A2A { return &A2A{outbound: config.outbound()} }

// Run reads the agent's card, sends it the input and waits for its message or for the end of
// its task. A later attempt picks up the task of an earlier one where the agent can list its
// tasks. When the time of the attempt is over, or somebody cancels the execution, the task is
// cancelled; when this process only stops, it is left for the next attempt.
func (a *A2A) Run(ctx context.Context, run application.Run) (application.Result, error) {
	target, err := agentURL(run.Runner.URL)
	if err != nil {
		return application.Result{}, err
	}
	if ctx.Err() != nil {
		return application.Result{}, ended(ctx)
	}
	ctx = log.AttachLogger(ctx, slog.New(slog.DiscardHandler)) // what matters is in errors
	c, err := a.connect(ctx, run, target)
	if err != nil {
		return application.Result{}, err
	}
	answer, err := c.ask(ctx)
	if err != nil {
		return application.Result{}, c.failed(ctx, err)
	}
	output, err := outputOfAnswer(answer)
	if err != nil {
		return application.Result{}, err
	}
	return application.Result{Output: output}, nil
}

// conversation is one run's exchange with an agent.
type conversation struct {
	*a2aclient.Client

	card   *a2a.AgentCard
	run    application.Run
	target *url.URL
}

func (a *A2A) connect(ctx context.Context, run application.Run, target *url.URL) (*conversation, error) {
	client := a.client(run, target)
	c := &conversation{run: run, target: target}
	base, path := target.String(), "/.well-known/agent-card.json"
	if strings.HasSuffix(target.Path, ".json") { // the card itself
		base, path = (&url.URL{Scheme: target.Scheme, Host: target.Host}).String(), target.Path
	}
	resolver := &agentcard.Resolver{Client: client, CardParser: a2av0.NewAgentCardParser()}
	card, err := resolver.Resolve(ctx, base, agentcard.WithPath(path))
	if err != nil {
		failed := c.failed(ctx, err)
		if failed.Code == application.RunInvalidOutput {
			failed.Message = "what the agent at " + target.Host + " gives for its agent card is none"
		} else {
			failed.Message = "its agent card cannot be read: " + failed.Message
		}
		return nil, failed
	}
	c.card = card
	near := slices.DeleteFunc(slices.Clone(card.SupportedInterfaces), func(i *a2a.AgentInterface) bool {
		address, err := url.Parse(i.URL)
		return err != nil || !sameOrigin(target, address)
	})
	if len(near) == 0 && len(card.SupportedInterfaces) > 0 {
		// The credential is for the host that the agent's owner named.
		elsewhere := card.SupportedInterfaces[0].URL
		if address, err := url.Parse(elsewhere); err == nil {
			elsewhere = address.Scheme + "://" + address.Host
		}
		return nil, final(application.RunRedirectRefused, "the agent's card sends its callers from %s://%s to %s; "+
			"register the agent with a url on the host that is called, or correct its card", target.Scheme, target.Host, c.redacted(elsewhere))
	}
	c.Client, err = a2aclient.NewFactory(
		a2aclient.WithDefaultsDisabled(),
		a2aclient.WithJSONRPCTransport(client),
		a2aclient.WithRESTTransport(client),
		a2aclient.WithCompatTransport(a2av0.Version, a2a.TransportProtocolJSONRPC, a2av0.NewJSONRPCTransportFactory(a2av0.JSONRPCTransportConfig{Client: client})),
	).CreateFromEndpoints(ctx, near)
	if err != nil {
		offered := make([]string, 0, len(near))
		for _, i := range near {
			offered = append(offered, string(i.ProtocolBinding)+" "+string(i.ProtocolVersion))
		}
		return nil, final(application.RunInvalidRunner, "the agent's card offers none of JSONRPC 1.0, JSONRPC 0.3 and HTTP+JSON 1.0, but: %s",
			c.redacted(strings.Join(offered, ", ")))
	}
	return c, nil
}

func (c *conversation) redacted(text string) string { return redacted(text, c.run, c.target) }

// ask sends the input, or finds the task that an earlier attempt sent it for, and waits.
func (c *conversation) ask(ctx context.Context) (a2a.SendMessageResult, error) {
	messageID := c.run.ExecutionID
	var task *a2a.Task
	if c.run.Attempt > 1 {
		task = c.earlierTask(ctx)
	}
	if task != nil && task.Status.State.Terminal() && task.Status.State != a2a.TaskStateCompleted {
		// It will not become better. Another id, or the agent might answer with that task again.
		task, messageID = nil, messageID+"-"+strconv.Itoa(c.run.Attempt)
	}
	if task == nil {
		sending, stop := outliving(ctx, sendGrace)
		defer stop()
		answer, err := c.SendMessage(sending, &a2a.SendMessageRequest{
			Message: &a2a.Message{ID: messageID, Role: a2a.MessageRoleUser, Parts: c.parts()},
			Config:  &a2a.SendMessageConfig{ReturnImmediately: true},
		})
		if err != nil {
			return nil, err
		}
		sent, isTask := answer.(*a2a.Task)
		if !isTask {
			return answer, nil
		}
		task = sent
	}
	return c.await(ctx, task)
}

// outliving gives a context that ends a while after ctx.
func outliving(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return longer, func() { stop(); cancel() }
}

// earlierTask looks among the agent's latest tasks for the one that began with this
// execution's message; nil when there is none, or the agent does not list its tasks.
func (c *conversation) earlierTask(ctx context.Context) *a2a.Task {
	listed, err := c.ListTasks(ctx, &a2a.ListTasksRequest{PageSize: recentTasks})
	if err != nil {
		return nil
	}
	for _, task := range listed.Tasks { // the latest first
		if slices.ContainsFunc(task.History, func(m *a2a.Message) bool {
			return m.ID == c.run.ExecutionID || strings.HasPrefix(m.ID, c.run.ExecutionID+"-")
		}) {
			// A list leaves out what a task has made.
			if whole, err := c.GetTask(ctx, &a2a.GetTaskRequest{ID: task.ID}); err == nil {
				return whole
			}
			return nil
		}
	}
	return nil
}

// await looks at a task until it ends, or until nobody can bring it further.
func (c *conversation) await(ctx context.Context, task *a2a.Task) (*a2a.Task, error) {
	id := task.ID
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval, pauses.RandomizationFactor = firstPoll, longestPoll, 0.1
	for {
		said := c.redacted(textOf(task.Status.Message))
		switch state := task.Status.State; state {
		case a2a.TaskStateCompleted:
			return task, nil
		case a2a.TaskStateFailed:
			return nil, &application.RunError{Code: application.RunAgentFailed, Message: withReason("the agent's task failed", said)}
		case a2a.TaskStateRejected:
			return nil, final(application.RunAgentFailed, "%s", withReason("the agent rejected the task", said))
		case a2a.TaskStateCanceled:
			return nil, final(application.RunAgentFailed, "%s", withReason("the task was cancelled on the agent's side", said))
		case a2a.TaskStateInputRequired:
			c.cancel(ctx, id)
			return nil, final(application.RunInputRequired, "%s", withReason("the agent asks for more input, which a webhook cannot give", said))
		case a2a.TaskStateAuthRequired:
			c.cancel(ctx, id)
			return nil, final(application.RunAuthRequired, "%s", withReason("the agent asks for further authorisation, which nobody is there to give", said))
		default: // it goes on
		}
		select {
		case <-ctx.Done():
		case <-time.After(pauses.NextBackOff()):
		}
		next, err := c.GetTask(ctx, &a2a.GetTaskRequest{ID: id})
		if ctx.Err() != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(context.Cause(ctx), application.ErrCancelled) {
				c.cancel(ctx, id)
			}
			return nil, ended(ctx)
		}
		if err != nil {
			// One look that fails is no reason to give up a task that goes on.
			if failed := asRunError(err); failed == nil || failed.Final {
				return nil, err
			}
			continue
		}
		task = next
	}
}

// cancel tells the agent to stop, as far as it listens.
func (c *conversation) cancel(ctx context.Context, id a2a.TaskID) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelPatience)
	defer stop()
	_, _ = c.CancelTask(ctx, &a2a.CancelTaskRequest{ID: id}) // it is over for us in any case
}

// parts are the input in the forms that the agent's card says it takes, or in both.
func (c *conversation) parts() a2a.ContentParts {
	text, data := a2a.NewTextPart(string(c.run.Input)), a2a.NewDataPart(inputData(c.run.Input))
	data.MediaType = "application/json"
	takes := func(prefixes ...string) bool {
		return slices.ContainsFunc(c.card.DefaultInputModes, func(mode string) bool {
			return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(strings.ToLower(mode), prefix) })
		})
	}
	switch asText, asData := takes("text"), takes("application/json", "data", "json"); {
	case asText && !asData:
		return a2a.ContentParts{text}
	case asData && !asText:
		return a2a.ContentParts{data}
	}
	return a2a.ContentParts{text, data}
}

// inputData keeps the text of what is in the input: it goes out as it came in.
func inputData(input []byte) any {
	var object map[string]json.RawMessage
	if json.Unmarshal(input, &object) != nil || object == nil {
		return json.RawMessage(input)
	}
	// Version 0.3 has only objects.
	data := make(map[string]any, len(object))
	for name, value := range object {
		data[name] = value
	}
	return data
}

// answered is the output of an a2a agent.
type answered struct {
	Message   string          `json:"message"`
	Data      []any           `json:"data,omitempty"`
	Artifacts []*a2a.Artifact `json:"artifacts,omitempty"`
	TaskID    a2a.TaskID      `json:"task_id,omitempty"`
	ContextID string          `json:"context_id,omitempty"`
}

func outputOfAnswer(answer a2a.SendMessageResult) ([]byte, error) {
	out := answered{TaskID: answer.TaskInfo().TaskID, ContextID: answer.TaskInfo().ContextID}
	var texts []string
	add := func(parts a2a.ContentParts) {
		for _, part := range parts {
			switch content := part.Content.(type) {
			case a2a.Text:
				texts = append(texts, string(content))
			case a2a.Data:
				out.Data = append(out.Data, content.Value)
			}
		}
	}
	switch answer := answer.(type) {
	case *a2a.Message:
		add(answer.Parts)
		if holdsFiles(answer.Parts) {
			out.Artifacts = []*a2a.Artifact{{ID: a2a.ArtifactID(answer.ID), Parts: answer.Parts}}
		}
	case *a2a.Task:
		out.Artifacts = answer.Artifacts
		for _, artifact := range answer.Artifacts {
			add(artifact.Parts)
		}
		if answer.Status.Message != nil {
			add(answer.Status.Message.Parts)
		}
	}
	out.Message = strings.Join(texts, "\n")
	return json.Marshal(out)
}

func holdsFiles(parts a2a.ContentParts) bool {
	return slices.ContainsFunc(parts, func(part *a2a.Part) bool {
		switch part.Content.(type) {
		case a2a.Raw, a2a.URL:
			return true
		}
		return false
	})
}

func textOf(message *a2a.Message) string {
	if message == nil {
		return ""
	}
	var texts []string
	for _, part := range message.Parts {
		if text := part.Text(); text != "" {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, " ")
}

func withReason(what, said string) string {
	if said == "" {
		return what
	}
	return what + ": " + said
}

// permanent are the protocol's errors that another attempt would meet as well.
var permanent = []error{
	a2a.ErrInvalidRequest, a2a.ErrMethodNotFound, a2a.ErrInvalidParams, a2a.ErrUnsupportedOperation,
	a2a.ErrUnsupportedContentType, a2a.ErrExtensionSupportRequired, a2a.ErrVersionNotSupported, a2a.ErrUnauthenticated, a2a.ErrUnauthorized,
}

// failed words an error of the library, whose own texts may quote addresses and answers.
func (c *conversation) failed(ctx context.Context, err error) *application.RunError {
	failed := asRunError(err)
	switch {
	case ctx.Err() != nil:
		return ended(ctx)
	case failed != nil:
		return failed
	}
	var status *agentcard.ErrStatusNotOK
	if errors.As(err, &status) {
		return final(application.RunAgentFailed, "the agent answered %s", statusLine(status.StatusCode))
	}
	var said *a2a.Error
	if errors.As(err, &said) {
		return &application.RunError{
			Code: application.RunAgentFailed, Message: withReason("the agent answered with an error", c.redacted(said.Error())), Cause: err,
			Final: slices.ContainsFunc(permanent, func(known error) bool { return errors.Is(err, known) }),
		}
	}
	invalid := final(application.RunInvalidOutput, "the agent's answer is not one of the A2A protocol")
	invalid.Cause = err
	return invalid
}
