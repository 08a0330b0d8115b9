package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"
)

// report gathers the results and prints them as they come.
type report struct {
	Cells    []cell
	Promises []promise
	started  time.Time
	store    string
	section  string
}

// cell is one measurement.
type cell struct {
	Store     string  `json:"store"`
	Name      string  `json:"name"`
	PerSecond float64 `json:"per_second,omitempty"`
	// Paced marks a cell whose requests came at a given rate: what it measures is time.
	Paced       bool    `json:"paced,omitempty"`
	P50         float64 `json:"p50_ms,omitempty"`
	P99         float64 `json:"p99_ms,omitempty"`
	P999        float64 `json:"p999_ms,omitempty"`
	Refused     int     `json:"refused,omitempty"`
	ServerCPU   float64 `json:"server_cpu_us,omitempty"`   // microseconds a call
	DatabaseCPU float64 `json:"database_cpu_us,omitempty"` // microseconds a call
	LoadCPU     float64 `json:"load_cpu_us,omitempty"`     // microseconds a call
	ServerRSS   float64 `json:"server_rss_mib,omitempty"`  // the highest seen
	DatabaseRSS float64 `json:"database_rss_mib,omitempty"`
	Commits     float64 `json:"commits_per_second,omitempty"`
	Batch       float64 `json:"appends_per_commit,omitempty"`
	// Bare is the bare handler's calls a second in the same minutes: what the machine gave.
	Bare float64            `json:"bare_per_second,omitempty"`
	Cost map[string]float64 `json:"per_execution,omitempty"`
	// Failed marks what ended in a refusal, which the note tells.
	Failed bool   `json:"failed,omitempty"`
	Note   string `json:"note,omitempty"`
}

// results are what a run leaves in a file.
type results struct {
	Cores    int       `json:"cores"`
	Go       string    `json:"go"`
	At       time.Time `json:"at"`
	Cells    []cell    `json:"cells"`
	Promises []promise `json:"promises"`
}

func (r *report) write(file string) error {
	if file == "" {
		return nil
	}
	encoded, err := json.MarshalIndent(results{runtime.NumCPU(), runtime.Version(), r.started.UTC(), r.Cells, r.Promises}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(encoded, '\n'), 0o644) //nolint:gosec // results are for everybody
}

func readResults(file string) (*results, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r results
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, fmt.Errorf("%s holds no results of this program: %w", file, err)
	}
	return &r, nil
}

func (r *report) add(c cell) {
	c.Store = r.store
	r.Cells = append(r.Cells, c)
	if r.section != c.Store {
		r.section = c.Store
		fmt.Printf("\n%-38s %9s %7s %7s %7s %6s %6s %6s %7s %7s %8s %6s\n", r.section,
			"per s", "p50 ms", "p99 ms", "p99.9", "srv µs", "db µs", "gen µs", "srv MiB", "db MiB", "commit/s", "batch")
	}
	fmt.Printf("%-38s %9s %7s %7s %7s %6s %6s %6s %7s %7s %8s %6s %s\n", c.Name, number(c.PerSecond), number(c.P50), number(c.P99), number(c.P999),
		number(c.ServerCPU), number(c.DatabaseCPU), number(c.LoadCPU), number(c.ServerRSS), number(c.DatabaseRSS), number(c.Commits), number(c.Batch), c.Note)
}

func (r *report) say(format string, args ...any) { fmt.Printf("  "+format+"\n", args...) }

// progress tells whoever waits how far a long step is; it is no result.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "  … "+format+"\n", args...)
}

func number(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (r *report) find(store, name string) (cell, bool) { return findCell(r.Cells, store, name) }

func findCell(cells []cell, store, name string) (cell, bool) {
	for _, c := range cells {
		if c.Store == store && c.Name == name {
			return c, true
		}
	}
	return cell{}, false
}
