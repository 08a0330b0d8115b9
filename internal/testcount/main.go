// Command testcount reads what gotestsum wrote with --jsonfile and says how many tests ran,
// on each database as well: a test that runs on one has "postgres" or "sqlite" as a part of
// its name ("TestStore/postgres/append"). It fails when a test failed, when a database saw no
// test, or when a test of PostgreSQL was skipped.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	if !run(os.Args[1:], os.Stdout) {
		os.Exit(1)
	}
}

// run says whether the tests show what they are to show. Whatever it finds, the last line
// that it writes is the count.
func run(files []string, out io.Writer) bool {
	var results []result
	var problems []error
	if len(files) == 0 {
		problems = append(problems, errors.New("name the files that gotestsum --jsonfile wrote"))
	}
	for _, name := range files {
		fileResults, err := readFile(name)
		if err != nil {
			problems = append(problems, err)
		}
		results = append(results, fileResults...)
	}
	summary := summarise(results)
	problems = append(problems, summary.problems()...)
	summary.print(out, problems)
	return len(problems) == 0
}

func readFile(name string) ([]result, error) {
	file, err := os.Open(name) //nolint:gosec // the caller's own argument
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it is only read
	results, err := read(file)
	if err != nil {
		return results, fmt.Errorf("%s: %w", name, err)
	}
	return results, nil
}
