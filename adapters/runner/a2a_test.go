package runner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2acompat/a2av0"
	"github.com/stretchr/testify/require"

	"hooktrail/adapters/runner"
	"hooktrail/adapters/runner/runnertest"
	"hooktrail/application"
	"hooktrail/domain/agent"
)

const agentToken = "tok-0123456789abcdefghijklmnop"

func newA2A(t *testing.T, config runner.HTTPConfig) *runner.A2A {
	a := runner.NewA2A(config)
	t.Cleanup(a.Close)
	return a
}

func a2aRun(url, input string) application.Run {
	return application.Run{
		ExecutionID: "execution-1", AgentID: "agent-1", TriggerID: "trigger-1", Attempt: 1, Credential: agentToken,
		Runner: agent.Runner{Kind: agent.RunnerA2A, URL: url}, Input: []byte(input),
	}
}

// protocols are all that an agent may speak.
var protocols = map[string]runnertest.A2AOptions{
	"JSON-RPC 1.0":  {Token: agentToken},
	"JSON-RPC 0.3":  {Token: agentToken, Version: a2av0.Version},
	"HTTP+JSON 1.0": {Token: agentToken, REST: true},
}

func eachProtocol(t *testing.T, test func(t *testing.T, server *runnertest.A2AServer, a *runner.A2A)) {
	for name, options := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, runnertest.NewA2AServer(t, options), newA2A(t, runner.HTTPConfig{AllowPrivate: loopback}))
		})
	}
}

func TestA2AKeepsTheContract(t *testing.T) {
	for name, options := range protocols {
		options.Token = ""
		options.Modes = []string{"text/plain"}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := runnertest.NewA2AServer(t, options)
			runnertest.Test(t, runnertest.Subject{
				Runner:  newA2A(t, runner.HTTPConfig{AllowPrivate: loopback}),
				Echoing: agent.Runner{Kind: agent.RunnerA2A, URL: server.URL},
				Text:    messageOf,
				Stuck: func(t *testing.T) (agent.Runner, <-chan struct{}) {
					started := make(chan struct{}, 8)
					stuck := serve(t, func(_ http.ResponseWriter, r *http.Request) {
						started <- struct{}{}
						<-r.Context().Done()
					})
					return agent.Runner{Kind: agent.RunnerA2A, URL: stuck.URL}, started
				},
			})
		})
	}
}

func TestA2AMessage(t *testing.T) {
	eachProtocol(t, func(t *testing.T, server *runnertest.A2AServer, a *runner.A2A) {
		run := a2aRun(server.URL, `{"do": "answer", "n": 1.5, "text": "é\u0000"}`)
		run.Runner.Headers = map[string]string{"X-Team": "blue"}
		output, err := outputOf(a.Run(t.Context(), run))
		require.NoError(t, err)
		require.Equal(t, string(run.Input), messageOf(t, output), "the text part is the input")
		var answer struct{ Data []json.RawMessage }
		require.NoError(t, json.Unmarshal(output, &answer))
		require.Len(t, answer.Data, 1)
		require.JSONEq(t, string(run.Input), string(answer.Data[0]), "and so is the data part")
		require.Equal(t, "execution-1", server.Messages()[0].ID)
		for _, header := range server.Headers() {
			require.Equal(t, "blue", header.Get("X-Team"))
			require.Equal(t, "execution-1", header.Get("Hooktrail-Execution-Id"))
			require.NotContains(t, header, "Idempotency-Key", "a look at a task is no repetition of the message")
		}
		require.Len(t, server.Headers(), 2, "the card and the message")

		output, err = outputOf(a.Run(t.Context(), a2aRun(server.URL+"/.well-known/agent-card.json", `[1]`)))
		require.NoError(t, err, "the card's own address will do")
		require.Equal(t, "[1]", messageOf(t, output))
	})
}

func TestA2ATakesTheFormsThatTheCardNames(t *testing.T) {
	for modes, parts := range map[string]string{
		"": "text data", "text/plain": "text", "text": "text", "application/json": "data", "image/png": "text data", "text/plain application/json": "text data",
	} {
		server := runnertest.NewA2AServer(t, runnertest.A2AOptions{Modes: strings.Fields(modes)})
		_, err := newA2A(t, runner.HTTPConfig{AllowPrivate: loopback}).Run(t.Context(), a2aRun(server.URL, `{"a": 1}`))
		require.NoError(t, err)
		var sent []string
		for _, part := range server.Messages()[0].Parts {
			if part.Text() != "" {
				sent = append(sent, "text")
			}
			if part.Data() != nil {
				sent = append(sent, "data")
			}
		}
		require.Equal(t, parts, strings.Join(sent, " "), modes)
	}
}

// start runs in the background.
func start(ctx context.Context, a *runner.A2A, run application.Run) <-chan func() ([]byte, error) {
	done := make(chan func() ([]byte, error), 1)
	go func() {
		output, err := outputOf(a.Run(ctx, run))
		done <- func() ([]byte, error) { return output, err }
	}()
	return done
}

func await[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(20 * time.Second):
		require.FailNow(t, "waited in vain")
		panic("not reached")
	}
}

func TestA2ALongTask(t *testing.T) {
	eachProtocol(t, func(t *testing.T, server *runnertest.A2AServer, a *runner.A2A) {
		const input = `{"do": "work", "steps": 3}`
		done := start(t.Context(), a, a2aRun(server.URL, input))
		id := await(t, server.Started)
		for range 3 {
			server.Step(t)
		}
		output, err := await(t, done)()
		require.NoError(t, err)
		require.Equal(t, input+"\ndone", messageOf(t, output))
		var answer struct {
			Data      []map[string]any
			Artifacts []struct{ Name string }
			TaskID    a2a.TaskID `json:"task_id"`
			ContextID string     `json:"context_id"`
		}
		require.NoError(t, json.Unmarshal(output, &answer))
		require.Equal(t, id, answer.TaskID)
		require.NotEmpty(t, answer.ContextID)
		require.Equal(t, "result", answer.Artifacts[0].Name)
		require.Equal(t, []map[string]any{{"do": "work", "steps": 3.0}}, answer.Data)
		require.Len(t, server.Messages(), 1)
	})
}

func TestA2ATasksThatEndBadly(t *testing.T) {
	eachProtocol(t, func(t *testing.T, server *runnertest.A2AServer, a *runner.A2A) {
		for do, c := range map[string]struct {
			code    string
			final   bool
			message string
			cancels bool
		}{
			"fail":      {application.RunAgentFailed, false, "the agent's task failed: the tool broke", false},
			"reject":    {application.RunAgentFailed, true, "the agent rejected the task: not my task", false},
			"ask":       {application.RunInputRequired, true, "the agent asks for more input, which a webhook cannot give: which repository?", true},
			"authorise": {application.RunAuthRequired, true, "the agent asks for further authorisation, which nobody is there to give: sign in at the tool", true},
		} {
			_, err := a.Run(t.Context(), a2aRun(server.URL, fmt.Sprintf(`{"do": %q}`, do)))
			failed := requireRunError(t, err, c.code, c.final)
			require.Equal(t, c.message, failed.Message)
			require.Equal(t, c.cancels, server.Cancelled(await(t, server.Started)), "%s: what waits for nobody is cancelled", do)
		}
		_, err := a.Run(t.Context(), a2aRun(server.URL, `{"do": "break"}`))
		var failed *application.RunError
		require.ErrorAs(t, err, &failed)
		require.Contains(t, failed.Message, "invalid params")
		require.Equal(t, !strings.Contains(failed.Message, "500"), failed.Final, "what HTTP+JSON tells by its status alone is taken as that")
	})
}

func TestA2ACancelsWhatIsCancelled(t *testing.T) {
	eachProtocol(t, func(t *testing.T, server *runnertest.A2AServer, a *runner.A2A) {
		ctx, cancel := context.WithCancelCause(t.Context())
		done := start(ctx, a, a2aRun(server.URL, `{"do": "work", "steps": 1}`))
		id := await(t, server.Started)
		cancel(application.ErrCancelled)
		_, err := await(t, done)()
		requireRunError(t, err, application.RunCancelled, false)
		require.True(t, server.Cancelled(id))

		late, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer stop()
		done = start(late, a, a2aRun(server.URL, `{"do": "work", "steps": 1}`))
		id = await(t, server.Started)
		_, err = await(t, done)()
		requireRunError(t, err, application.RunTimedOut, false)
		require.True(t, server.Cancelled(id))
	})
}

func TestA2AAnotherAttemptPicksTheTaskUp(t *testing.T) {
	eachProtocol(t, func(t *testing.T, server *runnertest.A2AServer, a *runner.A2A) {
		const input = `{"do": "work", "steps": 1}`
		ctx, stop := context.WithCancel(t.Context())
		done := start(ctx, a, a2aRun(server.URL, input))
		first := await(t, server.Started)
		stop() // as the process does that goes down
		_, err := await(t, done)()
		requireRunError(t, err, application.RunCancelled, false)
		require.False(t, server.Cancelled(first))

		again := a2aRun(server.URL, input)
		again.Attempt = 2
		done = start(t.Context(), a, again)
		sent := 1
		if server.Version == a2av0.Version { // which lists no tasks
			await(t, server.Started)
			sent = 2
			server.Step(t)
		}
		server.Step(t)
		_, err = await(t, done)()
		require.NoError(t, err)
		require.Len(t, server.Messages(), sent)

		// One that ended badly is not picked up, nor is its message sent again.
		failing := a2aRun(server.URL, `{"do": "fail"}`)
		failing.ExecutionID = "execution-2"
		for attempt := 1; attempt <= 2; attempt++ {
			failing.Attempt = attempt
			_, err = a.Run(t.Context(), failing)
			requireRunError(t, err, application.RunAgentFailed, false)
			await(t, server.Started)
		}
		messages := server.Messages()
		id := messages[len(messages)-1].ID
		if server.Version == a2av0.Version {
			require.Equal(t, "execution-2", id)
		} else {
			require.Equal(t, "execution-2-2", id)
		}
	})
}

func TestA2AFailures(t *testing.T) {
	server := runnertest.NewA2AServer(t, runnertest.A2AOptions{Token: agentToken})
	a := newA2A(t, runner.HTTPConfig{AllowPrivate: loopback})
	noCard := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
	busy := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	card := func(protocol string) string {
		var url string
		url = serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				fmt.Fprintf(w, `{"name": "x", "supportedInterfaces": [{"url": "%s/x", "protocolBinding": %q, "protocolVersion": "1.0"}]}`, url, protocol)
				return
			}
			fmt.Fprint(w, `{"jsonrpc": "2.0", "id": "1", "result": {"neither": 1}}`)
		}).URL
		return url
	}
	elsewhere := runnertest.NewA2AServer(t, runnertest.A2AOptions{Token: agentToken, Elsewhere: "https://elsewhere.example.com"})
	for name, c := range map[string]struct {
		url    string
		token  string
		code   string
		final  bool
		after  time.Duration
		saying string
	}{
		"wrong token":  {server.URL, "tok-wrong-9876543210", application.RunAgentFailed, true, 0, "its agent card cannot be read: the agent answered 401 Unauthorized: not for Bearer [redacted]"},
		"no card":      {noCard.URL, agentToken, application.RunInvalidOutput, true, 0, "gives for its agent card is none"},
		"no page":      {serve(t, http.NotFound).URL, agentToken, application.RunAgentFailed, true, 0, "404"},
		"busy":         {busy.URL, agentToken, application.RunAgentFailed, false, 7 * time.Second, "503"},
		"gRPC alone":   {card("GRPC"), agentToken, application.RunInvalidRunner, true, 0, "but: GRPC 1.0"},
		"no protocol":  {card("JSONRPC"), agentToken, application.RunInvalidOutput, true, 0, "not one of the A2A protocol"},
		"another host": {elsewhere.URL, agentToken, application.RunRedirectRefused, true, 0, "to https://elsewhere.example.com; register the agent"},
		"nobody there": {"http://127.0.0.1:1", agentToken, application.RunUnreachable, false, 0, "connection refused"},
		"private":      {"http://169.254.169.254", agentToken, application.RunAddressRefused, true, 0, "HOOKTRAIL_ALLOW_PRIVATE_AGENTS"},
		"no URL":       {"agents.example.com", agentToken, application.RunInvalidRunner, true, 0, "not an absolute"},
		"a redirect":   {redirecting(t, server.URL).URL, agentToken, application.RunRedirectRefused, true, 0, "redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			run := a2aRun(c.url, `{}`)
			run.Credential = c.token
			_, err := a.Run(t.Context(), run)
			failed := requireRunError(t, err, c.code, c.final)
			require.Contains(t, failed.Message, c.saying)
			require.Equal(t, c.after, failed.RetryAfter)
			for _, secret := range []string{agentToken, "9876543210"} {
				require.NotContains(t, err.Error(), secret)
			}
		})
	}
	_, err := newA2A(t, runner.HTTPConfig{AllowPrivate: loopback, MaxOutput: 1000}).Run(t.Context(), a2aRun(server.URL, `{"text": "`+strings.Repeat("x", 1000)+`"}`))
	requireRunError(t, err, application.RunOutputTooLarge, true)
}
