package backtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/execution"
	"hooktrail/domain/fault"
)

// The bounds of a backtest, and what holds where nothing is said.
const (
	DefaultLimit       = 10_000
	MaxLimit           = 100_000
	DefaultConcurrency = 2
	MaxConcurrency     = 16
	MaxRate            = 1000
	maxReason          = 1000 // bytes
	maxEvent           = 200  // bytes
)

// Defaults fills in what was left open.
func (s Settings) Defaults() Settings {
	if s.Limit == 0 {
		s.Limit = DefaultLimit
	}
	if s.Concurrency == 0 {
		s.Concurrency = DefaultConcurrency
	}
	if bytes.Equal(bytes.TrimSpace(s.Options), []byte("null")) {
		s.Options = nil
	}
	return s
}

// triable are the options of a trigger that a backtest can try.
var triable = []string{"filter", "input_mapping"}

// Validate names every field that is wrong.
func (s Settings) Validate() error {
	wrong := map[string]string{}
	if s.AgentID == "" && len(s.Options) == 0 {
		wrong["agent_id"] = "or options with a filter or an input_mapping must be given: what is tried in place of what was"
	}
	if len(s.Options) > 0 {
		var options map[string]json.RawMessage
		if json.Unmarshal(s.Options, &options) != nil || len(options) == 0 {
			wrong["options"] = "must be an object with filter, input_mapping or both"
		}
		for _, name := range slices.Sorted(maps.Keys(options)) {
			if !slices.Contains(triable, name) {
				wrong[fmt.Sprintf("options.%.100s", name)] = "cannot be tried by a backtest, only filter and input_mapping can"
			}
		}
		if s.TriggerID == "" {
			wrong["trigger_id"] = "must be given when options are: a filter or mapping is that of one trigger"
		}
	}
	switch {
	case s.Since.IsZero():
		wrong["since"] = "is required: the time of the first invocation to try"
	case s.Until.Before(s.Since):
		wrong["until"] = "must not be before since"
	}
	if s.Status != "" && !s.Status.Final() {
		wrong["status"] = "must be one of completed, failed, cancelled: how the execution ended"
	}
	if len(s.Event) > maxEvent || !utf8.ValidString(s.Event) {
		wrong["event"] = fmt.Sprintf("must be the sender's name for what happened, of at most %d bytes", maxEvent)
	}
	if s.Limit < 1 || s.Limit > MaxLimit {
		wrong["limit"] = fmt.Sprintf("must be from 1 to %d", MaxLimit)
	}
	if s.Concurrency < 1 || s.Concurrency > MaxConcurrency {
		wrong["concurrency"] = fmt.Sprintf("must be from 1 to %d", MaxConcurrency)
	}
	if !(s.Rate >= 0 && s.Rate <= MaxRate) {
		wrong["rate"] = fmt.Sprintf("must be from 0, for none, to %d runs a second", MaxRate)
	}
	return fault.Fields(wrong)
}

// Request decides the first event of a backtest of so many invocations.
func Request(s Settings, asOf eventlog.Position, total int) ([]eventlog.Event, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if total == 0 {
		return nil, fault.Field("since", "no invocation on record fits: look further back, or narrow less")
	}
	return []eventlog.Event{Requested{Settings: s, AsOf: asOf, Total: total}}, nil
}

// Finish decides that all has been tried. One that has ended already stays as it is.
func (b Backtest) Finish(tally Tally) []eventlog.Event {
	if !b.Active() {
		return nil
	}
	return []eventlog.Event{Finished{Tally: tally}}
}

// Cancel decides that nothing more is tried.
func (b Backtest) Cancel(reason string) ([]eventlog.Event, error) {
	switch {
	case b.Status == Cancelled:
		return nil, nil
	case !b.Active():
		return nil, fault.New(fault.Conflict, "the backtest has ended already: it is %s", b.Status)
	case len(reason) > maxReason || !utf8.ValidString(reason):
		return nil, fault.Field("reason", "must be at most %d bytes of UTF-8", maxReason)
	}
	return []eventlog.Event{WasCancelled{Reason: reason}}, nil
}

// GiveUp decides that the backtest cannot go on.
func (b Backtest) GiveUp(code, reason string) []eventlog.Event {
	if !b.Active() {
		return nil
	}
	shown := execution.NewError(code, reason)
	return []eventlog.Event{GaveUp{Code: shown.Code, Reason: shown.Message}}
}
