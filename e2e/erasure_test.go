package e2e_test

import (
	"bytes"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestErasure erases what a person sent: it is nowhere any more, that it was erased is on record, and
// the log is as it was signed.
func TestErasure(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		echo := service.newAgent(`{"name": "echo", "runner": {"kind": "echo"}}`)
		mapped := service.newTrigger(echo.ID, `, "options": {"input_mapping": {"cel": {"who": "payload.person", "text": "payload.text"}}}`)
		long := string(bytes.Repeat([]byte("Erika Mustermann "), 2000)) // more than a page of either database
		call := `{"person": "Erika Mustermann", "text": "` + long + `"}`
		id := service.awaitExecution(service.accepted(mapped.Token, call), "completed").ID
		kept := service.awaitExecution(service.accepted(mapped.Token, `{"person": "Max", "text": ""}`), "completed").ID
		db := s.open(t)
		withPayload := func() (count int) {
			require.NoError(t, db.Get(t.Context(), &count, "SELECT count(*) FROM events WHERE payload IS NOT NULL"))
			return count
		}
		require.Equal(t, 6, withPayload(), "what was received, the input and the output, of two")

		environment := environment{"HOOKTRAIL_URL": service.base, "HOOKTRAIL_API_KEY": s.key}
		unasked := command(t, environment, "executions", "erase", id)
		require.NotZero(t, unasked.code)
		require.Contains(t, unasked.stderr, "--yes")
		require.Equal(t, 6, withPayload())
		erased := command(t, environment, "executions", "erase", id, "--reason", "she asked for it", "--yes")
		require.Zero(t, erased.code, erased.stderr)
		require.Equal(t, 3, withPayload())

		path := "/api/v1/executions/" + id
		after := service.get(path)
		require.NotContains(t, after.body, "Erika")
		require.Equal(t, "completed", read[executionData](t, after).Status)
		require.JSONEq(t, `{"who": "Max", "text": ""}`, string(service.execution(kept).Output))
		const ofErasure = "/api/v1/events?type=execution.payloads_erased"
		events := read[[]struct {
			Actor, Stream string
			Data          struct {
				Reason   string
				Payloads []struct {
					Position int64
					Payload  struct {
						SHA256 string
						Size   int
					}
				}
			}
		}](t, service.get(ofErasure))
		require.Len(t, events, 1)
		require.Regexp(t, "^api_key:", events[0].Actor)
		require.Equal(t, "execution-"+id, events[0].Stream)
		require.Equal(t, "she asked for it", events[0].Data.Reason)
		require.Len(t, events[0].Data.Payloads, 3)
		require.Equal(t, len(call), events[0].Data.Payloads[0].Payload.Size)
		require.Len(t, events[0].Data.Payloads[0].Payload.SHA256, 64)

		service.api(http.StatusOK, http.MethodDelete, path+"/payloads", "")
		require.Equal(t, 1, service.total(ofErasure), "erased already")
		refused := service.send(http.MethodPost, path+"/retry", "", "X-API-Key", service.key)
		require.Contains(t, refused.body, "the input of this execution has been erased")
		rebuilt := s.command(t, "projections", "rebuild")
		require.Zero(t, rebuilt.code, rebuilt.stderr)
		require.Equal(t, after.body, service.get(path).body)

		service.stop()
		verified := s.command(t, "audit", "verify")
		require.Zero(t, verified.code, verified.stdout)
		file := filepath.Join(t.TempDir(), "store.jsonl")
		require.Zero(t, s.command(t, "export", file).code)
		target := s.other(t)
		moved := target.command(t, "import", file)
		require.Zero(t, moved.code, moved.stderr)
	})
}

// TestRetention erases what is past its time, once over all replicas, and nothing else.
func TestRetention(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		before := s.serve(t, noLimit)
		echo, outside := before.echoTrigger(), before.newTrigger(before.newAgent(`{"name": "outside", "runner": {"kind": "none"}}`).ID, "")
		const past = 45 // more than one turn
		var ids []string
		for range past {
			ids = append(ids, before.accepted(echo.Token, `{"person": "Erika"}`))
		}
		waiting := before.accepted(outside.Token, `{"person": "Max"}`)
		for _, id := range ids {
			before.awaitExecution(id, "completed")
		}
		before.stop()

		env := noLimit.with(environment{"HOOKTRAIL_PAYLOAD_RETENTION": "1s"})
		services := []*service{s.serve(t, env)}
		if s.dialect == onPostgres {
			services = append(services, s.serve(t, env))
		}
		first := services[0]
		const ofErasure = "/api/v1/events?type=execution.payloads_erased"
		eventually(t, func() bool { return first.total(ofErasure) >= past }, "payloads past their time are kept")
		for _, id := range ids {
			require.NotContains(t, first.get("/api/v1/executions/"+id).body, "Erika")
		}
		require.Contains(t, first.get("/api/v1/executions/"+waiting).body, "Max", "it has not ended")
		// Another is erased behind them, so that a second event about one of them would show.
		last := first.accepted(echo.Token, `{"person": "Erika"}`)
		eventually(t, func() bool {
			return first.total("/api/v1/events?type=execution.payloads_erased&stream=execution-"+last) == 1
		}, "a later one is kept")
		require.Equal(t, past+1, first.total(ofErasure), "each is erased once")
		event := read[[]struct {
			Actor string
			Data  struct{ Reason string }
		}](t, first.get(ofErasure))[0]
		require.Equal(t, "system", event.Actor)
		require.Equal(t, "older than the retention of 1s", event.Data.Reason)
		for _, service := range services {
			service.stop()
		}
		verified := s.command(t, "audit", "verify")
		require.Zero(t, verified.code, verified.stdout)
	})
}
