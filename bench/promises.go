package main

import (
	"fmt"
	"strings"
)

// promise is what the project says of itself, beside what this run found.
type promise struct {
	Store  string  `json:"store"`
	What   string  `json:"what"`
	Bound  string  `json:"bound"`
	Figure float64 `json:"figure"`
	Met    bool    `json:"met"`
}

// judge prints what the project promises and whether this run, of itself alone, bears it out.
func (r *report) judge(stores []string) {
	for _, store := range stores {
		r.judgeCalls(store)
		r.judgeExecutions(store)
		r.judgeLarge(store)
		r.judgeSoak(store)
	}
	if len(r.Promises) == 0 {
		return
	}
	fmt.Printf("\n%-10s %-66s %10s %10s  %s\n", "promise", "", "bound", "figure", "met")
	for _, p := range r.Promises {
		met := "yes"
		if !p.Met {
			met = "NO"
		}
		fmt.Printf("%-10s %-66s %10s %10s  %s\n", p.Store, p.What, p.Bound, number(p.Figure), met)
	}
}

func (r *report) atLeast(store, what string, bound, figure float64) {
	r.Promises = append(r.Promises, promise{store, what, "≥ " + number(bound), figure, figure >= bound})
}

func (r *report) below(store, what string, bound, figure float64) {
	r.Promises = append(r.Promises, promise{store, what, "< " + number(bound), figure, figure < bound})
}

func (r *report) atMost(store, what string, bound, figure float64) {
	r.Promises = append(r.Promises, promise{store, what, "≤ " + number(bound), figure, figure <= bound})
}

// both finds two cells that were measured in the same rounds.
func (r *report) both(store, name, beside string) (a, b cell, ok bool) {
	a, okA := r.find(store, name)
	b, okB := r.find(store, beside)
	return a, b, okA && okB
}

func (r *report) judgeCalls(store string) {
	ofBare := map[string]float64{"postgres": .28, "sqlite": .30}[store]
	if call, bare, ok := r.both(store, hmacName(64), bareName); ok {
		r.atLeast(store, "HMAC calls, 64 connections ÷ bare handler", ofBare, call.PerSecond/bare.PerSecond)
	}
	if call, insert, ok := r.both(store, hmacName(64), insertName); ok {
		r.atLeast(store, "HMAC calls, 64 connections ÷ one INSERT a transaction", 1.5, call.PerSecond/insert.PerSecond)
	}
	if alone, insert, ok := r.both(store, hmacName(1), insertAloneName); ok {
		r.atMost(store, "time of a lone call ÷ time of one INSERT alone", 1.5, alone.P50/insert.P50)
	}
	if hot, spread, ok := r.both(store, hotName, spreadName); ok {
		r.atLeast(store, "calls on one hot trigger ÷ spread over 1,000", .9, hot.PerSecond/spread.PerSecond)
	}
	if half, ok := r.find(store, halfName); ok {
		r.below(store, "p99 at half of the highest throughput, ms", 15, half.P99)
	}
	most := 0.0
	for _, c := range r.Cells {
		if c.Store == store && (strings.HasPrefix(c.Name, "hmac, ") || strings.HasPrefix(c.Name, "bearer, ")) {
			most = max(most, c.ServerRSS)
		}
	}
	if most > 0 {
		r.below(store, "server's memory at full load, the most of all cells of calls, MiB", 150, most)
	}
}

func (r *report) judgeExecutions(store string) {
	if c, ok := r.find(store, executionsName); ok {
		r.atLeast(store, "echo executions a second, while their calls come in", 4000, c.PerSecond)
	}
	if c, ok := r.find(store, delayName); ok {
		r.below(store, "accept to agent started at 500/s, p50, ms", 20, c.P50)
		r.below(store, "accept to agent started at 500/s, p99, ms", 100, c.P99)
	}
}

func (r *report) judgeLarge(store string) {
	if large, empty, ok := r.both(store, largeName, emptyName); ok {
		r.atLeast(store, "calls with the large log ÷ on an empty store", .9, large.PerSecond/empty.PerSecond)
	}
	var slowest cell
	for _, c := range r.Cells {
		if c.Store == store && strings.HasPrefix(c.Name, listName) && !slowest.Failed && (c.Failed || c.P99 > slowest.P99) {
			slowest = c
		}
	}
	if slowest.P99 > 0 {
		r.below(store, "p99 of page 1 of the slowest list, ms ("+strings.TrimPrefix(slowest.Name, listName)+")", 20, slowest.P99)
		last := &r.Promises[len(r.Promises)-1]
		last.Met = last.Met && !slowest.Failed
	}
	if start, ok := r.find(store, startName); ok {
		r.below(store, "start-up with the large log, the slowest of three, s", 2, start.P99/1000)
	}
	if rebuild, ok := r.find(store, rebuildName); ok {
		r.atLeast(store, "projections rebuild, events a second", 50_000, rebuild.PerSecond)
	}
	if verify, ok := r.find(store, verifyName); ok {
		r.atLeast(store, "audit verify, events a second", 200_000, verify.PerSecond)
	}
}

func (r *report) judgeSoak(store string) {
	var minutes []cell
	for _, c := range r.Cells {
		if c.Store == store && strings.HasPrefix(c.Name, "soak, ") {
			minutes = append(minutes, c)
		}
	}
	if len(minutes) == 0 {
		return
	}
	first, last := minutes[0], minutes[len(minutes)-1]
	r.below(store, "server's memory in the first minute of full load, MiB", 150, first.ServerRSS)
	if len(minutes) == 1 {
		return
	}
	r.below(store, fmt.Sprintf("server's memory in minute %d of full load, MiB", len(minutes)), 150, last.ServerRSS)
}
