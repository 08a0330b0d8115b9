package architecture

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryRuleCanBreak writes a module with one wrong arrow at a time: a check that
// never fails would hold nothing.
func TestEveryRuleCanBreak(t *testing.T) {
	cases := []struct{ file, target, sentence string }{
		{"domain/trigger/trigger.go", "hooktrail/application", "domain imports nothing of ours but domain"},
		{"domain/trigger/trigger.go", "hooktrail/domainish", "domain imports nothing of ours but domain"},
		{"domain/trigger/trigger.go", "net/http", "domain does no I/O and knows no server, database or framework"},
		{"domain/trigger/trigger.go", "math/rand/v2", "domain does no I/O and knows no server, database or framework"},
		{"domain/token/token.go", "github.com/some/library", "domain uses few libraries, each a pure one"},
		{"application/change.go", "hooktrail/adapters/eventstore", "application imports nothing of ours but domain"},
		{"application/change.go", "hooktrail/migrations", "application imports nothing of ours but domain"},
		{"application/change.go", "github.com/ThreeDotsLabs/watermill/message", "application knows no server, database or framework"},
		{"ports/httpapi/server.go", "hooktrail/adapters/readmodel", "ports import inwards, never adapters"},
		{"adapters/runner/http.go", "hooktrail/ports/httpapi", "adapters import inwards, never ports"},
		{"migrations/migrations.go", "hooktrail/adapters/database", "migrations imports nothing of ours"},
		{"sdk/go/client.go", "hooktrail/domain/trigger", "sdk imports nothing of ours"},
		{"e2e/serve_test.go", "hooktrail/cmd/hooktrail/config", "nothing imports cmd"},
		{"ports/messages/router.go", "go.uber.org/fx", "only cmd imports fx"},
		{"adapters/eventstore/store_test.go", "go.uber.org/fx/fxtest", "only cmd imports fx"},
		{"ports/webui/page.go", "github.com/gofiber/fiber/v2", "only ports/httpapi, cmd and bench import fiber"},
		{"ports/httpapix/page.go", "github.com/gofiber/fiber/v2/middleware/limiter", "only ports/httpapi, cmd and bench import fiber"},
		{"ports/schedule/lease.go", "database/sql", "only adapters and migrations speak SQL"},
		{"adapters/eventstore/store.go", "hooktrail/internal/pgtest", "internal is for tests"},
	}
	for _, c := range cases {
		t.Run(c.sentence+"/"+c.file, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, c.file, c.target)
			arrows, err := readArrows(root)
			require.NoError(t, err)
			require.Contains(t, check(arrows), c.sentence+", but "+c.file+" imports "+c.target)
		})
	}
	for _, rule := range rules {
		var sentences []string
		for _, c := range cases {
			sentences = append(sentences, c.sentence)
		}
		require.Contains(t, sentences, rule.sentence, "a rule without a case that breaks it")
	}
}

func TestGoodArrows(t *testing.T) {
	root := t.TempDir()
	for file, target := range map[string]string{
		"domain/trigger/trigger.go":                      "hooktrail/domain/eventlog",
		"domain/trigger/address.go":                      "net/netip",
		"domain/trigger/trigger_test.go":                 "pgregory.net/rapid",
		"application/change.go":                          "hooktrail/domain/trigger",
		"application/change_test.go":                     "hooktrail/adapters/eventstore",
		"ports/httpapi/server.go":                        "github.com/gofiber/fiber/v2",
		"ports/httpapi/hooks.go":                         "hooktrail/application",
		"ports/httpapi/hooks_test.go":                    "hooktrail/adapters/database",
		"adapters/eventstore/store.go":                   "hooktrail/application",
		"adapters/eventstore/store_test.go":              "hooktrail/internal/pgtest",
		"adapters/eventstore/eventstoretest/contract.go": "hooktrail/internal/pgtest",
		"cmd/hooktrail/serve.go":                         "go.uber.org/fx",
		"cmd/hooktrail/main.go":                          "hooktrail/ports/httpapi",
		"tools/lint/go.mod":                              "", // another module's files are not ours
		"tools/lint/lint.go":                             "hooktrail/cmd/hooktrail",
		"domain/testdata/broken.go":                      "net/http",
	} {
		write(t, root, file, target)
	}
	arrows, err := readArrows(root)
	require.NoError(t, err)
	require.Len(t, arrows, 13)
	require.Empty(t, check(arrows))
}

func TestUnreadableSourceIsAnError(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "broken.go"), []byte("pakcage broken"), 0o600))
	_, err := readArrows(root)
	require.Error(t, err)
}

func write(t *testing.T, root, file, target string) {
	t.Helper()
	name := filepath.Join(root, filepath.FromSlash(file))
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte("package sample\n\nimport _ \""+target+"\"\n"), 0o600))
}
