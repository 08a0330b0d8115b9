package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/pgtest"
)

// pending is a request that is sent and not answered yet.
type pending struct {
	done   chan struct{}
	answer answer
	err    error
}

func sendLater(c *client, token, body string, headers ...string) *pending {
	p := &pending{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.answer, p.err = c.try(http.MethodPost, hookPath, body, append(headers, "Authorization", "Bearer "+token)...)
	}()
	return p
}

func (p *pending) await(t testing.TB) answer {
	t.Helper()
	select {
	case <-p.done:
		require.NoError(t, p.err, "a call that was under way got no answer")
		return p.answer
	case <-time.After(patience):
		require.FailNow(t, "no answer")
		return answer{}
	}
}

// awaitRefused waits until nobody listens any more.
func awaitRefused(t testing.TB, base string) {
	t.Helper()
	eventually(t, func() bool {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(base, "http://"), time.Second)
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "%s still takes connections", base)
}

func slowTrigger(service *service, agent *agentServer) triggerData {
	service.tb.Helper()
	return service.newTrigger(service.newAgent(fmt.Sprintf(`{"name": "slow", "runner": {"kind": "http", "url": %q}}`, agent.url)).ID, "")
}

// TestShutdownAnswersWhatIsUnderWay ends a process while an agent works for a waiting caller.
func TestShutdownAnswersWhatIsUnderWay(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		agent := newAgentServer(t)
		service := s.serve(t, reachable)
		made := slowTrigger(service, agent)
		waiting := sendLater(&service.client, made.Token, `{"n": 1}`, "Prefer", "wait=30")
		first := agent.next(t)
		unawaited := service.accepted(made.Token, `{"n": 2}`)
		second := agent.next(t)

		service.signal(syscall.SIGTERM)
		awaitRefused(t, service.base)
		first.answer(http.StatusOK, `{"done": 1}`)
		a := waiting.await(t)
		require.Contains(t, []int{http.StatusOK, http.StatusAccepted}, a.status, a.body)
		awaited := read[executionData](t, a).ID
		second.answer(http.StatusOK, `{"done": 2}`)
		require.Zero(t, service.awaitExit(), tail(service.stderr.String()))

		again := s.serve(t, reachable)
		for id, output := range map[string]string{awaited: `{"done": 1}`, unawaited: `{"done": 2}`} {
			execution := again.awaitExecution(id, "completed")
			require.JSONEq(t, output, string(execution.Output))
			require.Equal(t, 1, execution.Attempt, "it was finished before the process ended")
		}
		agent.none(t)
		again.stop()
	})
}

// A hasty process does not wait for agents, and would lose its lease so late that only giving
// it back explains that another takes over.
var (
	hasty    = reachable.with(environment{"HOOKTRAIL_SHUTDOWN_TIMEOUT": "1s", "HOOKTRAIL_WORKER_LEASE": "1h"})
	watchful = reachable.with(environment{"HOOKTRAIL_WORKER_LEASE": "2s"})
)

// TestShutdownHandsOver ends a process whose agent does not come to an end.
func TestShutdownHandsOver(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		s := postgresStore(pgtest.Database(t))
		var heir *service
		handOver(t, s, func() *service { heir = s.serve(t, watchful); return heir }, func() *service { return heir })
	})
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		s := sqliteStore(t)
		handOver(t, s, func() *service { return nil }, func() *service { return s.serve(t, watchful) })
	})
}

// handOver stops a process in the middle of a run. before starts a replica, where there can be
// one, and heir gives the one that goes on.
func handOver(t *testing.T, s *store, before, heir func() *service) {
	agent := newAgentServer(t)
	service := s.serve(t, hasty)
	made := slowTrigger(service, agent)
	waiting := sendLater(&service.client, made.Token, `{"n": 1}`, "Prefer", "wait=60")
	interrupted := agent.next(t)
	before()

	service.signal(syscall.SIGTERM)
	a := waiting.await(t)
	require.Equal(t, http.StatusAccepted, a.status, "the caller learns that the call is accepted: %s", a.body)
	id := read[executionData](t, a).ID
	require.Zero(t, service.awaitExit(), tail(service.stderr.String()))
	select {
	case <-interrupted.gone:
	case <-time.After(patience):
		require.Fail(t, "the run goes on without its process")
	}

	next := heir()
	again := agent.next(t)
	require.Equal(t, interrupted.header.Get("Idempotency-Key"), again.header.Get("Idempotency-Key"))
	require.Equal(t, "2", again.header.Get("Hooktrail-Attempt"))
	again.answer(http.StatusOK, `{"done": true}`)
	execution := next.awaitExecution(id, "completed")
	require.Len(t, execution.Attempts, 2)
	require.Equal(t, "worker_lost", execution.Attempts[0].ErrorCode)
	require.Equal(t, "failed", execution.Attempts[0].Status)
	require.Equal(t, "completed", execution.Attempts[1].Status)
	require.NotEqual(t, execution.Attempts[0].Worker, execution.Attempts[1].Worker)
	agent.none(t)
	next.stop()
}

// TestShutdownUnderLoad stops a process, in the good way, while calls come in.
func TestShutdownUnderLoad(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		where := at(service.base)
		book := newLedger(service.echoTrigger().Token, where)
		stop := book.run(t, 4)
		awaitCount(t, &book.accepted, 200)
		service.stop()
		again := s.serve(t, noLimit)
		where.move(again.base)
		awaitCount(t, &book.accepted, book.accepted.Load()+100)
		stop()
		book.check(t, again)
		require.Equal(t, int(book.accepted.Load()), again.total("/api/v1/executions?"), "what was accepted before the end was answered")
		again.stop()
	})
}

// TestStopRightAfterStart ends processes that have said only just now that they serve.
func TestStopRightAfterStart(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		for range 8 {
			s.serve(t, nil).stop()
		}
	})
}
