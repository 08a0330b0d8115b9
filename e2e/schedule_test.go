package e2e_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/pgtest"
)

// TestSchedule kills the processes of a schedule that fires every second, in turn: each second has
// its one run, in order, whoever was there to make it.
func TestSchedule(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		scheduleUnderKills(t, postgresStore(pgtest.Database(t)), 2)
	})
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		scheduleUnderKills(t, sqliteStore(t), 1)
	})
}

func scheduleUnderKills(t *testing.T, s *store, replicas int) {
	services := make([]*service, replicas)
	for i := range services {
		services[i] = s.serve(t, quickTakeover)
	}
	agent := services[0].newAgent(`{"name": "reports", "runner": {"kind": "echo"}}`)
	made := services[0].newTrigger(agent.ID, `, "options": {"schedule": {"cron": "* * * * * *", "payload": {"report": "daily"}, "missed": "all"}}`)
	type view struct {
		NextRuns []time.Time `json:"next_runs"`
	}
	path := "/api/v1/webhook-triggers/" + made.ID
	shown := read[view](t, services[0].get(path))
	require.Len(t, shown.NextRuns, 5)

	type event struct {
		Type string
		At   time.Time `json:"time"`
		Data struct {
			ExecutionID  string     `json:"execution_id"`
			ScheduledFor *time.Time `json:"scheduled_for"`
			NextRunAt    *time.Time `json:"next_run_at"`
		}
	}
	runs := func(c *service) []event {
		var all []event
		for after := 0; ; {
			page := read[[]struct {
				event
				Position int
			}](t, c.get(fmt.Sprintf("%s/events?after=%d&limit=100", path, after)))
			if len(page) == 0 {
				return all
			}
			for _, e := range page {
				if after = e.Position; e.Type != "trigger.created" {
					all = append(all, e.event)
				}
			}
		}
	}
	const kills = 4
	for kill := range kills {
		i := kill % replicas
		before := len(runs(services[i]))
		eventually(t, func() bool { return len(runs(services[i])) >= before+1 }, "the schedule does not fire")
		services[i].kill()
		services[i] = s.serve(t, quickTakeover)
	}
	before := len(runs(services[0]))
	eventually(t, func() bool { return len(runs(services[0])) >= before+2 }, "the schedule does not go on")

	// Off: nothing fires that was not due before.
	services[0].api(http.StatusOK, http.MethodPatch, path, `{"is_active": false}`)
	all := runs(services[0])
	require.Equal(t, "trigger.deactivated", all[len(all)-1].Type)
	all = all[:len(all)-1]
	require.GreaterOrEqual(t, len(all), kills+2)
	for i, e := range all {
		require.Equal(t, "trigger.invoked", e.Type)
		require.NotNil(t, e.Data.ScheduledFor)
		require.False(t, e.At.Before(*e.Data.ScheduledFor), "nothing runs before its time")
		require.Equal(t, shown.NextRuns[0].Add(time.Duration(i)*time.Second), *e.Data.ScheduledFor, "each second once, in order")
		execution := services[0].awaitExecution(e.Data.ExecutionID, "completed")
		require.JSONEq(t, `{"report": "daily"}`, string(execution.Output))
	}

	// By hand, also beside the schedule.
	services[0].api(http.StatusBadRequest, http.MethodPost, path+"/run", "")
	services[0].api(http.StatusOK, http.MethodPatch, path, `{"is_active": true, "options": {"schedule": {"cron": "0 0 1 1 *"}}}`)
	run := read[executionData](t, services[0].api(http.StatusCreated, http.MethodPost, path+"/run", `{"payload": {"report": "now"}}`))
	require.JSONEq(t, `{"report": "now"}`, string(services[0].awaitExecution(run.ID, "completed").Output))
	result := s.command(t, "projections", "rebuild")
	require.Zero(t, result.code, result.stderr)
	require.Equal(t, time.January, read[view](t, services[0].get(path)).NextRuns[0].Month())
	for _, service := range services {
		service.stop()
	}
}
