package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/pgtest"
)

// span is when a request was under way, seen from its sender.
type span struct{ began, ended time.Time }

// within reports whether the whole request was made after one moment and before another.
func (s span) within(from, until time.Time) bool {
	return s.began.After(from) && s.ended.Before(until)
}

type hookCall struct {
	span
	status int
	id     string
}

// TestDeactivatedMeansDeactivated calls a trigger through all processes while it is switched
// off and on through one process after the other.
func TestDeactivatedMeansDeactivated(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		s := postgresStore(pgtest.Database(t))
		toggleUnderLoad(t, s.serve(t, noLimit), s.serve(t, noLimit))
	})
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		toggleUnderLoad(t, sqliteStore(t).serve(t, noLimit))
	})
}

func toggleUnderLoad(t *testing.T, replicas ...*service) {
	const callers, phase, toggles, lasts = 4, 24, 12, 5 * time.Second
	made := replicas[0].newTrigger(replicas[0].newAgent(`{"name": "nobody", "runner": {"kind": "none"}}`).ID, "")

	var answered atomic.Int64
	var calls [callers][]hookCall
	var failed [callers]error
	done := make(chan struct{})
	var load sync.WaitGroup
	for i := range callers {
		c := newClient(t, replicas[i%len(replicas)].base, "")
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				call, err := timedCall(&c, made.Token)
				if err != nil {
					failed[i] = err
					return
				}
				calls[i] = append(calls[i], call)
				answered.Add(1)
			}
		})
	}
	var once sync.Once
	stopLoad := func() { once.Do(func() { close(done) }); load.Wait() }
	defer stopLoad()

	// The trigger is active at first. A phase ends when enough calls were answered in it.
	var off, on []span
	deadline := time.Now().Add(lasts)
	for i := 0; i < toggles || time.Now().Before(deadline); i++ {
		replica := replicas[i%len(replicas)]
		off = append(off, setActive(t, replica, made.ID, false))
		awaitCount(t, &answered, answered.Load()+phase)
		on = append(on, setActive(t, replicas[(i/2)%len(replicas)], made.ID, true))
		awaitCount(t, &answered, answered.Load()+phase)
	}
	stopLoad()
	end := time.Now()

	accepted, refused := map[string]bool{}, 0
	for i := range callers {
		require.NoError(t, failed[i])
		for _, call := range calls[i] {
			switch call.status {
			case http.StatusAccepted:
				require.False(t, accepted[call.id], "an execution id was given twice")
				accepted[call.id] = true
			case http.StatusForbidden:
				refused++
			default:
				require.Fail(t, "a call was answered neither 202 nor 403", "%d", call.status)
			}
			for k := range off {
				if call.within(off[k].ended, on[k].began) {
					require.Equal(t, http.StatusForbidden, call.status, "a call that was made while the trigger was off")
				}
				next := end
				if k+1 < len(off) {
					next = off[k+1].began
				}
				if call.within(on[k].ended, next) {
					require.Equal(t, http.StatusAccepted, call.status, "a call that was made while the trigger was on")
				}
			}
		}
	}

	active, inLog, changes := true, map[string]bool{}, 0
	for _, e := range all[eventData](&replicas[0].client, "/api/v1/events?after=0&stream=trigger-"+made.ID) {
		switch e.Type {
		case "trigger.activated", "trigger.deactivated":
			require.NotEqual(t, active, e.Type == "trigger.activated", "%s at %d changes nothing", e.Type, e.Position)
			active = !active
			changes++
		case "trigger.invoked":
			require.True(t, active, "a call was accepted at position %d, after the trigger was switched off", e.Position)
			var invoked struct {
				ExecutionID string `json:"execution_id"`
			}
			require.NoError(t, json.Unmarshal(e.Data, &invoked))
			inLog[invoked.ExecutionID] = true
		}
	}
	require.Equal(t, accepted, inLog, "what was accepted is what the log has")
	require.Equal(t, len(off)+len(on), changes)
	t.Logf("%d accepted, %d refused, %d changes", len(accepted), refused, changes)
	const enough = toggles * phase / 2 // to mean something
	require.GreaterOrEqual(t, len(accepted), enough)
	require.GreaterOrEqual(t, refused, enough)
	for _, replica := range replicas {
		replica.stop()
	}
}

func timedCall(c *client, token string) (hookCall, error) {
	began := time.Now()
	a, err := c.try(http.MethodPost, hookPath, `{}`, "Authorization", "Bearer "+token)
	call := hookCall{span: span{began, time.Now()}, status: a.status}
	if err == nil && a.status == http.StatusAccepted {
		var body struct{ Data executionData }
		err = json.Unmarshal([]byte(a.body), &body)
		call.id = body.Data.ID
	}
	return call, err
}

func setActive(t testing.TB, replica *service, id string, active bool) span {
	t.Helper()
	began := time.Now()
	replica.api(http.StatusOK, http.MethodPatch, "/api/v1/webhook-triggers/"+id, fmt.Sprintf(`{"is_active": %t}`, active))
	return span{began, time.Now()}
}

// awaitCount waits until a counter that others move has come to a number.
func awaitCount(t testing.TB, counter *atomic.Int64, number int64) {
	t.Helper()
	eventually(t, func() bool { return counter.Load() >= number }, "the calls stopped before number %d", number)
}
