package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFire(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, environment{"HOOKTRAIL_DEFAULT_RUNNER": "echo"})
		made := service.newTrigger(service.newAgent(`{"name": "echo"}`).ID, `, "generate_secret": true`)
		signed := environment{"HOOKTRAIL_URL": service.base, "HOOKTRAIL_TOKEN": made.Token, "HOOKTRAIL_SECRET": made.Secret}
		fired := func(ended result, status string) executionData {
			t.Helper()
			require.Zero(t, ended.code, ended.stdout+ended.stderr)
			head, body, _ := strings.Cut(ended.stdout, "\n")
			require.Equal(t, status, head)
			require.True(t, json.Valid([]byte(body)), body)
			return read[executionData](t, answer{body: body})
		}
		const body = `{"message": "Hello", "nested": [1, 2]}`
		execution := fired(command(t, signed, "fire", "-d", body), "202 Accepted")
		require.JSONEq(t, body, string(service.awaitExecution(execution.ID, "completed").Input))

		execution = fired(command(t, signed, "fire", "--data=@"+writeFile(t, "body.json", body), "--wait=20s"), "200 OK")
		require.Equal(t, "completed", execution.Status)
		require.JSONEq(t, body, string(execution.Output))
		piped := program(t, signed, body, binary, "fire", "--data=@-", "--wait=20s")
		require.JSONEq(t, body, string(fired(piped, "200 OK").Output))

		first := fired(command(t, signed, "fire", "-d", body, "--idempotency-key=k"), "202 Accepted")
		require.Equal(t, first.ID, fired(command(t, signed, "fire", "-d", body, "--idempotency-key=k"), "202 Accepted").ID)

		for name, test := range map[string]struct {
			env  environment
			args []string
			says string
		}{
			"without a secret": {environment{"HOOKTRAIL_SECRET": ""}, nil, "401 Unauthorized"},
			"a wrong secret":   {environment{"HOOKTRAIL_SECRET": made.Secret + "x"}, nil, "401 Unauthorized"},
			"a wrong token":    {environment{"HOOKTRAIL_TOKEN": "wht_wrong"}, nil, "401 Unauthorized"},
			"a broken body":    {nil, []string{"-d", "{"}, "400 Bad Request"},
			"no server":        {environment{"HOOKTRAIL_URL": "http://127.0.0.1:1"}, nil, "connection refused"},
			"no file":          {nil, []string{"-d", "@nowhere.json"}, "nowhere.json"},
		} {
			ended := command(t, signed.with(test.env), append([]string{"fire"}, test.args...)...)
			require.Equal(t, 1, ended.code, name)
			require.Contains(t, ended.stdout+ended.stderr, test.says, name)
			require.NotContains(t, ended.stdout+ended.stderr, made.Secret, name)
		}
		ended := command(t, environment{"HOOKTRAIL_URL": service.base}, "fire")
		require.Equal(t, 2, ended.code)
		require.Contains(t, ended.stderr, "--token")
		service.stop()
	})
}
