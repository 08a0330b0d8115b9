package e2e_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/pgtest"
)

// reachableHere lets the http runner call the servers of these tests, and not the agent of variedHistory.
var reachableHere = quickTakeover.with(environment{"HOOKTRAIL_ALLOW_PRIVATE_AGENTS": "127.0.0.1"})

// other gives an empty store of the other kind, with the master key of this one.
func (s *store) other(t testing.TB) *store {
	t.Helper()
	if s.dialect == onPostgres {
		to := sqliteStore(t)
		to.env["HOOKTRAIL_MASTER_KEY"], to.key = s.env["HOOKTRAIL_MASTER_KEY"], s.key
		return to
	}
	to := postgresStore(pgtest.Database(t))
	file, err := os.ReadFile(filepath.Join(s.env["HOOKTRAIL_DATA_DIR"], "master.key"))
	require.NoError(t, err)
	keys := regexp.MustCompile(`(?m)^[^#\n].*$`).FindAllString(string(file), -1)
	to.env["HOOKTRAIL_MASTER_KEY"], to.key = strings.Join(keys, ","), s.key
	return to
}

// TestMove fills a store by the API, kills its server in the middle of a run, and moves all of it into
// a store of the other kind: which answers the same, knows the same secrets, and goes on with the run.
func TestMove(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		env := reachableHere
		service := s.serve(t, env)
		paths := variedHistory(t, service)
		slow := newAgentServer(t)
		echo := service.newAgent(`{"name": "mapped", "runner": {"kind": "echo"}}`)
		mapped := service.newTrigger(echo.ID, `, "options": {"filter": "payload.go", "input_mapping": {"cel": {"n": "payload.n"}}}`)
		paths = append(paths, "/api/v1/executions/"+service.awaitExecution(service.accepted(mapped.Token, `{"go": true, "n": 7}`), "completed").ID)
		require.Equal(t, http.StatusOK, service.fire(mapped.Token, `{"go": false}`).status)
		require.Equal(t, http.StatusUnauthorized, service.fire("wht_"+strings.Repeat("a", 43), `{}`).status)
		scheduled := service.newTrigger(echo.ID, `, "options": {"schedule": {"cron": "0 0 1 1 *", "payload": {"a": 1}}}`)
		signed := service.newTrigger(echo.ID, `, "generate_secret": true`)
		once := []string{"Idempotency-Key", "moved", "X-Webhook-Signature", sign(signed.Secret, `{"i": 1}`)}
		first := service.accepted(signed.Token, `{"i": 1}`, once...)
		to := newSubscriber(t)
		subscribed := service.subscribe(to, `, "trigger_id": "`+signed.ID+`"`)
		service.accepted(signed.Token, `{"i": 2}`, "X-Webhook-Signature", sign(signed.Secret, `{"i": 2}`))
		eventually(t, func() bool { return to.taken.Load() == 1 }, "the call is not delivered")
		waiting := service.total("/api/v1/executions?status=pending")
		eventually(t, func() bool {
			return service.total("/api/v1/executions?status=running") == 0 && service.total("/api/v1/executions?status=pending") == waiting
		}, "executions do not end")

		inFlight := service.newTrigger(service.newAgent(`{"name": "slow", "runner": {"kind": "http", "url": "`+slow.url+`"}}`).ID, "")
		running := service.accepted(inFlight.Token, `{"moving": true}`)
		slow.next(t)
		for _, id := range []string{mapped.ID, scheduled.ID, signed.ID, inFlight.ID} {
			paths = append(paths, "/api/v1/webhook-triggers/"+id, "/api/v1/webhook-triggers/"+id+"/events")
		}
		paths = append(paths, "/api/v1/executions/"+running, "/api/v1/executions?status=running", "/api/v1/subscriptions", "/api/v1/subscriptions/"+subscribed.ID,
			"/api/v1/rejections", "/api/v1/executions/"+first)
		db := s.open(t)
		eventually(t, func() bool {
			var counted, refused int
			require.NoError(t, db.Get(t.Context(), &counted, "SELECT coalesce(sum(invocations), 0) FROM trigger_statistics"))
			require.NoError(t, db.Get(t.Context(), &refused, "SELECT count(*) FROM rejections"))
			return counted == service.total("/api/v1/events?type=trigger.invoked") && refused > 0
		}, "what follows the log does not come to its end")
		old := eventProof(t, service)
		service.kill()
		frozen := s.serve(t, env.with(environment{"HOOKTRAIL_ROLES": "api"})) // without a worker nothing moves on
		before := answersAnywhere(frozen, paths)
		frozen.kill()
		key := s.command(t, "audit", "key").stdout

		file := filepath.Join(t.TempDir(), "store.jsonl")
		exported := s.command(t, "export", file)
		require.Zero(t, exported.code, exported.stderr)
		again := s.command(t, "export", file)
		require.Equal(t, 1, again.code)
		require.Contains(t, again.stderr, "exists already")
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotContains(t, string(content), signed.Token)
		require.NotContains(t, string(content), signed.Secret)

		target := s.other(t)
		refuseDamaged(t, target, content)
		imported := target.command(t, "import", file)
		require.Zero(t, imported.code, imported.stderr)
		root := regexp.MustCompile(`(?m)^root [0-9a-f]{64}, signed up to position \d+$`)
		require.NotEmpty(t, root.FindString(exported.stderr))
		require.Equal(t, root.FindString(exported.stderr), root.FindString(imported.stderr))
		twice := target.command(t, "import", file)
		require.Equal(t, 1, twice.code)
		require.Contains(t, twice.stderr, "the store is not empty")

		// What was signed and proven before holds for the new store.
		require.Equal(t, key, target.command(t, "audit", "key").stdout)
		evidence := filepath.Join(t.TempDir(), "checkpoint.txt")
		require.NoError(t, os.WriteFile(evidence, []byte(old.Checkpoint), 0o600))
		verified := target.command(t, "audit", "verify", "--checkpoint", evidence, "--key", strings.TrimSpace(key))
		require.Zero(t, verified.code, verified.stdout)
		require.Contains(t, verified.stdout, "1 of them from files")

		reading := target.serve(t, env.with(environment{"HOOKTRAIL_ROLES": "api"}))
		requireSame(t, before, answersAnywhere(reading, paths))
		repeated := reading.fire(signed.Token, `{"i": 1}`, once...)
		require.Equal(t, first, read[executionData](t, repeated).ID, "the idempotency key is known: %s", repeated.body)
		require.Equal(t, http.StatusUnauthorized, reading.fire(signed.Token, `{"i": 3}`, "X-Webhook-Signature", sign("another", `{"i": 3}`)).status)
		reading.stop()

		going := target.serve(t, env)
		slow.next(t).answer(http.StatusOK, `{"after": "the move"}`)
		ended := going.awaitExecution(running, "completed")
		require.Equal(t, 2, ended.Attempt)
		require.Equal(t, "worker_lost", ended.Attempts[0].ErrorCode)
		require.JSONEq(t, `{"after": "the move"}`, string(ended.Output))
		going.awaitExecution(going.accepted(signed.Token, `{"i": 4}`, "X-Webhook-Signature", sign(signed.Secret, `{"i": 4}`)), "completed")
		eventually(t, func() bool { return to.taken.Load() == 2 }, "the subscription does not go on")
		to.received() // signed as before
		going.stop()
		verified = target.command(t, "audit", "verify", "--checkpoint", evidence, "--key", strings.TrimSpace(key))
		require.Zero(t, verified.code, verified.stdout)
		require.NotContains(t, verified.stdout, "not signed yet")
	})
}

// answersAnywhere is snapshot without the address of the server, which is in the URLs of triggers.
func answersAnywhere(service *service, paths []string) map[string]string {
	service.tb.Helper()
	answers := snapshot(service, paths)
	for path, body := range answers {
		answers[path] = strings.ReplaceAll(body, service.base, "http://here")
	}
	return answers
}

type proofData struct{ Checkpoint string }

// eventProof waits until the first event is proven and gives its receipt.
func eventProof(t testing.TB, service *service) proofData {
	t.Helper()
	first := read[[]resourceID](t, service.get("/api/v1/events?after=0&limit=1"))[0].ID
	var proof answer
	eventually(t, func() bool {
		proof = service.send(http.MethodGet, "/api/v1/events/"+first+"/proof", "", "X-API-Key", service.key)
		return proof.status == http.StatusOK
	}, "the first event is not proven")
	return read[proofData](t, proof)
}

// refuseDamaged imports what a file became that was changed or cut off: nothing of it is kept.
func refuseDamaged(t testing.TB, target *store, content []byte) {
	t.Helper()
	lines := bytes.SplitAfter(content, []byte("\n"))
	lines = lines[:len(lines)-1]
	event := 0
	for !bytes.HasPrefix(lines[event], []byte(`{"event":`)) {
		event++
	}
	flipped := bytes.Clone(content)
	flipped[len(flipped)/2] ^= 1
	damages := map[string]struct {
		content []byte
		says    string
	}{
		"flipped":    {flipped, ", line "},
		"cut off":    {content[:len(content)/2], ", line "},
		"no end":     {bytes.Join(lines[:len(lines)-1], nil), "the file was cut off: its last line is missing"},
		"an event":   {bytes.Join(append(append([][]byte{}, lines[:event+3]...), lines[event+4:]...), nil), "the event at position 5 stands where 4 has to be"},
		"a row":      {bytes.Join(append(append([][]byte{}, lines[:len(lines)-2]...), lines[len(lines)-1]), nil), "not as many rows"},
		"no content": {nil, "line 1: the file was cut off"},
		"no export":  {[]byte(`{"position":1}` + "\n"), "line 1: this is not a line of an export"},
	}
	for name, damage := range damages {
		file := filepath.Join(t.TempDir(), "damaged.jsonl")
		require.NoError(t, os.WriteFile(file, damage.content, 0o600))
		refused := target.command(t, "import", file)
		require.Equal(t, 1, refused.code, name)
		require.Contains(t, refused.stderr, damage.says, name)
		require.Contains(t, refused.stderr, "nothing was imported", name)
		requireEmpty(t, target)
	}
	other := &store{dialect: target.dialect, env: target.env.with(environment{"HOOKTRAIL_MASTER_KEY": newMasterKey()})}
	whole := filepath.Join(t.TempDir(), "whole.jsonl")
	require.NoError(t, os.WriteFile(whole, content, 0o600))
	refused := other.command(t, "import", whole)
	require.Equal(t, 1, refused.code)
	require.Contains(t, refused.stderr, "the master key is not the one")
	requireEmpty(t, target)
}

func requireEmpty(t testing.TB, target *store) {
	t.Helper()
	db := target.open(t)
	for _, table := range append([]string{"events", "settings", "credentials", "audit_blocks"}, readModels...) {
		var found int
		require.NoError(t, db.Get(t.Context(), &found, "SELECT count(*) FROM "+table))
		require.Zero(t, found, table)
	}
}
