package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/adapters/database"
)

// TestAudit kills processes under load, and holds the log they leave against what they signed, by
// the commands an operator has; then it changes the log.
func TestAudit(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		dir := t.TempDir()
		checkpoints, keyFile, receiptFile := filepath.Join(dir, "checkpoints.txt"), filepath.Join(dir, "audit.key"), filepath.Join(dir, "receipt.json")
		audited := quickTakeover.with(environment{"HOOKTRAIL_AUDIT_FILE": checkpoints})
		replicas := 1
		if s.dialect == onPostgres {
			replicas = 2
		}
		services, targets := make([]*service, replicas), make([]*target, replicas)
		for i := range replicas {
			services[i] = s.serve(t, audited)
			targets[i] = at(services[i].base)
		}
		book := newLedger(services[0].echoTrigger().Token, targets...)
		stop := book.run(t, 2)
		for kill := range 3 {
			awaitCount(t, &book.accepted, book.accepted.Load()+100)
			i := kill % replicas
			services[i].kill()
			services[i] = s.serve(t, audited)
			targets[i].move(services[i].base)
		}
		awaitCount(t, &book.accepted, book.accepted.Load()+100)
		key := s.command(t, "audit", "key")
		require.Zero(t, key.code, key.stderr)
		require.Regexp(t, `^hooktrail/\w{27}\+[0-9a-f]{8}\+\S+\n$`, key.stdout)
		require.NoError(t, os.WriteFile(keyFile, []byte(key.stdout), 0o600))

		// While it goes on. Nothing of the key ring is needed.
		running := s.command(t, "audit", "verify", "--checkpoint", checkpoints, "--key", keyFile)
		require.Zero(t, running.code, running.stdout+running.stderr)
		stop()
		first := read[[]resourceID](t, services[0].get("/api/v1/events?after=0&limit=1"))[0].ID
		receipt := services[0].get("/api/v1/events/" + first + "/proof")
		require.NoError(t, os.WriteFile(receiptFile, []byte(receipt.body), 0o600))
		for _, service := range services {
			service.stop()
		}
		book.mu.Lock()
		require.Empty(t, book.faults)
		book.mu.Unlock()

		audit := func() (result, string) {
			ended := s.command(t, "audit", "verify", "--checkpoint", checkpoints, "--key", keyFile)
			return ended, ended.stdout + ended.stderr
		}
		whole, said := audit()
		require.Zero(t, whole.code, said)
		require.Contains(t, said, "the log is as it was signed")
		require.NotContains(t, said, "not signed yet", "a stop covers what came up to there")
		require.NotContains(t, said, "keep some elsewhere")
		found := regexp.MustCompile(`read (\d+) events .* stored of (\d+)\n\d+ checkpoints agree, [1-9]\d* of them from files; the last is of position (\d+)\n`).FindStringSubmatch(said)
		require.NotNil(t, found, said)
		require.Equal(t, []string{found[1], found[1]}, found[2:])
		events, err := strconv.Atoi(found[1])
		require.NoError(t, err)
		require.GreaterOrEqual(t, events, int(book.accepted.Load()))

		latest := s.command(t, "audit", "checkpoint")
		require.Zero(t, latest.code, latest.stderr)
		kept, err := os.ReadFile(checkpoints)
		require.NoError(t, err)
		require.Contains(t, string(kept), latest.stdout)
		require.Contains(t, latest.stdout, fmt.Sprintf("\n%d\n", events))

		proven := s.command(t, "audit", "verify-receipt", receiptFile, "--key", strings.TrimSpace(key.stdout))
		require.Zero(t, proven.code, proven.stdout+proven.stderr)
		require.Contains(t, proven.stdout, "event "+first+" is at position 1 of hooktrail/")
		require.NoError(t, os.WriteFile(receiptFile, []byte(strings.Replace(receipt.body, `"index":0`, `"index":1`, 1)), 0o600))
		proven = s.command(t, "audit", "verify-receipt", receiptFile, "--key", keyFile)
		require.Equal(t, 1, proven.code)
		require.Contains(t, proven.stdout, "does not hold")

		db := s.open(t)
		tamper := func(statements ...string) {
			require.NoError(t, db.Write(t.Context(), func(tx *database.Tx) error {
				for _, statement := range statements {
					tx.Exec(statement)
				}
				return nil
			}))
		}
		const anInput = " WHERE position = (SELECT max(position) FROM events WHERE type = 'trigger.invoked')"
		tamper("UPDATE events SET payload = data" + map[string]string{onPostgres: "::bytea", onSQLite: ""}[s.dialect] + anInput)
		changed, said := audit()
		require.Equal(t, 1, changed.code, said)
		require.Contains(t, said, ": its payload is not the one that it was recorded with")
		tamper("UPDATE events SET payload = NULL" + anInput)
		whole, said = audit()
		require.Zero(t, whole.code, said)

		tamper("UPDATE events SET actor = 'api_key:somebody' WHERE position = 123")
		changed, said = audit()
		require.Equal(t, 1, changed.code, said)
		require.Contains(t, said, "position 123: this event is not the one that was recorded here")
		require.Contains(t, said, "the log is NOT as it was signed")

		// Whoever can write to the database takes the evidence out of it, and has it made anew.
		tamper("DELETE FROM events WHERE position > 100", "DELETE FROM audit_blocks", "DELETE FROM audit_checkpoints")
		forging := s.serve(t, noLimit)
		eventually(t, func() bool {
			return forging.send(http.MethodGet, "/api/v1/audit/checkpoint", "", "X-API-Key", s.key).status == http.StatusOK
		}, "nothing is signed")
		forging.stop()
		alone := s.command(t, "audit", "verify")
		require.Zero(t, alone.code, alone.stdout)
		require.Contains(t, alone.stdout, "keep some elsewhere", "the database alone knows nothing of it")
		cut, said := audit()
		require.Equal(t, 1, cut.code, said)
		// It may have run what was in the queue still.
		require.Regexp(t, `(?m)^position 1\d\d: the log ends here, but it was signed up to position `+strconv.Itoa(events)+`: `, said)
	})
}

func TestAuditWithoutAStore(t *testing.T) {
	t.Parallel()
	s := sqliteStore(t)
	for _, words := range [][]string{{"verify"}, {"checkpoint"}, {"key"}} {
		ended := s.command(t, append([]string{"audit"}, words...)...)
		require.Equal(t, 1, ended.code)
		require.Contains(t, ended.stderr, "there is no store in ")
	}
	require.NoDirExists(t, s.env["HOOKTRAIL_DATA_DIR"])
	wrong := s.command(t, "audit", "verify", "--key", "nonsense")
	require.Equal(t, 1, wrong.code)
	require.Contains(t, wrong.stderr, "no verifier key")
	refused := command(t, s.env.with(environment{"HOOKTRAIL_AUDIT_FILE": t.TempDir(), "HOOKTRAIL_ADDR": "127.0.0.1:0"}), "serve")
	require.Equal(t, 1, refused.code)
	require.Contains(t, refused.stderr, "HOOKTRAIL_AUDIT_FILE")
}

type resourceID struct {
	ID string `json:"id"`
}
