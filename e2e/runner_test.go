package e2e_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// requireSigned verifies a request as an agent does.
func requireSigned(t testing.TB, secret string, call agentCall) {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	require.NoError(t, verifier.Verify(call.body, call.header))
	require.Error(t, verifier.Verify(append([]byte(" "), call.body...), call.header), "a changed body")
}

const quickRetry = `"retry": {"max_attempts": 3, "initial_seconds": 0.1, "max_seconds": 0.1, "factor": 1}`

func TestHTTPRunner(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		server := newAgentServer(t)
		service := s.serve(t, reachable)
		agent := service.newAgent(fmt.Sprintf(`{"name": "web", "runner": {"kind": "http", "url": "%s/run?x=1", "headers": {"X-Team": "blue"}}, %s}`, server.url, quickRetry))
		made := service.newTrigger(agent.ID, "")

		// A failure of the agent is followed by another attempt.
		const body = ` {"text" : "Exactly\u0020so", "n": 1.50}`
		id := service.accepted(made.Token, body)
		for attempt, status := range []int{http.StatusInternalServerError, http.StatusOK} {
			call := server.next(t)
			requireSigned(t, agent.SigningSecret, call)
			require.Equal(t, body, string(call.body), "the input is untouched")
			require.Equal(t, "/run", call.path)
			for name, value := range map[string]string{
				"Idempotency-Key": id, "Webhook-Id": id, "Hooktrail-Attempt": fmt.Sprint(attempt + 1), "X-Team": "blue", "Content-Type": "application/json",
			} {
				require.Equal(t, value, call.header.Get(name), name)
			}
			require.Equal(t, "running", service.execution(id).Status)
			call.answer(status, `{"answer": [1.50, "\u00e9"]}`)
		}
		execution := service.awaitExecution(id, "completed")
		require.JSONEq(t, `{"answer": [1.5, "é"]}`, string(execution.Output))
		require.Len(t, execution.Attempts, 2)
		require.Equal(t, "failed", execution.Attempts[0].Status)
		require.Equal(t, "agent_failed", execution.Attempts[0].ErrorCode)
		require.Equal(t, "completed", execution.Attempts[1].Status)

		// After the last attempt, and after an answer that is final, it has failed.
		id = service.accepted(made.Token, `{"n": 2}`)
		for range 3 {
			server.next(t).answer(http.StatusServiceUnavailable, `busy`)
		}
		execution = service.awaitExecution(id, "failed")
		require.Len(t, execution.Attempts, 3)
		require.Contains(t, execution.Error, "503")
		id = service.accepted(made.Token, `{"n": 3}`)
		server.next(t).answer(http.StatusUnprocessableEntity, `{"error": "I cannot"}`)
		execution = service.awaitExecution(id, "failed")
		require.Len(t, execution.Attempts, 1)
		require.Contains(t, execution.Error, "I cannot")

		// It can be tried again, as a new execution.
		retried := read[executionData](t, service.api(http.StatusCreated, http.MethodPost, "/api/v1/executions/"+id+"/retry", ""))
		require.NotEqual(t, id, retried.ID)
		require.Equal(t, id, retried.RetryOf)
		call := server.next(t)
		requireSigned(t, agent.SigningSecret, call)
		require.Equal(t, retried.ID, call.header.Get("Idempotency-Key"))
		require.Equal(t, `{"n": 3}`, string(call.body))
		call.answer(http.StatusOK, `{}`)
		service.awaitExecution(retried.ID, "completed")
		require.Equal(t, "failed", service.execution(id).Status)

		// A running one can be cancelled, which ends the request; what ends has ended.
		id = service.accepted(made.Token, `{"n": 4}`)
		call = server.next(t)
		service.api(http.StatusOK, http.MethodPost, "/api/v1/executions/"+id+"/cancel", `{"reason": "enough"}`)
		select {
		case <-call.gone:
		case <-time.After(patience):
			require.Fail(t, "the request to the agent goes on")
		}
		require.Equal(t, "cancelled", service.execution(id).Status)
		service.api(http.StatusBadRequest, http.MethodPost, "/api/v1/executions/"+id+"/cancel", "")
		server.none(t)
		service.stop()
	})
}

func TestPrivateAgentsAreRefused(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		server := newAgentServer(t)
		service := s.serve(t, nil)
		for _, url := range []string{server.url, "http://localhost" + server.url[len("http://127.0.0.1"):], "http://169.254.169.254/", "http://[::1]:1/", "http://10.0.0.1/", "http://2130706433:1/"} {
			agent := service.newAgent(fmt.Sprintf(`{"name": "private", "runner": {"kind": "http", "url": %q}, %s}`, url, quickRetry))
			id := service.accepted(service.newTrigger(agent.ID, "").Token, `{}`)
			execution := service.awaitExecution(id, "failed")
			if url != "http://2130706433:1/" { // whether that is an address depends on the resolver
				require.Equal(t, "address_refused", execution.Code, url)
				require.Len(t, execution.Attempts, 1, "another attempt would not change it")
			}
		}
		server.none(t)
		service.stop()
	})
}

func TestCommandRunner(t *testing.T) {
	const settings = `{"name": "program", "runner": {"kind": "command", "command": ["sh", "-c", "cat; echo $HOOKTRAIL_MASTER_KEY$HOOKTRAIL_DATABASE_URL$HOOKTRAIL_DATA_DIR >&2"]}, ` + quickRetry + `}`
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		refused := service.api(http.StatusBadRequest, http.MethodPost, "/api/v1/agents", settings)
		require.Contains(t, refused.body, "HOOKTRAIL_ALLOW_COMMAND_RUNNER")
		service.stop()

		allowed := s.serve(t, noLimit.with(environment{"HOOKTRAIL_ALLOW_COMMAND_RUNNER": "true"}))
		made := allowed.newTrigger(allowed.newAgent(settings).ID, "")
		failing := allowed.newTrigger(allowed.newAgent(`{"name": "failing", "runner": {"kind": "command", "command": ["sh", "-c", "echo $HOOKTRAIL_MASTER_KEY no >&2; exit 3"]}, `+quickRetry+`}`).ID, "")
		id := allowed.accepted(made.Token, `{"n": [1]}`)
		require.JSONEq(t, `{"n": [1]}`, string(allowed.awaitExecution(id, "completed").Output))
		execution := allowed.awaitExecution(allowed.accepted(failing.Token, `{}`), "failed")
		require.Len(t, execution.Attempts, 3)
		require.Contains(t, execution.Error, "no")
		if key := s.env["HOOKTRAIL_MASTER_KEY"]; key != "" {
			require.NotContains(t, execution.Error, key, "our settings are not for programs")
		}
		allowed.stop()

		// The operator has changed their mind: what is on record does not run any more.
		again := s.serve(t, noLimit)
		execution = again.awaitExecution(again.accepted(made.Token, `{}`), "failed")
		require.Equal(t, "runner_not_allowed", execution.Code)
		again.stop()
	})
}
