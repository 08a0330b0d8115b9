package e2e_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRotateMasterKey seals all secrets anew while signed calls go on.
func TestRotateMasterKey(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		old := s.env["HOOKTRAIL_MASTER_KEY"]
		running := s.serve(t, reachable)
		agent := newAgentServer(t)
		slow := running.newAgent(`{"name": "web", "runner": {"kind": "http", "url": "` + agent.url + `"}}`)
		made := running.newTrigger(slow.ID, `, "generate_secret": true`)
		check := func(on *service) {
			t.Helper()
			const body = `{"n": 1}`
			id := on.accepted(made.Token, body, "X-Webhook-Signature", sign(made.Secret, body))
			call := agent.next(t)
			requireSigned(t, slow.SigningSecret, call)
			call.answer(http.StatusOK, `{}`)
			on.awaitExecution(id, "completed")
			require.Equal(t, http.StatusUnauthorized, on.fire(made.Token, body).status, "unsigned")
		}
		check(running)

		if s.dialect == onPostgres { // the way that the command's help tells
			s.env["HOOKTRAIL_MASTER_KEY"] = newMasterKey() + "," + old
			running.stop()
			running = s.serve(t, reachable)
		}
		stop := callSigned(t, running)
		for range 2 {
			ended := s.command(t, "keys", "rotate-master")
			require.Zero(t, ended.code, ended.stderr)
			require.Contains(t, ended.stdout, "sealed")
			check(running)
		}
		require.Positive(t, stop(), "no call was made meanwhile")
		fresh := running.newTrigger(slow.ID, `, "generate_secret": true`)
		const body = `{"n": 2}`
		fire := func(on *service) {
			t.Helper()
			on.accepted(fresh.Token, body, "X-Webhook-Signature", sign(fresh.Secret, body))
			agent.next(t).answer(http.StatusOK, `{}`)
		}
		fire(running)
		running.stop()

		if s.dialect == onPostgres {
			current := s.env["HOOKTRAIL_MASTER_KEY"][:len(old)]
			s.env["HOOKTRAIL_MASTER_KEY"] = old
			refused := s.command(t, "serve", "--addr=127.0.0.1:0")
			require.Equal(t, 1, refused.code, "the old key alone opens nothing")
			require.NotContains(t, refused.stderr, old)
			s.env["HOOKTRAIL_MASTER_KEY"] = current
		}
		again := s.serve(t, reachable)
		check(again)
		fire(again)
		again.stop()
	})
}

// callSigned calls a trigger of its own until it is stopped, and gives the number of calls. Each
// must be accepted.
func callSigned(t *testing.T, service *service) (stop func() int) {
	made := service.newTrigger(service.newAgent(`{"name": "nobody", "runner": {"kind": "none"}}`).ID, `, "generate_secret": true`)
	c := newClient(t, service.base, "")
	done := make(chan struct{})
	var running sync.WaitGroup
	calls, refused := 0, ""
	running.Go(func() {
		for ; refused == ""; calls++ {
			select {
			case <-done:
				return
			default:
			}
			a, err := c.try(http.MethodPost, hookPath, `{}`, "Authorization", "Bearer "+made.Token, "X-Webhook-Signature", sign(made.Secret, `{}`))
			if err != nil || a.status != http.StatusAccepted {
				refused = a.body
				if err != nil {
					refused = err.Error()
				}
			}
		}
	})
	var once sync.Once
	end := func() int {
		once.Do(func() { close(done) })
		running.Wait()
		return calls
	}
	t.Cleanup(func() { end() })
	return func() int {
		t.Helper()
		count := end()
		require.Empty(t, refused, "a signed call was refused")
		return count
	}
}
