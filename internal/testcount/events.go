package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

type outcome string

const (
	passed  outcome = "pass"
	failed  outcome = "fail"
	skipped outcome = "skip"
)

// result is how one test, or what failed outside of one, ended.
type result struct {
	Package string
	Test    string // "" when the package failed outside of any test: it did not build, or panicked
	Outcome outcome
}

// event is a line of "go test -json"; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
}

type testKey struct{ Package, Test string }

// read gives the results in the order of their names. Only tests without subtests count,
// so that none counts twice, and besides them those that failed while no subtest did.
func read(stream io.Reader) ([]result, error) {
	outcomes, packages, err := readEvents(stream)
	var results []result
	failedPackages := map[string]bool{}
	parents := map[testKey]bool{}
	parentsOfFailed := map[testKey]bool{}
	for key, outcome := range outcomes {
		for parent := range ancestors(key) {
			parents[parent] = true
			if outcome == failed {
				parentsOfFailed[parent] = true
			}
		}
	}
	for key, outcome := range outcomes {
		failedItself := outcome == failed && !parentsOfFailed[key]
		if !parents[key] || failedItself {
			results = append(results, result{key.Package, key.Test, outcome})
		}
		if outcome == failed {
			failedPackages[key.Package] = true
		}
	}
	for name, outcome := range packages {
		if outcome == failed && !failedPackages[name] {
			results = append(results, result{Package: name, Outcome: failed})
		}
	}
	slices.SortFunc(results, func(a, b result) int {
		return strings.Compare(a.Package+" "+a.Test, b.Package+" "+b.Test)
	})
	if err == nil && len(packages) == 0 {
		err = errors.New("holds no result of any package")
	}
	return results, err
}

// readEvents gives each test's outcome, failed for one that began and never ended, and each
// package's.
func readEvents(stream io.Reader) (map[testKey]outcome, map[string]outcome, error) {
	tests := map[testKey]outcome{}
	packages := map[string]outcome{}
	decoder := json.NewDecoder(stream)
	for {
		var line event
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return tests, packages, nil
		} else if err != nil {
			return tests, packages, fmt.Errorf("not the output of go test -json: %w", err)
		}
		key := testKey{line.Package, line.Test}
		switch {
		case line.Test != "" && line.Action == "run":
			tests[key] = failed
		case line.Test != "" && isOutcome(line.Action):
			tests[key] = outcome(line.Action)
		case line.Package != "" && isOutcome(line.Action):
			packages[line.Package] = outcome(line.Action)
		}
	}
}

func isOutcome(action string) bool {
	return slices.Contains([]outcome{passed, failed, skipped}, outcome(action))
}

// ancestors gives the tests of which this one is a subtest, nearest first.
func ancestors(key testKey) func(yield func(testKey) bool) {
	return func(yield func(testKey) bool) {
		for name := key.Test; ; {
			cut := strings.LastIndexByte(name, '/')
			if cut < 0 {
				return
			}
			name = name[:cut]
			if !yield(testKey{key.Package, name}) {
				return
			}
		}
	}
}
