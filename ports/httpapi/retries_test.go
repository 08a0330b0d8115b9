//go:build unix

package httpapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

type retried struct {
	DryRun           bool `json:"dry_run"`
	Retried, Already int
	More             bool
	Executions       []struct {
		RetryOf     string `json:"retry_of"`
		ExecutionID string `json:"execution_id"`
		Already     bool
	}
	Skipped []struct {
		ExecutionID string `json:"execution_id"`
		Code        string
	}
}

func TestRetryOfMany(t *testing.T) {
	eachDialect(t, func(t *testing.T, a *api) {
		broken := a.agent(t, `{"name": "Broken", "runner": {"kind": "http", "url": "http://127.0.0.1:9/"}}`) // an address that is refused
		made := a.trigger(t, broken, "")
		other := a.trigger(t, a.echo(t), "")
		var failed []string
		for n := range 5 {
			failed = append(failed, a.accepted(t, made.Token, `{"n": `+number(int64(n))+`}`))
			require.Equal(t, "failed", a.ended(t, failed[n]).Status)
		}
		completed := a.completed(t, other.Token, `{"n": 9}`)
		var last execution
		a.must(t, 200, &last, "GET", executions+"/"+failed[4], "")
		retry := func(fields string, headers ...string) retried {
			t.Helper()
			var r retried
			a.must(t, 200, &r, "POST", executions+"/retry", `{`+fields+`}`, headers...)
			return r
		}
		of := `"trigger_id": "` + made.ID + `", "since": "2020-01-01T00:00:00Z"`
		head := a.head(t)
		dry := retry(of + `, "dry_run": true`)
		require.Equal(t, 5, dry.Retried)
		require.Equal(t, failed[0], dry.Executions[0].RetryOf, "in the order in which they came")
		require.Equal(t, head, a.head(t), "a dry run records nothing")
		require.Zero(t, retry(of+`, "status": "completed", "dry_run": true`).Retried)

		// The latest two, then two more, then the rest, and then nothing.
		under := []string{"Idempotency-Key", "once"}
		first := retry(of+`, "limit": 2`, under...)
		require.Equal(t, []any{2, 0, true}, []any{first.Retried, first.Already, first.More})
		require.Equal(t, failed[3], first.Executions[0].RetryOf)
		for _, e := range first.Executions {
			again := a.ended(t, e.ExecutionID)
			require.Equal(t, e.RetryOf, again.RetryOf)
			require.Equal(t, made.ID, again.TriggerID)
			require.Equal(t, "failed", again.Status, "and so it fits the filter by now")
		}
		second := retry(of+`, "limit": 2`, under...)
		require.Equal(t, []any{2, 2, true}, []any{second.Retried, second.Already, second.More})
		third := retry(of, under...)
		require.Equal(t, []any{1, 4, false}, []any{third.Retried, third.Already, third.More})
		for _, e := range third.Executions {
			a.ended(t, e.ExecutionID)
		}
		head = a.head(t)
		fourth := retry(of, under...)
		require.Equal(t, []any{0, 5, false}, []any{fourth.Retried, fourth.Already, fourth.More})
		require.Equal(t, head, a.head(t), "it records nothing more")
		require.Equal(t, 10, retry(of+`, "dry_run": true`, "Idempotency-Key", "another").Retried, "of another key they are executions like all")

		waiting := a.accepted(t, a.trigger(t, a.agent(t, `{"name": "Outside", "runner": {"kind": "none"}}`), "").Token, `{}`)
		named := retry(`"ids": ["` + completed + `", "` + waiting + `", "` + nobody + `", "` + completed + `"]`)
		require.Equal(t, 1, named.Retried)
		require.Equal(t, completed, named.Executions[0].RetryOf)
		require.Equal(t, "completed", a.ended(t, named.Executions[0].ExecutionID).Status)
		require.Len(t, named.Skipped, 2)
		require.Equal(t, []string{"conflict", "not_found"}, []string{named.Skipped[0].Code, named.Skipped[1].Code})

		for body, field := range map[string]string{
			`{}`: "since", `{"trigger_id": "x"}`: "since", `{"ids": ["x"], "status": "failed"}`: "ids", `{"since": "2020-01-01T00:00:00Z", "limit": 1001}`: "limit",
			`{"since": "2020-01-01T00:00:00Z", "status": "running"}`: "status",
		} {
			require.Contains(t, refusalOf(t, a.must(t, 400, nil, "POST", executions+"/retry", body)).Error.Details, field, body)
		}
	})
}
