package evaluator_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"hooktrail/adapters/evaluator"
	"hooktrail/domain/expression"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == evaluator.Command {
		os.Exit(evaluator.Serve(os.Stdin, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}

func pool(t *testing.T, config evaluator.Config) *evaluator.Pool {
	t.Helper()
	p, err := evaluator.New(config, 2)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func jq(program string) expression.Source {
	return expression.Source{Mapping: &trigger.Mapping{JQ: program}}
}

func message(payload string) expression.Message { return expression.Message{Payload: []byte(payload)} }

func TestEvaluate(t *testing.T) {
	p := pool(t, evaluator.Config{})
	result, err := p.Evaluate(t.Context(), jq(`{a, e: $event, h: $headers["x-a"], q: $query.b}`), expression.Message{
		Payload: []byte(`{"a": 1.10}`),
		Seen:    trigger.Seen{Event: "push", Headers: map[string]string{"x-a": "1"}, Query: map[string]string{"b": "2"}},
	})
	require.NoError(t, err)
	require.Equal(t, `{"a":1.10,"e":"push","h":"1","q":"2"}`, string(result.Input))

	result, err = p.Evaluate(t.Context(), expression.Source{Filter: "payload.a > 1"}, message(`{"a": 1}`))
	require.NoError(t, err)
	require.Equal(t, expression.Result{Filtered: true}, result)
	result, err = p.Evaluate(t.Context(), expression.Source{Filter: "payload.a > 1"}, message(`{"a": 2}`))
	require.NoError(t, err)
	require.Equal(t, expression.Result{}, result)

	_, err = p.Evaluate(t.Context(), jq(`.a.b`), message(`{"a": 1}`))
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, fault.ExpressionFailed, f.Code)
	require.Contains(t, f.Details["options.input_mapping.jq"], "expected an object but got: number (1)")

	_, err = p.Evaluate(t.Context(), jq(`.`), message(strings.Repeat(" ", expression.MaxPayload)+"{}"))
	require.ErrorContains(t, err, "has more than 4194304 bytes")
}

// A payload that is hostile to an expression that is not.
var (
	manyObjects = `[` + strings.Repeat(`{"a":{}},`, 400_000) + `1]`
	manyAs      = `{"s": "` + strings.Repeat("a", 4_000_000) + `"}`
)

func TestHostileExpressionsAreStopped(t *testing.T) {
	p := pool(t, evaluator.Config{Processes: 1})
	for name, c := range map[string]struct {
		source  expression.Source
		payload string
	}{
		"endless loop":              {jq(`def f: f; f`), `{}`},
		"endless outputs":           {jq(`[repeat(1)]`), `{}`},
		"endless recursion":         {jq(`def f: [f]; f`), `{}`},
		"endless loop, caught":      {jq(`def f: try f catch f; f`), `{}`},
		"large range":               {jq(`[range(1e9)] | length`), `{}`},
		"repeated text":             {jq(`"x" * 1e9 | length`), `{}`},
		"doubled text":              {jq(`reduce range(60) as $i ("x"; . + .) | length`), `{}`},
		"interpolated text":         {jq(`reduce range(60) as $i ("x"; "\(.)\(.)") | length`), `{}`},
		"doubled text of JSON":      {jq(`reduce range(60) as $i ("\""; tojson) | length`), `{}`},
		"shared arrays":             {jq(`reduce range(60) as $i ([1]; [., .])`), `{}`},
		"shared arrays, flattened":  {jq(`reduce range(60) as $i ([1]; [., .]) | flatten | length`), `{}`},
		"shared arrays, compared":   {jq(`reduce range(60) as $i ([1]; [., .]) | . == (. | tojson | fromjson)`), `{}`},
		"large number":              {jq(`reduce range(60) as $i (10000000000000000000000; . * .) | tostring | length`), `{}`},
		"large index":               {jq(`.[67000000] = 1 | length`), `[]`},
		"large indices":             {jq(`[range(1000) | [] | .[50000000] = 1] | length`), `[]`},
		"joined":                    {jq(`("x" * 100000) as $s | [range(100000) | ""] | join($s) | length`), `{}`},
		"combinations":              {jq(`[[range(100)] | combinations(5)] | length`), `{}`},
		"replaced":                  {jq(`.s | gsub(""; "0123456789") | gsub(""; "0123456789") | length`), manyAs},
		"pattern":                   {jq(`.s | test("(a|aa|aaa){900}c")`), manyAs},
		"pattern on a long text":    {jq(`[range(1000) as $i | .s | test("(a|b|ab|[a-c]d?){500}x")] | length`), manyAs},
		"sorted":                    {jq(`[range(1000) as $i | sort | length]`), manyObjects},
		"limit":                     {jq(`[limit(1e9; repeat("x"))] | length`), `{}`},
		"trimmed":                   {jq(`.s | until(false; ltrimstr("b"))`), manyAs},
		"CEL, nested":               {expression.Source{Filter: `payload.all(a, payload.all(b, payload.all(c, payload.all(d, true))))`}, manyObjects},
		"CEL, doubled":              {cel(`[payload.s, payload.s, payload.s].map(x, (x + x + x + x + x + x).replace("a", "aaaaaaaa")).size()`), manyAs},
		"CEL, pattern":              {expression.Source{Filter: `payload.s.matches("(a|aa|aaa){900}(a|b){900}c")`}, manyAs},
		"CEL, many splits":          {expression.Source{Filter: `payload.s.split("").map(x, payload.s.split("")).size() > 0`}, manyAs},
		"a payload to be decoded":   {expression.Source{Filter: `true`}, `[` + strings.Repeat(`{},`, 1_398_000) + `1]`},
		"a template of all of it":   {templates(strings.Repeat(`{{ .payload }}`, 200)), manyAs},
		"an output that is too big": {jq(`.`), manyAs},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second) // which a busy machine may need
			defer cancel()
			began := time.Now()
			_, err := p.Evaluate(ctx, c.source, message(c.payload))
			require.Error(t, err)
			require.Equal(t, fault.ExpressionFailed, fault.CodeOf(err), err)
			require.NoError(t, ctx.Err())
			t.Logf("%s: %s", time.Since(began).Round(time.Millisecond), err)

			result, err := p.Evaluate(ctx, jq(`.a`), message(`{"a": 1}`))
			require.NoError(t, err, "the next one is evaluated as if nothing had happened")
			require.Equal(t, "1", string(result.Input))
		})
	}
}

func cel(text string) expression.Source {
	return expression.Source{Mapping: &trigger.Mapping{CEL: map[string]string{"x": text}}}
}

func templates(text string) expression.Source {
	return expression.Source{Mapping: &trigger.Mapping{Template: map[string]string{"x": text}}}
}

func TestProcessesHaveNothingOfOurEnvironment(t *testing.T) {
	t.Setenv("HOOKTRAIL_MASTER_KEY", "for us only")
	result, err := pool(t, evaluator.Config{}).Evaluate(t.Context(), jq(`$ENV`), message(`{}`))
	require.NoError(t, err)
	require.JSONEq(t, `{}`, string(result.Input))
}

func TestMoreThanMayWaitAreRefused(t *testing.T) {
	p := pool(t, evaluator.Config{Processes: 1, Waiting: 1})
	var running sync.WaitGroup
	codes := make(chan fault.Code, 20)
	for range cap(codes) {
		running.Go(func() {
			_, err := p.Evaluate(t.Context(), jq(`def f: f; f`), message(`{}`))
			codes <- fault.CodeOf(err)
		})
	}
	running.Wait()
	close(codes)
	counts := map[fault.Code]int{}
	for code := range codes {
		counts[code]++
	}
	require.Positive(t, counts[fault.Overloaded], fmt.Sprint(counts))
	require.GreaterOrEqual(t, counts[fault.ExpressionFailed], 2)
	require.Len(t, counts, 2)
}

func TestTurnIsAwaitedNoLongerThanTheCallerCan(t *testing.T) {
	p := pool(t, evaluator.Config{Processes: 1})
	var running sync.WaitGroup
	running.Go(func() { _, _ = p.Evaluate(t.Context(), jq(`def f: f; f`), message(`{}`)) })
	defer running.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // one of them finds the process taken
		if _, err := p.Evaluate(ctx, jq(`def f: f; f`), message(`{}`)); fault.CodeOf(err) == fault.Overloaded {
			return
		}
	}
	t.Fatal("nobody was refused")
}

func TestClosedPool(t *testing.T) {
	p := pool(t, evaluator.Config{})
	_, err := p.Evaluate(t.Context(), jq(`.`), message(`{}`))
	require.NoError(t, err)
	p.Close()
	_, err = p.Evaluate(t.Context(), jq(`.`), message(`{}`))
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
}

func TestProgramThatCannotBeStarted(t *testing.T) {
	p := pool(t, evaluator.Config{Program: "/nowhere/hooktrail"})
	for range 2 {
		_, err := p.Evaluate(t.Context(), jq(`.`), message(`{}`))
		require.ErrorContains(t, err, "start a process that evaluates expressions")
		require.Equal(t, fault.Internal, fault.CodeOf(err))
	}
}

func BenchmarkEvaluate(b *testing.B) {
	p, err := evaluator.New(evaluator.Config{}, 2)
	require.NoError(b, err)
	defer p.Close()
	for b.Loop() {
		if _, err := p.Evaluate(b.Context(), jq(`{title: .pull_request.title}`), message(`{"pull_request": {"title": "a"}}`)); err != nil {
			b.Fatal(err)
		}
	}
}
