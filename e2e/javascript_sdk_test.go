package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// javascript is the JavaScript SDK as it is built and as it is installed, made once for all tests.
var javascript struct {
	sync.Mutex
	library *javascriptLibrary
	err     error
}

type javascriptLibrary struct {
	source    string // a copy of sdk/javascript with what its development needs, built
	installed string // a directory with nothing but the package, as users have it
}

// javascriptSDK builds the SDK's package and installs it into an empty directory, beside the binary.
func javascriptSDK(t testing.TB) *javascriptLibrary {
	t.Helper()
	javascript.Lock()
	defer javascript.Unlock()
	if javascript.library == nil && javascript.err == nil {
		javascript.library, javascript.err = makeJavaScriptSDK(filepath.Join(filepath.Dir(binary), "javascript"))
	}
	require.NoError(t, javascript.err)
	return javascript.library
}

func makeJavaScriptSDK(dir string) (*javascriptLibrary, error) {
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			return nil, fmt.Errorf("this test needs Node.js 18 or newer with npm, and found no %s on the PATH (Debian and Ubuntu: apt-get install nodejs npm)", name)
		}
	}
	library := &javascriptLibrary{source: filepath.Join(dir, "sdk", "javascript"), installed: filepath.Join(dir, "installed")}
	// A copy, so that the checkout is left as it is, and what lies about in it does not count.
	for _, part := range []string{"javascript/src", "javascript/test", "vectors"} {
		if err := os.CopyFS(filepath.Join(dir, "sdk", part), os.DirFS(filepath.Join("../sdk", part))); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{".npmrc", "README.md", "package.json", "package-lock.json", "tsconfig.json", "tsconfig.cjs.json"} {
		if err := copyFile(filepath.Join("../sdk/javascript", name), filepath.Join(library.source, name)); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(library.installed, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	quiet := []string{"--no-audit", "--no-fund", "--no-update-notifier"}
	for _, args := range [][]string{{"ci"}, {"pack", "--pack-destination", dir}, {"install", "--prefix", library.installed, "TARBALL"}} {
		if args[0] == "install" {
			packed, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
			if err != nil || len(packed) != 1 {
				return nil, fmt.Errorf("npm pack made %d packages, not one: %w", len(packed), err)
			}
			args[len(args)-1] = packed[0]
		}
		cmd := exec.CommandContext(ctx, "npm", append(args, quiet...)...)
		cmd.Dir = library.source
		if output, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("npm %s: %w\n%s", strings.Join(args, " "), err, output)
		}
	}
	for from, to := range map[string]string{"play.mjs": "play.mjs", "consumer.ts": "consumer.mts", "consumer.tsconfig.json": "tsconfig.json"} {
		if err := copyFile(filepath.Join(library.source, "test", from), filepath.Join(library.installed, to)); err != nil {
			return nil, err
		}
	}
	return library, copyFile(filepath.Join(library.installed, "consumer.mts"), filepath.Join(library.installed, "consumer.cts"))
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}

// TestJavaScriptScenarios plays the shared scenarios with the installed package.
func TestJavaScriptScenarios(t *testing.T) {
	scenarios, err := filepath.Abs("../sdk/scenarios")
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(scenarios, "*.json"))
	require.NoError(t, err)
	count := 0
	for _, file := range files {
		count += len(readScenarios(t, file))
	}
	require.NotZero(t, count)
	eachStore(t, func(t *testing.T, s *store) {
		library := javascriptSDK(t)
		service := s.serve(t, noLimit)
		service.awaitCheckpoint()
		for _, how := range []string{"esm", "cjs"} {
			ran := program(t, environment{"HOOKTRAIL_URL": service.base, "HOOKTRAIL_API_KEY": s.key}, "",
				"node", filepath.Join(library.installed, "play.mjs"), how, scenarios)
			require.Zero(t, ran.code, "%s%s", ran.stdout, ran.stderr)
			require.Contains(t, ran.stdout, fmt.Sprintf("%s: %d scenarios, 0 failed", how, count))
		}
		service.stop()
	})
}

// TestPageJavaScriptSnippet runs the page's snippet, with the client before it that the page leaves out.
func TestPageJavaScriptSnippet(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		library := javascriptSDK(t)
		service := s.serve(t, environment{"HOOKTRAIL_DEFAULT_RUNNER": "echo"})
		agent := service.newAgent(`{"name": "reviewer"}`)
		snippet := strings.ReplaceAll(snippet(t, "create_trigger.js", "", ""), "your-agent-id", agent.ID)
		const client = "const client = new Hooktrail({ apiKey: process.env.KEY, baseUrl: process.env.SERVER })\n"
		for kind, code := range map[string]string{
			"module":   "import { Hooktrail } from '@hooktrail/sdk'\n" + client + snippet,
			"commonjs": "const { Hooktrail } = require('@hooktrail/sdk')\n" + client + "async function main() {\n" + snippet + "}\nmain()",
		} {
			dir := filepath.Join(library.installed, kind+"-"+s.dialect)
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "package.json"), fmt.Appendf(nil, `{"type": %q}`, kind), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "snippet.js"), []byte(code), 0o600))
			ran := program(t, environment{"SERVER": service.base, "KEY": s.key}, "", "node", filepath.Join(dir, "snippet.js"))
			require.Zero(t, ran.code, ran.stderr)
			require.Regexp(t, `^Token: wht_\w+\nSecret: \S{16,}\n$`, ran.stdout)
			token, secret, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(ran.stdout, "Token: ")), "\nSecret: ")

			const body = `{"message": "Review this PR", "pr_number": 42}`
			execution := service.awaitExecution(service.accepted(token, body, "X-Webhook-Signature", sign(secret, body)), "completed")
			require.JSONEq(t, body, string(execution.Output))
			require.Equal(t, http.StatusUnauthorized, service.fire(token, body).status, "a call without a signature")
		}
		service.stop()
	})
}

// TestJavaScriptPackage looks at what users get.
func TestJavaScriptPackage(t *testing.T) {
	t.Parallel()
	library := javascriptSDK(t)
	modules, err := filepath.Glob(filepath.Join(library.installed, "node_modules", "[^.]*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(library.installed, "node_modules", "@hooktrail")}, modules, "it depends on nothing")

	var packed []string
	root := filepath.Join(library.installed, "node_modules", "@hooktrail", "sdk")
	require.NoError(t, fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		if !entry.IsDir() && !strings.HasPrefix(path, "dist/") {
			packed = append(packed, path)
		}
		return err
	}))
	require.ElementsMatch(t, []string{"README.md", "package.json"}, packed)

	// The examples of the README, each by itself; the quickstart is run below.
	const given = "export {}\ndeclare const client: import('@hooktrail/sdk').Hooktrail\n"
	examples := readmeExamples(t)
	require.Greater(t, len(examples), 5)
	for i, example := range examples {
		if !strings.Contains(example, "const client = ") {
			example = given + example
		}
		require.NoError(t, os.WriteFile(filepath.Join(library.installed, fmt.Sprintf("example-%d.mts", i)), []byte(example), 0o600))
	}
	t.Run("types", func(t *testing.T) {
		ran := program(t, nil, "", filepath.Join(library.source, "node_modules", ".bin", "tsc"), "--project", library.installed)
		require.Zero(t, ran.code, ran.stdout+ran.stderr)
	})
}

// TestJavaScriptQuickstart runs the first example of the README.
func TestJavaScriptQuickstart(t *testing.T) {
	t.Parallel()
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		library, store := javascriptSDK(t), sqliteStore(t)
		service := store.serve(t, nil)
		path := filepath.Join(library.installed, "quickstart.mjs")
		require.NoError(t, os.WriteFile(path, []byte(readmeExamples(t)[0]), 0o600))
		ran := program(t, environment{"HOOKTRAIL_URL": service.base, "HOOKTRAIL_API_KEY": store.key}, "", "node", path)
		require.Equal(t, result{stdout: "completed\n"}, ran)
		service.stop()
	})
}

func readmeExamples(t testing.TB) []string {
	t.Helper()
	content, err := os.ReadFile("../sdk/javascript/README.md")
	require.NoError(t, err)
	var examples []string
	for _, block := range regexp.MustCompile("(?s)```js\n(.*?)```").FindAllStringSubmatch(string(content), -1) {
		examples = append(examples, block[1])
	}
	require.NotEmpty(t, examples)
	return examples
}

// TestJavaScriptUnits runs the SDK's own tests.
func TestJavaScriptUnits(t *testing.T) {
	t.Parallel()
	ran := program(t, nil, "", "npm", "test", "--silent", "--prefix", javascriptSDK(t).source)
	require.Zero(t, ran.code, "%s", tail(ran.stdout+ran.stderr))
	require.Regexp(t, `(?m)pass [1-9]\d+$`, ran.stdout)
}

// TestJavaScriptLock keeps the names of registries out of what is committed.
func TestJavaScriptLock(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../sdk/javascript/package-lock.json")
	require.NoError(t, err)
	var lock struct {
		Packages map[string]struct {
			Version, Resolved, Integrity string
		}
	}
	require.NoError(t, json.Unmarshal(content, &lock))
	require.NotEmpty(t, lock.Packages)
	for name, locked := range lock.Packages {
		require.Empty(t, locked.Resolved, name)
		require.True(t, name == "" || locked.Version != "" && locked.Integrity != "", name)
	}
}
