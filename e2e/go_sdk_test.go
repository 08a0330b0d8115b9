package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	hooktrail "hooktrail/sdk/go"
)

// TestGoSDK plays the scenarios of all client libraries with the Go one.
func TestGoSDK(t *testing.T) {
	files, err := filepath.Glob("../sdk/scenarios/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		service.awaitCheckpoint()
		for _, file := range files {
			for _, scenario := range readScenarios(t, file) {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".json")+"/"+scenario.Name, func(t *testing.T) {
					p := &player{t: t, saved: map[string]any{}, run: rand.Text()}
					for i, step := range scenario.Steps {
						p.step = fmt.Sprintf("step %d, %s", i+1, step.Call)
						p.playInGo(t, service, step)
					}
				})
			}
		}
		service.stop()
	})
}

// playInGo is play by the Go library.
func (p *player) playInGo(t *testing.T, service *service, s step) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	key := service.key
	if s.As != "" {
		key = p.fill(s.As).(string)
	}
	client, err := hooktrail.New(hooktrail.Options{BaseURL: service.base, APIKey: hooktrail.Secret(key)})
	require.NoError(t, err)
	call, known := goCalls[s.Call]
	require.True(t, known, "%s: the runner does not know this method", p.step)
	with, _ := p.fill(s.With).(map[string]any)
	typed, err := call(ctx, t, client, with)
	if s.Fails != nil {
		var failed *hooktrail.Error
		require.ErrorAs(t, err, &failed, p.step)
		require.Equal(t, s.Fails.Status, failed.Status, "%s: %v", p.step, err)
		require.Equal(t, s.Fails.Code, failed.Code, "%s: %v", p.step, err)
		if s.Fails.Details != "" {
			require.Contains(t, failed.Details, s.Fails.Details, p.step)
		}
		if s.Fails.Error != "" {
			require.ErrorIs(t, err, goErrors[s.Fails.Error], p.step)
		}
		return
	}
	require.NoError(t, err, p.step)
	var result any
	encoded, err := json.Marshal(typed)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(encoded, &result))
	for path, wanted := range s.Expect {
		found, there := place(result, path)
		require.Empty(t, mismatch(p.fill(wanted), found, there), "%s: %s in %s", p.step, path, encoded)
	}
	for name, path := range s.Save {
		found, there := place(result, path)
		require.True(t, there && found != nil, "%s: there is no %s to save", p.step, path)
		p.saved[name] = found
	}
}

var goErrors = map[string]error{
	"not_found": hooktrail.ErrNotFound, "validation": hooktrail.ErrValidation, "authentication": hooktrail.ErrAuthentication,
	"permission": hooktrail.ErrPermission, "rate_limited": hooktrail.ErrRateLimited, "conflict": hooktrail.ErrConflict,
	"server": hooktrail.ErrServer, "connection": hooktrail.ErrConnection,
}

// arguments makes a method's arguments of a step's: none may be left over.
func arguments[A any](t *testing.T, with map[string]any) A {
	t.Helper()
	if with == nil {
		with = map[string]any{}
	}
	text, err := json.Marshal(with)
	require.NoError(t, err)
	var a A
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&a), string(text))
	return a
}

// whole is a single result with its envelope.
func whole(data any, answer hooktrail.Answer) any {
	value := map[string]any{"data": data}
	if answer.Warnings != nil {
		value["warnings"] = answer.Warnings
	}
	return value
}

// items is what an iterator gives, up to a number of results unless that is 0.
func items[T any](sequence iter.Seq2[T, error], most int) (any, error) {
	list := []T{}
	for entry, err := range sequence {
		if err != nil {
			return nil, err
		}
		if list = append(list, entry); len(list) == most {
			break
		}
	}
	return map[string]any{"items": list}, nil
}

// The arguments that filters have in common; times that are none go as they are.
type listArguments struct {
	Page   int
	Limit  int
	Cursor string
}

func (l listArguments) options() hooktrail.ListOptions {
	return hooktrail.ListOptions{Page: l.Page, Limit: l.Limit, Cursor: l.Cursor}
}

type timeArguments struct{ Since, Until string }

// read gives both times, and options that send what is no time.
func (a timeArguments) read() (since, until time.Time, raw []hooktrail.RequestOption) {
	for name, text := range map[string]string{"since": a.Since, "until": a.Until} {
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		switch {
		case err != nil:
			raw = append(raw, hooktrail.WithQuery(name, text))
		case name == "since":
			since = at
		default:
			until = at
		}
	}
	return since, until, raw
}

type eventArguments struct {
	Stream, Type, Actor string
	After               *int64
	TriggerID           string `json:"trigger_id"`
	StopAfter           int    `json:"stop_after"`
	timeArguments
	listArguments
}

func (a eventArguments) filter() (hooktrail.ListEvents, []hooktrail.RequestOption) {
	since, until, raw := a.read()
	return hooktrail.ListEvents{Stream: a.Stream, Type: a.Type, Actor: a.Actor, Since: since, Until: until, After: a.After, ListOptions: a.options()}, raw
}

type triggerArguments struct {
	AgentID  string `json:"agent_id"`
	IsActive *bool  `json:"is_active"`
	Name     string
	listArguments
}

func (a triggerArguments) filter() hooktrail.ListTriggers {
	return hooktrail.ListTriggers{AgentID: a.AgentID, IsActive: a.IsActive, Name: a.Name, ListOptions: a.options()}
}

// ofPast is a time as text, or a position as a number.
type ofPast struct {
	AsOf any `json:"as_of"`
}

func momentText(moment any) string {
	if position, isNumber := moment.(float64); isNumber {
		return strconv.FormatInt(int64(position), 10)
	}
	text, _ := moment.(string)
	return text
}

type rangeArguments struct {
	From, To any
	Limit    int
}

func (a rangeArguments) read() hooktrail.HistoryRange {
	return hooktrail.HistoryRange{From: momentText(a.From), To: momentText(a.To), Limit: a.Limit}
}

type ofSubscription struct {
	SubscriptionID string `json:"subscription_id"`
}

type eventOfSubscription struct {
	ofSubscription
	EventID string `json:"event_id"`
}

type subscriptionArguments struct {
	IsActive *bool `json:"is_active"`
	listArguments
}

func (a subscriptionArguments) filter() hooktrail.ListSubscriptions {
	return hooktrail.ListSubscriptions{IsActive: a.IsActive, ListOptions: a.options()}
}

type agentArguments struct {
	Name string
	listArguments
}

func (a agentArguments) filter() hooktrail.ListAgents {
	return hooktrail.ListAgents{Name: a.Name, ListOptions: a.options()}
}

type executionArguments struct {
	AgentID   string `json:"agent_id"`
	TriggerID string `json:"trigger_id"`
	SessionID string `json:"session_id"`
	Status    string
	timeArguments
	listArguments
}

func (a executionArguments) filter() (hooktrail.ListExecutions, []hooktrail.RequestOption) {
	since, until, raw := a.read()
	return hooktrail.ListExecutions{
		AgentID: a.AgentID, TriggerID: a.TriggerID, SessionID: a.SessionID, Status: a.Status, Since: since, Until: until, ListOptions: a.options(),
	}, raw
}

type rejectionArguments struct {
	TriggerID string `json:"trigger_id"`
	Reason    string
	timeArguments
	listArguments
}

func (a rejectionArguments) filter() (hooktrail.ListRejections, []hooktrail.RequestOption) {
	since, until, raw := a.read()
	return hooktrail.ListRejections{TriggerID: a.TriggerID, Reason: a.Reason, Since: since, Until: until, ListOptions: a.options()}, raw
}

type goCall func(ctx context.Context, t *testing.T, c *hooktrail.Client, with map[string]any) (any, error)

// single is a method with a single result, whose arguments are one struct.
func single[A, R any](do func(ctx context.Context, c *hooktrail.Client, a A, option hooktrail.RequestOption) (*R, error)) goCall {
	return func(ctx context.Context, t *testing.T, c *hooktrail.Client, with map[string]any) (any, error) {
		t.Helper()
		var answer hooktrail.Answer
		result, err := do(ctx, c, arguments[A](t, with), hooktrail.WithAnswer(&answer))
		return whole(result, answer), err
	}
}

// other is a method with another result.
func other[A, R any](do func(ctx context.Context, c *hooktrail.Client, a A) (R, error)) goCall {
	return func(ctx context.Context, t *testing.T, c *hooktrail.Client, with map[string]any) (any, error) {
		t.Helper()
		return do(ctx, c, arguments[A](t, with))
	}
}

type (
	ofAgent struct {
		AgentID string `json:"agent_id"`
	}
	ofTrigger struct {
		TriggerID string `json:"trigger_id"`
	}
	ofExecution struct {
		ExecutionID string `json:"execution_id"`
	}
	ofKey struct {
		APIKeyID string `json:"api_key_id"`
	}
	nothing struct{}
)

var goCalls = map[string]goCall{
	"agents.create": single(func(ctx context.Context, c *hooktrail.Client, a hooktrail.CreateAgent, o hooktrail.RequestOption) (*hooktrail.IssuedAgent, error) {
		return c.Agents.Create(ctx, a, o)
	}),
	"agents.list": other(func(ctx context.Context, c *hooktrail.Client, a agentArguments) (*hooktrail.List[hooktrail.Agent], error) {
		return c.Agents.List(ctx, a.filter())
	}),
	"agents.list_all": other(func(ctx context.Context, c *hooktrail.Client, a agentArguments) (any, error) {
		return items(c.Agents.All(ctx, a.filter()), 0)
	}),
	"agents.get": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofAgent
		ofPast
	}, o hooktrail.RequestOption,
	) (*hooktrail.Agent, error) {
		if a.AsOf != nil {
			return c.Agents.GetAsOf(ctx, a.AgentID, momentText(a.AsOf), o)
		}
		return c.Agents.Get(ctx, a.AgentID, o)
	}),
	"agents.history": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofAgent
		rangeArguments
	}, o hooktrail.RequestOption,
	) (*hooktrail.History, error) {
		return c.Agents.History(ctx, a.AgentID, a.read(), o)
	}),
	"agents.update": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofAgent
		hooktrail.UpdateAgent
	}, o hooktrail.RequestOption,
	) (*hooktrail.IssuedAgent, error) {
		return c.Agents.Update(ctx, a.AgentID, a.UpdateAgent, o)
	}),
	"agents.delete": other(func(ctx context.Context, c *hooktrail.Client, a ofAgent) (any, error) {
		return nil, c.Agents.Delete(ctx, a.AgentID)
	}),
	"agents.execute": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofAgent
		hooktrail.ExecuteAgent
	}, o hooktrail.RequestOption,
	) (*hooktrail.Execution, error) {
		return c.Agents.Execute(ctx, a.AgentID, a.ExecuteAgent, o)
	}),

	"webhook_triggers.create": single(func(ctx context.Context, c *hooktrail.Client, a hooktrail.CreateTrigger, o hooktrail.RequestOption) (*hooktrail.IssuedTrigger, error) {
		return c.WebhookTriggers.Create(ctx, a, o)
	}),
	"webhook_triggers.list": other(func(ctx context.Context, c *hooktrail.Client, a triggerArguments) (*hooktrail.List[hooktrail.Trigger], error) {
		return c.WebhookTriggers.List(ctx, a.filter())
	}),
	"webhook_triggers.list_all": other(func(ctx context.Context, c *hooktrail.Client, a triggerArguments) (any, error) {
		return items(c.WebhookTriggers.All(ctx, a.filter()), 0)
	}),
	"webhook_triggers.get": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofTrigger
		ofPast
	}, o hooktrail.RequestOption,
	) (*hooktrail.Trigger, error) {
		if a.AsOf != nil {
			return c.WebhookTriggers.GetAsOf(ctx, a.TriggerID, momentText(a.AsOf), o)
		}
		return c.WebhookTriggers.Get(ctx, a.TriggerID, o)
	}),
	"webhook_triggers.history": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofTrigger
		rangeArguments
	}, o hooktrail.RequestOption,
	) (*hooktrail.History, error) {
		return c.WebhookTriggers.History(ctx, a.TriggerID, a.read(), o)
	}),
	"webhook_triggers.update": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofTrigger
		hooktrail.UpdateTrigger
	}, o hooktrail.RequestOption,
	) (*hooktrail.Trigger, error) {
		return c.WebhookTriggers.Update(ctx, a.TriggerID, a.UpdateTrigger, o)
	}),
	"webhook_triggers.delete": other(func(ctx context.Context, c *hooktrail.Client, a ofTrigger) (any, error) {
		return nil, c.WebhookTriggers.Delete(ctx, a.TriggerID)
	}),
	"webhook_triggers.rotate_token": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofTrigger
		hooktrail.RotateToken
	}, o hooktrail.RequestOption,
	) (*hooktrail.IssuedTrigger, error) {
		return c.WebhookTriggers.RotateToken(ctx, a.TriggerID, a.RotateToken, o)
	}),
	"webhook_triggers.rotate_secret": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofTrigger
		hooktrail.RotateSecret
	}, o hooktrail.RequestOption,
	) (*hooktrail.IssuedTrigger, error) {
		return c.WebhookTriggers.RotateSecret(ctx, a.TriggerID, a.RotateSecret, o)
	}),
	"webhook_triggers.remove_secret": other(func(ctx context.Context, c *hooktrail.Client, a ofTrigger) (any, error) {
		return nil, c.WebhookTriggers.RemoveSecret(ctx, a.TriggerID)
	}),
	"webhook_triggers.run": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofTrigger
		hooktrail.RunTrigger
	}, o hooktrail.RequestOption,
	) (*hooktrail.Execution, error) {
		return c.WebhookTriggers.Run(ctx, a.TriggerID, a.RunTrigger, o)
	}),
	"webhook_triggers.test": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofTrigger
		hooktrail.TestTrigger
	}, o hooktrail.RequestOption,
	) (*hooktrail.TestOutcome, error) {
		return c.WebhookTriggers.Test(ctx, a.TriggerID, a.TestTrigger, o)
	}),
	"webhook_triggers.test_since": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofTrigger
		hooktrail.TestSince
	}, o hooktrail.RequestOption,
	) (*hooktrail.TestSummary, error) {
		return c.WebhookTriggers.TestSince(ctx, a.TriggerID, a.TestSince, o)
	}),
	"webhook_triggers.events": other(func(ctx context.Context, c *hooktrail.Client, a eventArguments) (any, error) {
		filter, raw := a.filter()
		return c.WebhookTriggers.Events(ctx, a.TriggerID, filter, raw...)
	}),

	"executions.list": other(func(ctx context.Context, c *hooktrail.Client, a executionArguments) (any, error) {
		filter, raw := a.filter()
		return c.Executions.List(ctx, filter, raw...)
	}),
	"executions.list_all": other(func(ctx context.Context, c *hooktrail.Client, a executionArguments) (any, error) {
		filter, raw := a.filter()
		if raw != nil {
			return nil, errors.New("the iterator takes times only")
		}
		return items(c.Executions.All(ctx, filter), 0)
	}),
	"executions.get": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofExecution
		ofPast
	}, o hooktrail.RequestOption,
	) (*hooktrail.Execution, error) {
		if a.AsOf != nil {
			return c.Executions.GetAsOf(ctx, a.ExecutionID, momentText(a.AsOf), o)
		}
		return c.Executions.Get(ctx, a.ExecutionID, o)
	}),
	"executions.history": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofExecution
		rangeArguments
	}, o hooktrail.RequestOption,
	) (*hooktrail.History, error) {
		return c.Executions.History(ctx, a.ExecutionID, a.read(), o)
	}),
	"executions.received": single(func(ctx context.Context, c *hooktrail.Client, a ofExecution, o hooktrail.RequestOption) (*hooktrail.Received, error) {
		return c.Executions.Received(ctx, a.ExecutionID, o)
	}),
	"executions.cancel": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofExecution
		Reason string
	}, o hooktrail.RequestOption,
	) (*hooktrail.Execution, error) {
		return c.Executions.Cancel(ctx, a.ExecutionID, a.Reason, o)
	}),
	"executions.retry": single(func(ctx context.Context, c *hooktrail.Client, a ofExecution, o hooktrail.RequestOption) (*hooktrail.Execution, error) {
		return c.Executions.Retry(ctx, a.ExecutionID, o)
	}),
	"executions.report": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofExecution
		hooktrail.Report
	}, o hooktrail.RequestOption,
	) (*hooktrail.Execution, error) {
		return c.Executions.Report(ctx, a.ExecutionID, a.Report, o)
	}),
	"executions.wait": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofExecution
		Timeout float64 // seconds
	}, o hooktrail.RequestOption,
	) (*hooktrail.Execution, error) {
		return c.Executions.Wait(ctx, a.ExecutionID, hooktrail.WaitOptions{Timeout: time.Duration(a.Timeout * float64(time.Second))}, o)
	}),

	"events.list": other(func(ctx context.Context, c *hooktrail.Client, a eventArguments) (any, error) {
		filter, raw := a.filter()
		return c.Events.List(ctx, filter, raw...)
	}),
	"events.list_all": other(func(ctx context.Context, c *hooktrail.Client, a eventArguments) (any, error) {
		filter, raw := a.filter()
		if raw != nil {
			return nil, errors.New("the iterator takes times only")
		}
		return items(c.Events.All(ctx, filter), 0)
	}),
	"events.tail": other(func(ctx context.Context, c *hooktrail.Client, a eventArguments) (any, error) {
		return items(c.Events.Tail(ctx, hooktrail.TailEvents{Stream: a.Stream, Type: a.Type, Actor: a.Actor, After: a.After}), a.StopAfter)
	}),

	"rejections.list": other(func(ctx context.Context, c *hooktrail.Client, a rejectionArguments) (any, error) {
		filter, raw := a.filter()
		return c.Rejections.List(ctx, filter, raw...)
	}),
	"rejections.list_all": other(func(ctx context.Context, c *hooktrail.Client, a rejectionArguments) (any, error) {
		filter, raw := a.filter()
		if raw != nil {
			return nil, errors.New("the iterator takes times only")
		}
		return items(c.Rejections.All(ctx, filter), 0)
	}),

	"api_keys.create": single(func(ctx context.Context, c *hooktrail.Client, a hooktrail.CreateAPIKey, o hooktrail.RequestOption) (*hooktrail.IssuedAPIKey, error) {
		return c.APIKeys.Create(ctx, a, o)
	}),
	"api_keys.list": other(func(ctx context.Context, c *hooktrail.Client, a listArguments) (any, error) {
		return c.APIKeys.List(ctx, hooktrail.ListAPIKeys{ListOptions: a.options()})
	}),
	"api_keys.list_all": other(func(ctx context.Context, c *hooktrail.Client, a listArguments) (any, error) {
		return items(c.APIKeys.All(ctx, hooktrail.ListAPIKeys{ListOptions: a.options()}), 0)
	}),
	"api_keys.get": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofKey
		ofPast
	}, o hooktrail.RequestOption,
	) (*hooktrail.APIKey, error) {
		if a.AsOf != nil {
			return c.APIKeys.GetAsOf(ctx, a.APIKeyID, momentText(a.AsOf), o)
		}
		return c.APIKeys.Get(ctx, a.APIKeyID, o)
	}),
	"api_keys.history": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofKey
		rangeArguments
	}, o hooktrail.RequestOption,
	) (*hooktrail.History, error) {
		return c.APIKeys.History(ctx, a.APIKeyID, a.read(), o)
	}),
	"api_keys.delete": other(func(ctx context.Context, c *hooktrail.Client, a ofKey) (any, error) {
		return nil, c.APIKeys.Delete(ctx, a.APIKeyID)
	}),
	"subscriptions.create": single(func(ctx context.Context, c *hooktrail.Client, a hooktrail.CreateSubscription, o hooktrail.RequestOption) (*hooktrail.IssuedSubscription, error) {
		return c.Subscriptions.Create(ctx, a, o)
	}),
	"subscriptions.list": other(func(ctx context.Context, c *hooktrail.Client, a subscriptionArguments) (any, error) {
		return c.Subscriptions.List(ctx, a.filter())
	}),
	"subscriptions.list_all": other(func(ctx context.Context, c *hooktrail.Client, a subscriptionArguments) (any, error) {
		return items(c.Subscriptions.All(ctx, a.filter()), 0)
	}),
	"subscriptions.get": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofSubscription
		ofPast
	}, o hooktrail.RequestOption,
	) (*hooktrail.Subscription, error) {
		if a.AsOf != nil {
			return c.Subscriptions.GetAsOf(ctx, a.SubscriptionID, momentText(a.AsOf), o)
		}
		return c.Subscriptions.Get(ctx, a.SubscriptionID, o)
	}),
	"subscriptions.update": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofSubscription
		hooktrail.UpdateSubscription
	}, o hooktrail.RequestOption,
	) (*hooktrail.Subscription, error) {
		return c.Subscriptions.Update(ctx, a.SubscriptionID, a.UpdateSubscription, o)
	}),
	"subscriptions.pause": single(func(ctx context.Context, c *hooktrail.Client, a ofSubscription, o hooktrail.RequestOption) (*hooktrail.Subscription, error) {
		return c.Subscriptions.Pause(ctx, a.SubscriptionID, o)
	}),
	"subscriptions.resume": single(func(ctx context.Context, c *hooktrail.Client, a ofSubscription, o hooktrail.RequestOption) (*hooktrail.Subscription, error) {
		return c.Subscriptions.Resume(ctx, a.SubscriptionID, o)
	}),
	"subscriptions.delete": other(func(ctx context.Context, c *hooktrail.Client, a ofSubscription) (any, error) {
		return nil, c.Subscriptions.Delete(ctx, a.SubscriptionID)
	}),
	"subscriptions.rotate_secret": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofSubscription
		hooktrail.RotateToken
	}, o hooktrail.RequestOption,
	) (*hooktrail.IssuedSubscription, error) {
		return c.Subscriptions.RotateSecret(ctx, a.SubscriptionID, a.RotateToken, o)
	}),
	"subscriptions.deliveries": other(func(ctx context.Context, c *hooktrail.Client, a ofSubscription) (any, error) {
		return c.Subscriptions.Deliveries(ctx, a.SubscriptionID)
	}),
	"subscriptions.redeliver": single(func(ctx context.Context, c *hooktrail.Client, a eventOfSubscription, o hooktrail.RequestOption) (*hooktrail.RedeliveredSubscription, error) {
		return c.Subscriptions.Redeliver(ctx, a.SubscriptionID, a.EventID, o)
	}),
	"subscriptions.rewind": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofSubscription
		From any
	}, o hooktrail.RequestOption,
	) (*hooktrail.Subscription, error) {
		return c.Subscriptions.Rewind(ctx, a.SubscriptionID, momentText(a.From), o)
	}),
	"subscriptions.skip": single(func(ctx context.Context, c *hooktrail.Client, a eventOfSubscription, o hooktrail.RequestOption) (*hooktrail.Subscription, error) {
		return c.Subscriptions.Skip(ctx, a.SubscriptionID, a.EventID, o)
	}),
	"subscriptions.history": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		ofSubscription
		rangeArguments
	}, o hooktrail.RequestOption,
	) (*hooktrail.History, error) {
		return c.Subscriptions.History(ctx, a.SubscriptionID, a.read(), o)
	}),

	"audit.checkpoint": single(func(ctx context.Context, c *hooktrail.Client, _ nothing, o hooktrail.RequestOption) (*hooktrail.Checkpoint, error) {
		return c.Audit.Checkpoint(ctx, o)
	}),
	"audit.receipt": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		EventID string `json:"event_id"`
	}, o hooktrail.RequestOption,
	) (*hooktrail.Receipt, error) {
		return c.Audit.Receipt(ctx, a.EventID, o)
	}),

	"me": single(func(ctx context.Context, c *hooktrail.Client, _ nothing, o hooktrail.RequestOption) (*hooktrail.Me, error) {
		return c.Me(ctx, o)
	}),

	"fire": single(func(ctx context.Context, c *hooktrail.Client, a struct {
		Token, Secret  hooktrail.Secret
		Payload        any
		IdempotencyKey string  `json:"idempotency_key"`
		Wait           float64 // seconds
	}, o hooktrail.RequestOption,
	) (*hooktrail.Invocation, error) {
		return c.Fire(ctx, hooktrail.Call{
			Token: a.Token, Secret: a.Secret, Payload: a.Payload, IdempotencyKey: a.IdempotencyKey, Wait: time.Duration(a.Wait * float64(time.Second)),
		}, o)
	}),
	"sign": other(func(_ context.Context, _ *hooktrail.Client, a struct {
		Body   string
		Secret hooktrail.Secret
	},
	) (any, error) {
		return map[string]any{"value": hooktrail.Sign([]byte(a.Body), a.Secret)}, nil
	}),
	"verify": other(func(_ context.Context, _ *hooktrail.Client, a struct {
		Body, Signature string
		Secret          hooktrail.Secret
	},
	) (any, error) {
		return map[string]any{"value": hooktrail.Verify([]byte(a.Body), a.Signature, a.Secret)}, nil
	}),
}

// TestGoSDKKnowsTheContract checks that every field of an answer has its place in a type, so
// that a field of the contract is not lost.
func TestGoSDKKnowsTheContract(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		client, err := hooktrail.New(hooktrail.Options{BaseURL: service.base, APIKey: hooktrail.Secret(service.key)})
		require.NoError(t, err)
		agent := service.newAgent(`{"name": "http", "type": "t", "description": "d", "runner": {"kind": "http", "url": "https://agents.example.com"}, "input_schema": {}}`)
		trigger := service.echoTrigger()
		execution := service.accepted(trigger.Token, `{"n": 1.50}`)
		service.awaitExecution(execution, "completed")
		same := func(get func(option hooktrail.RequestOption) (any, error)) {
			t.Helper()
			var answer hooktrail.Answer
			typed, err := get(hooktrail.WithAnswer(&answer))
			require.NoError(t, err)
			var raw struct{ Data any }
			require.NoError(t, json.Unmarshal(answer.Body, &raw))
			encoded, err := json.Marshal(typed)
			require.NoError(t, err)
			var again any
			require.NoError(t, json.Unmarshal(encoded, &again))
			require.Equal(t, raw.Data, again)
		}
		same(func(o hooktrail.RequestOption) (any, error) { return client.Agents.Get(t.Context(), agent.ID, o) })
		same(func(o hooktrail.RequestOption) (any, error) {
			return client.WebhookTriggers.Get(t.Context(), trigger.ID, o)
		})
		same(func(o hooktrail.RequestOption) (any, error) { return client.Executions.Get(t.Context(), execution, o) })
		same(func(o hooktrail.RequestOption) (any, error) { return client.Me(t.Context(), o) })
		same(func(o hooktrail.RequestOption) (any, error) {
			events, err := client.Events.List(t.Context(), hooktrail.ListEvents{}, o)
			return events.Data, err
		})
		service.stop()
	})
}
