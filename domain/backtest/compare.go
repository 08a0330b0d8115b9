package backtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"

	"github.com/segmentio/ksuid"
	"github.com/wI2L/jsondiff"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
)

// Verdict is what a comparison of one invocation comes to.
type Verdict string

// The verdicts.
const (
	// Same ended alike: with the same JSON value, or with an error of the same code.
	Same Verdict = "same"
	// Differs ended otherwise, and not worse.
	Differs Verdict = "differs"
	// Worse is a run that failed where the original had not.
	Worse Verdict = "failed"
	// Skipped could not be compared; the reason says why.
	Skipped Verdict = "skipped"
)

// Verdicts are all there are.
var Verdicts = []Verdict{Same, Differs, Worse, Skipped}

// Why an invocation was skipped.
const (
	ReasonErased   = "erased"    // its input or output is gone
	ReasonNotEnded = "not_ended" // its execution had not ended when its turn came
)

// The statuses of a shadow run, beside those of an execution: what a filter or an input schema
// keeps from the agent.
const (
	ShadowCompleted = "completed"
	ShadowFailed    = "failed"
	ShadowFiltered  = "filtered"
	ShadowRefused   = "refused"
)

// Ending is how an execution, or a shadow run, ended.
type Ending struct {
	Status    string
	ErrorCode string
	// Output is one JSON value; nil where there is none.
	Output []byte
}

// Bounds of what is kept of a difference.
const (
	MaxOutput    = 64 << 10 // bytes of an output that is kept, or compared in detail
	maxSteps     = 50
	maxDifferent = 16 << 10 // bytes
)

// Compare gives the verdict and, for outputs that differ, a JSON Patch (RFC 6902) that makes the
// original's the shadow's; nil where that is too long to be of use.
func Compare(original, shadow Ending) (Verdict, json.RawMessage, error) {
	if original.Status != shadow.Status {
		if shadow.Status == ShadowFailed || shadow.Status == ShadowRefused {
			if original.Status == ShadowCompleted {
				return Worse, nil, nil
			}
		}
		return Differs, nil, nil
	}
	if shadow.Status != ShadowCompleted {
		if original.ErrorCode != shadow.ErrorCode {
			return Differs, nil, nil
		}
		return Same, nil, nil
	}
	if bytes.Equal(original.Output, shadow.Output) {
		return Same, nil, nil
	}
	patch, err := jsondiff.CompareJSON(original.Output, shadow.Output, jsondiff.UnmarshalFunc(exactly))
	switch {
	case err != nil:
		return "", nil, err
	case len(patch) == 0:
		return Same, nil, nil
	case len(original.Output) > MaxOutput || len(shadow.Output) > MaxOutput || len(patch) > maxSteps:
		return Differs, nil, nil
	}
	encoded, err := json.Marshal(patch)
	if err != nil || len(encoded) > maxDifferent {
		return Differs, nil, err
	}
	return Differs, encoded, nil
}

// exactly reads numbers as they are written, so that two ids beyond a float64 differ.
func exactly(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

// ShadowID gives the id of the shadow run of an execution, which the agent sees. It is the same
// when the run is made once more after a crash, and never the execution's own: an agent that
// remembers the ids that it has worked on would answer with what it did then.
func ShadowID(backtestID, executionID string) string {
	sum := sha256.Sum256([]byte("hooktrail shadow run/" + backtestID + "/" + executionID))
	id, err := ksuid.FromBytes(sum[:20])
	if err != nil {
		panic(err) // a KSUID has 20 bytes, whichever they are
	}
	return id.String()
}

// Result is what came of one invocation.
type Result struct {
	Position    eventlog.Position // of the invocation
	ExecutionID string
	Verdict     Verdict
	Reason      string
	Original    Side
	Shadow      Side
	ShadowID    string
	Error       string // of the shadow run
	Difference  json.RawMessage
}

// Side is one side of a comparison.
type Side struct {
	Ending
	// Micros is how long the run took, in microseconds; nil where that is not to be compared.
	Micros *int64
	Tokens *execution.TokenUsage
}

// Tally is what a backtest has come to.
type Tally struct {
	Total   int `json:"total"`
	Done    int `json:"done"`
	Same    int `json:"same"`
	Differs int `json:"differs"`
	// Failed is how many shadow runs failed where the original had not.
	Failed int `json:"failed"`
	// Skipped is how many could not be compared, of which Erased had lost their input or output.
	Skipped  int     `json:"skipped"`
	Erased   int     `json:"erased"`
	Statuses []Moved `json:"statuses"`
	// Durations are of those that completed on both sides, the original at its first attempt.
	Durations *Durations `json:"durations,omitempty"`
	// Tokens are counted where a model reports them; nil when neither side did.
	Tokens *Usage `json:"tokens,omitempty"`
}

// Moved counts those that ended one way and would another.
type Moved struct {
	Original string `json:"original"`
	Shadow   string `json:"shadow"`
	Calls    int    `json:"calls"`
}

// Durations compares how long runs took.
type Durations struct {
	Calls    int         `json:"calls"`
	Original Percentiles `json:"original"`
	Shadow   Percentiles `json:"shadow"`
}

// Percentiles are in milliseconds.
type Percentiles struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
}

// Usage compares what models counted.
type Usage struct {
	Original Tokens `json:"original"`
	Shadow   Tokens `json:"shadow"`
}

// Tokens are a sum over the runs that reported tokens.
type Tokens struct {
	Runs       int64 `json:"runs"`
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
}

// Rank is where the percentile of n sorted values stands, from 0 (the nearest rank).
func Rank(n, percent int) int { return max(0, (n*percent+99)/100-1) }
