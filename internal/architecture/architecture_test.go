// Package architecture holds the arrows of the design, which ARCHITECTURE.md draws: which room
// may import which.
package architecture

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "hooktrail"

// arrow is an import that one file has.
type arrow struct {
	file   string // "domain/agent/decide.go"
	target string // as written in the import
}

func (a arrow) String() string { return a.file + " imports " + a.target }

// room is the package of ours that the file is in, without the module: "domain/agent".
func (a arrow) room() string { return path.Dir(a.file) }

func (a arrow) fromTest() bool { return strings.HasSuffix(a.file, "_test.go") }

// rule is one sentence of the design. It looks at the files of applies and breaks where
// forbids says so.
type rule struct {
	sentence   string
	applies    func(arrow) bool
	forbids    func(target string) bool
	testsToo   bool
	exceptions []string // rooms
}

var rules = []rule{
	{
		sentence: "domain imports nothing of ours but domain",
		applies:  in("domain"), forbids: oursExcept("domain"),
	},
	{
		sentence: "domain does no I/O and knows no server, database or framework",
		applies:  in("domain"),
		forbids: anyOf("database/sql", "net", "net/http", "net/rpc", "net/smtp", "os", "os/exec", "io/ioutil",
			"log", "log/slog", "syscall", "math/rand", "math/rand/v2", "crypto/rand"),
	},
	{
		sentence: "domain uses few libraries, each a pure one",
		applies:  in("domain"),
		forbids: foreignExcept("github.com/go-json-experiment/json", "github.com/segmentio/ksuid", "github.com/netresearch/go-cron",
			"github.com/santhosh-tekuri/jsonschema/v6", "golang.org/x/text", "cel.dev/cel-go", "github.com/itchyny/gojq", "github.com/wI2L/jsondiff",
			"github.com/transparency-dev/formats/log", "github.com/transparency-dev/merkle", "golang.org/x/mod/sumdb/note"),
	},
	{
		sentence: "application imports nothing of ours but domain",
		applies:  in("application"), forbids: oursExcept("application", "domain"),
	},
	{
		sentence: "application knows no server, database or framework",
		applies:  in("application"),
		forbids: anyOf("database/sql", "net/http", "os/exec", "github.com/jmoiron/sqlx", "github.com/jackc/pgx/v5",
			"github.com/lib/pq", "modernc.org/sqlite", "github.com/ThreeDotsLabs", "github.com/valyala/fasthttp"),
	},
	{
		sentence: "ports import inwards, never adapters",
		applies:  in("ports"), forbids: ours("adapters", "migrations"),
	},
	{
		sentence: "adapters import inwards, never ports",
		applies:  in("adapters"), forbids: ours("ports"),
	},
	{
		sentence: "migrations imports nothing of ours",
		applies:  in("migrations"), forbids: oursExcept("migrations"),
	},
	{
		sentence: "sdk imports nothing of ours",
		applies:  in("sdk"), forbids: oursExcept("sdk"),
	},
	{
		sentence: "nothing imports cmd",
		applies:  outside("cmd"), forbids: ours("cmd"), testsToo: true,
		// It runs the service as the command does.
		exceptions: []string{"internal/testserver"},
	},
	{
		sentence: "only cmd imports fx",
		applies:  outside("cmd"), forbids: anyOf("go.uber.org/fx", "go.uber.org/dig"), testsToo: true,
	},
	{
		sentence: "only ports/httpapi, cmd and bench import fiber",
		applies:  outside("ports/httpapi", "cmd", "bench"), forbids: anyOf("github.com/gofiber"), testsToo: true,
	},
	{
		sentence: "only adapters and migrations speak SQL",
		applies:  outside("adapters", "migrations", "cmd", "internal", "bench", "e2e"),
		forbids: anyOf("database/sql", "github.com/jmoiron/sqlx", "github.com/jackc/pgx/v5", "github.com/lib/pq",
			"modernc.org/sqlite", "github.com/pressly/goose/v3"),
	},
	{
		sentence: "internal is for tests",
		applies:  outside("internal", "e2e", "bench"), forbids: ours("internal"),
		// Contract suites: tests that other packages' tests call.
		exceptions: []string{"adapters/eventstore/eventstoretest", "adapters/runner/runnertest"},
	},
}

func TestArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	content, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	require.Contains(t, string(content), "module "+module+"\n")
	arrows, err := readArrows(root)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(arrows, func(a arrow) bool { return under(a.room(), "domain") }), "the domain was read")
	for _, broken := range check(arrows) {
		t.Error(broken)
	}
}

// check gives a line for every arrow that breaks a rule.
func check(arrows []arrow) []string {
	var broken []string
	for _, rule := range rules {
		for _, a := range arrows {
			if a.fromTest() && !rule.testsToo || slices.Contains(rule.exceptions, a.room()) {
				continue
			}
			if rule.applies(a) && rule.forbids(a.target) {
				broken = append(broken, fmt.Sprintf("%s, but %s", rule.sentence, a))
			}
		}
	}
	return broken
}

// readArrows reads the imports of every Go file under root, whatever its build tags.
func readArrows(root string) ([]arrow, error) {
	var arrows []arrow
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != root && ignored(name, entry.Name()):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			target, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			arrows = append(arrows, arrow{file: filepath.ToSlash(relative), target: target})
		}
		return nil
	})
	return arrows, err
}

// ignored says whether the go command passes the directory over too, or it is another module.
func ignored(dir, name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules" {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func under(name, parent string) bool { return name == parent || strings.HasPrefix(name, parent+"/") }

func underAny(name string, parents []string) bool {
	return slices.ContainsFunc(parents, func(parent string) bool { return under(name, parent) })
}

func in(rooms ...string) func(arrow) bool {
	return func(a arrow) bool { return underAny(a.room(), rooms) }
}

func outside(rooms ...string) func(arrow) bool {
	return func(a arrow) bool { return !underAny(a.room(), rooms) }
}

// anyOf forbids a package of the standard library exactly, so that net/netip is not net, and
// a foreign one with all that is under it.
func anyOf(packages ...string) func(string) bool {
	return func(target string) bool {
		if foreign(target) {
			return underAny(target, packages)
		}
		return slices.Contains(packages, target)
	}
}

func ours(rooms ...string) func(string) bool {
	return func(target string) bool {
		room, isOurs := strings.CutPrefix(target, module+"/")
		return isOurs && underAny(room, rooms)
	}
}

func oursExcept(rooms ...string) func(string) bool {
	return func(target string) bool {
		room, isOurs := strings.CutPrefix(target, module+"/")
		return isOurs && !underAny(room, rooms)
	}
}

func foreignExcept(packages ...string) func(string) bool {
	return func(target string) bool { return foreign(target) && !underAny(target, packages) }
}

// foreign says whether the package is from another module: its first part is a host name.
func foreign(target string) bool {
	first, _, _ := strings.Cut(target, "/")
	return strings.Contains(first, ".")
}
