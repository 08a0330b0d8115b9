package e2e_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ledger is what callers know: each body that was sent, sent once, and how it was answered.
type ledger struct {
	token   string
	targets []*target
	padding string // what makes bodies larger

	made                              atomic.Int64 // bodies, no two of which are alike
	accepted, unavailable, unanswered atomic.Int64
	overloaded                        atomic.Int64 // of the unavailable

	mu      sync.Mutex
	sent    map[string]string // SHA-256 of a body → the execution's id, or "" when the call was not accepted
	faults  []string          // answers that nobody may get
	slowest time.Duration     // answer
}

func newLedger(token string, targets ...*target) *ledger {
	return &ledger{token: token, targets: targets, sent: map[string]string{}}
}

// body makes a body that no other call has.
func (l *ledger) body() string {
	return fmt.Sprintf(`{"call": %d, "odd": "\u0000", "padding": %q}`, l.made.Add(1), l.padding)
}

// target is where a process serves, which changes when it starts again.
type target struct {
	mu    sync.Mutex
	base  string
	moved chan struct{}
}

func at(base string) *target { return &target{base: base, moved: make(chan struct{})} }

func (a *target) read() (base string, moved <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.base, a.moved
}

func (a *target) move(base string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.moved)
	a.base, a.moved = base, make(chan struct{})
}

// run calls from some callers at one time, until stop.
func (l *ledger) run(t testing.TB, callers int) (stop func()) {
	done := make(chan struct{})
	var load sync.WaitGroup
	for i := range callers {
		c := newClient(t, "", "")
		where := l.targets[i%len(l.targets)]
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				base, moved := where.read()
				c.base = base
				if _, answered := l.call(&c, l.token); answered {
					continue
				}
				select { // nobody is there until the process starts again
				case <-moved:
				case <-done:
				}
			}
		})
	}
	var once sync.Once
	stop = func() { once.Do(func() { close(done) }); load.Wait() }
	t.Cleanup(stop)
	return stop
}

// call makes one call of a trigger and reports whether it was answered.
func (l *ledger) call(c *client, token string) (a answer, answered bool) {
	body := l.body()
	l.send(body)
	began := time.Now()
	a, err := c.try(http.MethodPost, hookPath, body, "Authorization", "Bearer "+token)
	return a, l.answer(body, a, err, time.Since(began))
}

// send notes that a body is about to be sent.
func (l *ledger) send(body string) { l.note(digestOf(body), "") }

// answer notes what came back and reports whether that is an answer.
func (l *ledger) answer(body string, a answer, err error, took time.Duration) bool {
	l.mu.Lock()
	l.slowest = max(l.slowest, took)
	l.mu.Unlock()
	switch {
	case a.status == http.StatusAccepted:
		// A 2xx binds, even when the connection broke behind it.
		l.accepted.Add(1)
		var data struct{ Data executionData }
		if err == nil {
			err = json.Unmarshal([]byte(a.body), &data)
		}
		if err != nil || data.Data.ID == "" {
			l.fault("an answer 202 without an id: %v %s", err, a.body)
		}
		l.note(digestOf(body), data.Data.ID)
	case err != nil:
		l.unanswered.Add(1)
		return false
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
		l.unavailable.Add(1)
		if strings.Contains(a.body, `"overloaded"`) {
			l.overloaded.Add(1)
		}
	default:
		l.fault("%d %v %s", a.status, a.header, a.body)
	}
	return true
}

// anyAccepted gives the execution of an accepted call, or nothing before the first.
func (l *ledger) anyAccepted() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.sent {
		if id != "" {
			return id
		}
	}
	return ""
}

func digestOf(body string) string {
	digest := sha256.Sum256([]byte(body))
	return hex.EncodeToString(digest[:])
}

func (l *ledger) note(digest, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[digest] = id
}

func (l *ledger) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.faults) < 10 {
		l.faults = append(l.faults, fmt.Sprintf(format, args...))
	}
}

var requestIDs = regexp.MustCompile(`"request_id":"\w+"`)

// check compares the log and the executions with the ledger, after the load has stopped. It
// waits for the executions to end.
func (l *ledger) check(t testing.TB, services ...*service) {
	t.Helper()
	c := &services[0].client
	for i, fault := range l.faults {
		for _, service := range services {
			l.faults[i] += service.logged(requestIDs.FindString(fault))
		}
	}
	require.Empty(t, l.faults, "answers that are neither 202 nor 503 with Retry-After")
	c.awaitIdle()

	executions := map[string]bool{} // by id: whether it is on record as completed
	sawBody := map[string]bool{}
	attempts := map[string]bool{}
	for _, e := range c.events() {
		switch e.Type {
		case "trigger.invoked":
			var invoked struct {
				ExecutionID string `json:"execution_id"`
				Input       struct{ SHA256 string }
			}
			require.NoError(t, json.Unmarshal(e.Data, &invoked))
			id, wasSent := l.sent[invoked.Input.SHA256]
			require.True(t, wasSent, "the log has a call at %d that nobody sent", e.Position)
			require.False(t, sawBody[invoked.Input.SHA256], "a call that was sent once is in the log twice")
			sawBody[invoked.Input.SHA256] = true
			if id != "" {
				require.Equal(t, id, invoked.ExecutionID, "the id in the answer")
			}
			require.NotContains(t, executions, invoked.ExecutionID)
			executions[invoked.ExecutionID] = false
		case "execution.started":
			var started struct{ Attempt int }
			require.NoError(t, json.Unmarshal(e.Data, &started))
			attempt := fmt.Sprint(e.Stream, "/", started.Attempt)
			require.False(t, attempts[attempt], "%s was started twice", attempt)
			attempts[attempt] = true
		case "execution.completed":
			id := e.Stream[len("execution-"):]
			require.False(t, executions[id], "%s was completed twice", id)
			executions[id] = true
		}
	}
	for digest, id := range l.sent {
		if id != "" {
			require.True(t, sawBody[digest], "the call of execution %s was accepted and is lost", id)
		}
	}
	listed := map[string]string{}
	for _, x := range all[executionData](c, "/api/v1/executions?") {
		listed[x.ID] = x.Status
	}
	require.Len(t, listed, len(executions))
	for id, completed := range executions {
		require.True(t, completed, "execution %s has no end in the log; it is %s", id, listed[id])
		require.Equal(t, "completed", listed[id], id)
	}
	t.Logf("%d accepted, %d refused for now, %d unanswered, the slowest after %s, %d executions, %d attempts",
		l.accepted.Load(), l.unavailable.Load(), l.unanswered.Load(), l.slowest, len(executions), len(attempts))
}
