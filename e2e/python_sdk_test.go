package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	pythonSDKDir = "../sdk/python"
	scenariosDir = "../sdk/scenarios"
)

// pythonSDK is what the tests of the Python client library share.
type pythonSDK struct {
	tools string // an interpreter with what builds and checks the package
	bare  string // an interpreter with nothing but the package, as pip installed it
}

var madePythonSDK struct {
	sync.Mutex
	sdk *pythonSDK
	err error
}

// installedPythonSDK builds the package and installs it in an empty environment, once for all
// tests, beside the binary.
func installedPythonSDK(t testing.TB) *pythonSDK {
	t.Helper()
	madePythonSDK.Lock()
	defer madePythonSDK.Unlock()
	if madePythonSDK.sdk == nil && madePythonSDK.err == nil {
		madePythonSDK.sdk, madePythonSDK.err = makePythonSDK(filepath.Join(filepath.Dir(binary), "python-sdk"))
	}
	require.NoError(t, madePythonSDK.err)
	return madePythonSDK.sdk
}

func makePythonSDK(dir string) (*pythonSDK, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	sdk := &pythonSDK{tools: filepath.Join(dir, "tools", "bin", "python"), bare: filepath.Join(dir, "bare", "bin", "python")}
	built, more := filepath.Join(dir, "dist"), []string(nil)
	run := func(name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), more...)
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build and install the Python client library: %s %s: %w\n%s", name, strings.Join(args, " "), err, output)
		}
		return nil
	}
	if err := run("python3", "-c", "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 9))"); err != nil {
		return nil, fmt.Errorf("this test needs python3, 3.9 or newer, with venv; go tool task python installs it or says how: %w", err)
	}
	for _, step := range [][]string{
		{"python3", "-m", "venv", filepath.Join(dir, "tools")},
		{sdk.tools, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--requirement", filepath.Join(pythonSDKDir, "requirements-dev.txt")},
		// The wheel is built from the source distribution, so that this is known to be whole.
		{sdk.tools, "-m", "build", "--no-isolation", "--outdir", built, pythonSDKDir},
		{"python3", "-m", "venv", "--without-pip", filepath.Join(dir, "bare")},
	} {
		if err := run(step[0], step[1:]...); err != nil {
			return nil, err
		}
	}
	wheels, err := filepath.Glob(filepath.Join(built, "hooktrail-*-py3-none-any.whl"))
	if err != nil || len(wheels) != 1 {
		return nil, fmt.Errorf("the build gave these wheels: %v, %w", wheels, err)
	}
	pip, err := filepath.Glob(filepath.Join(dir, "tools", "lib", "python3*", "site-packages"))
	if err != nil || len(pip) != 1 {
		return nil, fmt.Errorf("the tools are in these places: %v, %w", pip, err)
	}
	// A pip of its own would take longer than all the rest. Without an index there is nothing
	// that the package could depend on.
	more = []string{"PYTHONPATH=" + pip[0]}
	return sdk, run(sdk.bare, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", wheels[0])
}

func absolute(t testing.TB, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	return path
}

// pythonSDKEnvironment is what the library takes its settings from.
func pythonSDKEnvironment(s *service) environment {
	return environment{"HOOKTRAIL_URL": s.base, "HOOKTRAIL_API_KEY": s.key, "PYTHONDONTWRITEBYTECODE": "1"}
}

// TestPythonSDKPackage runs the library's own tests on the installed package, and checks what
// it has to have beside code.
func TestPythonSDKPackage(t *testing.T) {
	t.Parallel()
	sdk := installedPythonSDK(t)
	source := absolute(t, pythonSDKDir)

	t.Run("its tests pass", func(t *testing.T) {
		t.Parallel()
		env := environment{"HOOKTRAIL_TEST_CERTIFICATE": newCertificate(t), "PYTHONDONTWRITEBYTECODE": "1"}
		ran := program(t, env, "", sdk.bare, "-W", "error::ResourceWarning", "-m", "unittest", "discover", "--start-directory", filepath.Join(source, "tests"))
		require.Zero(t, ran.code, tail(ran.stderr))
		require.Regexp(t, `Ran \d\d+ tests`, ran.stderr)
		require.NotContains(t, ran.stderr, "skipped")
	})
	t.Run("it is typed", func(t *testing.T) {
		t.Parallel()
		mypy := []string{"-m", "mypy", "--config-file", filepath.Join(source, "pyproject.toml"), "--python-executable", sdk.bare, "--cache-dir", t.TempDir()}
		ran := program(t, nil, "", sdk.tools, append(mypy, "--package", "hooktrail")...)
		require.Zero(t, ran.code, ran.stdout+ran.stderr)
		// As users see it: without py.typed, this would be an error.
		ran = program(t, nil, "", sdk.tools, append(mypy, filepath.Join(source, "tests", "typed.py"))...)
		require.Zero(t, ran.code, ran.stdout+ran.stderr)
	})
	t.Run("it is what was installed", func(t *testing.T) {
		t.Parallel()
		ran := program(t, nil, "import hooktrail, importlib.metadata as m\nprint(hooktrail.__file__, hooktrail.__version__, m.version('hooktrail'), m.metadata('hooktrail')['License-Expression'], m.requires('hooktrail'))",
			sdk.bare, "-")
		require.Zero(t, ran.code, ran.stderr)
		fields := strings.Fields(ran.stdout)
		require.Len(t, fields, 5, ran.stdout)
		require.True(t, strings.HasPrefix(fields[0], filepath.Dir(filepath.Dir(sdk.bare))), fields[0])
		require.Equal(t, fields[1], fields[2])
		require.Equal(t, []string{"Apache-2.0", "None"}, fields[3:])
	})
	t.Run("its sync client is made of the asynchronous one", func(t *testing.T) {
		t.Parallel()
		ran := program(t, nil, "", sdk.bare, filepath.Join(source, "make_sync.py"), "--check")
		require.Zero(t, ran.code, ran.stderr)
	})
	t.Run("its license is ours", func(t *testing.T) {
		t.Parallel()
		ours, err := os.ReadFile("../LICENSE")
		require.NoError(t, err)
		its, err := os.ReadFile(filepath.Join(source, "LICENSE"))
		require.NoError(t, err)
		require.Equal(t, string(ours), string(its))
	})
}

// newCertificate makes a directory with cert.pem and key.pem for localhost.
func newCertificate(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: certificate},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: private},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	return dir
}

// TestPythonSDKScenarios plays what all client libraries do, with both clients of this one.
func TestPythonSDKScenarios(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		sdk := installedPythonSDK(t)
		service := s.serve(t, noLimit)
		service.awaitCheckpoint()
		files, err := filepath.Glob(filepath.Join(absolute(t, scenariosDir), "*.json"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		ran := program(t, pythonSDKEnvironment(service), "", sdk.bare,
			append([]string{"-W", "error", filepath.Join(absolute(t, pythonSDKDir), "tests", "scenarios.py")}, files...)...)
		require.Zero(t, ran.code, ran.stdout+ran.stderr)
		require.Regexp(t, `(?m)^ok +Hooktrail: .*\n`, ran.stdout)
		require.Regexp(t, `(?m)^ok +AsyncHooktrail: .*\n`, ran.stdout)
		require.NotContains(t, service.stderr.String(), "level=ERROR")
		service.stop()
	})
}

// TestPagePythonSDKSnippets runs the page's snippets of the Python SDK as they stand.
func TestPagePythonSDKSnippets(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		sdk := installedPythonSDK(t)
		service := s.serve(t, environment{"HOOKTRAIL_DEFAULT_RUNNER": "echo"})
		agent := service.newAgent(`{"name": "reviewer"}`)
		run := func(code string) string {
			t.Helper()
			ran := program(t, pythonSDKEnvironment(service), "from hooktrail import Hooktrail\nclient = Hooktrail()\n"+code, sdk.bare, "-")
			require.Zero(t, ran.code, ran.stderr)
			return ran.stdout
		}

		printed := run(strings.ReplaceAll(snippet(t, "python_create_trigger.py", "", ""), "your-agent-id", agent.ID))
		var id, token, secret string
		_, err := fmt.Sscanf(printed, "Trigger ID: %s\nToken: %s\nSecret: %s\n", &id, &token, &secret)
		require.NoError(t, err, printed)
		const body = `{"message": "Hello"}`
		list := snippet(t, "python_list_triggers.py", "", "")
		head := "GitHub PR Review (active) - Agent: " + agent.ID + "\n Token prefix: " + token[:10] + "...\n Has secret: True\n Last used: "
		require.Equal(t, head+"Never\n", run(list))
		execution := service.accepted(token, body, "X-Webhook-Signature", sign(secret, body))
		require.JSONEq(t, body, string(service.awaitExecution(execution, "completed").Output))
		eventually(t, func() bool {
			return read[triggerData](t, service.get("/api/v1/webhook-triggers/"+id)).LastUsedAt != ""
		}, "last_used_at does not appear")
		require.Regexp(t, `(?s)^GitHub PR Review \(active\).* Last used: 2\d{3}-\d\d-\d\dT[\d:.]+Z\n$`, run(list))

		deactivate, reactivate, found := strings.Cut(strings.ReplaceAll(snippet(t, "python_activation.py", "", ""), "trigger-id", id), "# Reactivate")
		require.True(t, found)
		run(deactivate)
		require.Equal(t, http.StatusForbidden, service.fire(token, body, "X-Webhook-Signature", sign(secret, body)).status)
		require.Contains(t, run(list), "GitHub PR Review (inactive)")
		run(reactivate)
		service.accepted(token, body, "X-Webhook-Signature", sign(secret, body))

		require.Empty(t, run(strings.ReplaceAll(snippet(t, "python_delete_trigger.py", "", ""), "trigger-id", id)))
		require.Equal(t, http.StatusUnauthorized, service.fire(token, body, "X-Webhook-Signature", sign(secret, body)).status)
		require.Empty(t, run(list))
		service.stop()
	})
}
