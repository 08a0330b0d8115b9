package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

const contractDir = "testdata/contract"

// schemathesis installs the generator of requests once for all tests, beside the binary, and
// gives its path.
var schemathesis = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	python3, err := exec.LookPath("python3")
	if err != nil {
		return "", errors.New("this test needs python3 3.10 or newer (Debian and Ubuntu: apt-get install python3 python3-venv) and found none on the PATH")
	}
	dir := filepath.Join(filepath.Dir(binary), "schemathesis")
	for _, step := range [][]string{
		{python3, "-m", "venv", dir},
		{filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--requirement", filepath.Join(contractDir, "requirements.txt")},
	} {
		if output, err := exec.CommandContext(ctx, step[0], step[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("this test needs Schemathesis from PyPI: %v: %w\n%s", step, err, output)
		}
	}
	return filepath.Join(dir, "bin", "schemathesis"), nil
})

// leftOut names the operations that are others under a second path, and the one whose answer has no
// end.
const leftOut = "Alias$|ByShortPath$|^streamEvents$"

var operationsLeftOut = regexp.MustCompile(leftOut + "|^getContract$") // Schemathesis leaves out where it read the document

// TestGeneratedRequests has requests made from the contract, those it describes and those it
// does not, and holds the answers against it: none is a 5xx, and none has a status, a media
// type, a header or a body that the contract does not promise.
func TestGeneratedRequests(t *testing.T) {
	config, err := filepath.Abs(contractDir)
	require.NoError(t, err)
	eachStore(t, func(t *testing.T, s *store) {
		tool, err := schemathesis()
		require.NoError(t, err)
		service := s.serve(t, noLimit)
		me := read[struct {
			APIKey struct{ ID string } `json:"api_key"`
		}](t, service.get("/api/v1/me"))
		env := environment{
			"HOOKTRAIL_API_KEY": s.key, "HOOKTRAIL_OWN_KEY_ID": me.APIKey.ID, "HOOKTRAIL_TRIGGER_TOKEN": service.echoTrigger().Token,
			"PYTHONPATH": config, "PYTHONPYCACHEPREFIX": filepath.Join(filepath.Dir(tool), "compiled"), "NO_PROXY": "*",
		}
		runs := []string{"examples,fuzzing"}
		if s.dialect == onPostgres {
			runs = append(runs, "coverage") // of bounds and kinds of values, where the stores hardly differ; it takes the longest
		}
		operations := strconv.Itoa(countOperations(t, &service.client))
		for _, phases := range runs {
			ran := program(t, env, "", tool, "--config-file", filepath.Join(config, "schemathesis.toml"), "run", service.base+"/openapi.yaml",
				"--no-color", "--phases", phases, "--exclude-operation-id-regex", leftOut)
			require.Zero(t, ran.code, "%s\n%s", ran.stdout, ran.stderr)
			tested := regexp.MustCompile(`Tested: (\d+)`).FindStringSubmatch(ran.stdout)
			require.NotNil(t, tested, ran.stdout)
			require.Equal(t, operations, tested[1], "the operations that were tested")
			cases := regexp.MustCompile(`(\d+) generated, (\d+) passed`).FindStringSubmatch(ran.stdout)
			require.NotNil(t, cases, ran.stdout)
			require.GreaterOrEqual(t, len(cases[1]), 3, "hundreds of requests were generated: %s", cases[0])
			t.Logf("%s: %s", phases, cases[0])
		}
		require.Empty(t, service.logged(`"level":"ERROR"`))
		service.stop()
	})
}

func countOperations(t testing.TB, c *client) (count int) {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromData([]byte(c.send(http.MethodGet, "/openapi.yaml", "").body))
	require.NoError(t, err)
	for _, item := range document.Paths.Map() {
		for _, operation := range item.Operations() {
			if !operationsLeftOut.MatchString(operation.OperationID) {
				count++
			}
		}
	}
	return count
}
