package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// dialects are the parts of a test's name that say on which database it ran.
var dialects = []string{"postgres", "sqlite"}

type count struct{ passed, failed, skipped int }

func (c count) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

func (c *count) add(outcome outcome) {
	switch outcome {
	case passed:
		c.passed++
	case failed:
		c.failed++
	case skipped:
		c.skipped++
	}
}

type summary struct {
	all             count
	byDialect       map[string]*count
	failed          []result
	skipped         []result
	skippedPostgres []result
}

func summarise(results []result) summary {
	s := summary{byDialect: map[string]*count{}}
	for _, dialect := range dialects {
		s.byDialect[dialect] = &count{}
	}
	for _, r := range results {
		s.all.add(r.Outcome)
		parts := strings.Split(r.Test, "/")
		for _, dialect := range dialects {
			if slices.Contains(parts, dialect) {
				s.byDialect[dialect].add(r.Outcome)
			}
		}
		switch r.Outcome {
		case passed:
		case failed:
			s.failed = append(s.failed, r)
		case skipped:
			s.skipped = append(s.skipped, r)
			if strings.Contains(strings.ToLower(r.Test), "postgres") {
				s.skippedPostgres = append(s.skippedPostgres, r)
			}
		}
	}
	return s
}

func (s summary) print(out io.Writer, problems []error) {
	for _, r := range s.failed {
		fmt.Fprintln(out, "failed: ", r)
	}
	for _, r := range s.skipped {
		fmt.Fprintln(out, "skipped:", r)
	}
	for _, problem := range problems {
		fmt.Fprintln(out, "problem:", problem)
	}
	for _, dialect := range dialects {
		fmt.Fprintf(out, "on %-9s %s\n", dialect+":", s.byDialect[dialect])
	}
	fmt.Fprintln(out, s.all)
}

// problems says in what the tests do not show what they are to show.
func (s summary) problems() []error {
	var problems []error
	if s.all.failed > 0 {
		problems = append(problems, fmt.Errorf("%d failed", s.all.failed))
	}
	for _, r := range s.skippedPostgres {
		problems = append(problems, fmt.Errorf("%s was skipped: PostgreSQL is not optional", r))
	}
	for _, dialect := range dialects {
		if ran := s.byDialect[dialect]; ran.passed+ran.failed == 0 {
			problems = append(problems, fmt.Errorf("no test ran on %s", dialect))
		}
	}
	return problems
}

func (r result) String() string {
	if r.Test == "" {
		return r.Package + " (outside of its tests)"
	}
	return r.Package + " " + r.Test
}
