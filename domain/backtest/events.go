package backtest

import "hooktrail/domain/eventlog"

// Requested is the first event of a backtest.
type Requested struct {
	eventlog.Base
	Settings
	AsOf eventlog.Position `json:"as_of"`
	// Total is how many invocations fitted then.
	Total int `json:"total"`
}

// Finished records that all has been tried, and what came of it.
type Finished struct {
	eventlog.Base
	Tally Tally `json:"tally"`
}

// WasCancelled records that somebody ended the backtest.
type WasCancelled struct {
	eventlog.Base
	Reason string `json:"reason,omitempty"`
}

// GaveUp records that the backtest cannot go on.
type GaveUp struct {
	eventlog.Base
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// Codec stores the events of this package. What came of each invocation is no event: it would
// fill the log of everybody.
var Codec = eventlog.NewCodec(
	eventlog.Type[Requested]("backtest.requested"),
	eventlog.Type[Finished]("backtest.completed"),
	eventlog.Type[WasCancelled]("backtest.cancelled"),
	eventlog.Type[GaveUp]("backtest.failed"),
)
