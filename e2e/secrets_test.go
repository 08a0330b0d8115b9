package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// planted is a token that a sender puts into a payload, which is the sender's own to keep or
// to hide: the searches below must find it where payloads are, and nowhere else.
const planted = "wht_plantedInAPayload0123456789abcdefghijk"

// TestSecretsAreNowhere uses every kind of secret in right and wrong ways and then searches all
// that is kept, logged and shown.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		server := ownPostgres(t)
		s := postgresStore(server.DSN("postgres"))
		searchForSecrets(t, s, func(t *testing.T) map[string][]byte {
			places := rowsOf(t, s.env["HOOKTRAIL_DATABASE_URL"])
			for name, content := range filesUnder(t, dataDirOf(t, s.env["HOOKTRAIL_DATABASE_URL"])) {
				places["database file "+name] = content
			}
			log, err := os.ReadFile(server.LogFile())
			require.NoError(t, err)
			places["log of the database"] = log
			return places
		})
	})
	t.Run(onSQLite, func(t *testing.T) {
		t.Parallel()
		s := sqliteStore(t)
		searchForSecrets(t, s, func(t *testing.T) map[string][]byte {
			places := map[string][]byte{}
			for name, content := range filesUnder(t, s.env["HOOKTRAIL_DATA_DIR"]) {
				places["database file "+name] = content
			}
			require.Contains(t, places, "database file hooktrail.db-wal", "the write-ahead log")
			return places
		})
	})
}

func searchForSecrets(t *testing.T, s *store, kept func(t *testing.T) map[string][]byte) {
	const apiKey, ownSecret = "htk_broughtByTheOperator0123456789", "a secret of one's own, 0123456789"
	service := s.serve(t, noLimit.with(environment{"HOOKTRAIL_LOG_LEVEL": "debug", "HOOKTRAIL_API_KEY": apiKey}))
	c := &service.client
	needles := []string{apiKey, ownSecret, s.env["HOOKTRAIL_MASTER_KEY"]}
	needle := func(secret string) string {
		require.Greater(t, len(secret), 20)
		needles = append(needles, secret)
		return secret
	}

	// Every answer is searched but those that are the one to show a secret.
	shown := map[string][]byte{}
	say := func(method, path, body string, headers ...string) answer {
		t.Helper()
		a := c.send(method, path, body, headers...)
		shown[fmt.Sprintf("answer %d to %s #%d", a.status, method, len(shown))] = fmt.Appendf(nil, "%s\n%v", a.body, a.header)
		return a
	}

	echo := c.newAgent(`{"name": "echo", "runner": {"kind": "echo"}}`)
	web := c.newAgent(`{"name": "web", "runner": {"kind": "http", "url": "http://127.0.0.1:1/?token=of-the-agent"}}`)
	needle(web.SigningSecret)
	signed := c.newTrigger(echo.ID, `, "generate_secret": true`)
	needle(signed.Secret)
	own := c.newTrigger(web.ID, fmt.Sprintf(`, "secret": %q`, ownSecret))
	plain := c.newTrigger(echo.ID, "")
	for _, made := range []triggerData{signed, own, plain} {
		needle(made.Token)
	}
	key := needle(read[struct{ Key string }](t, c.api(http.StatusCreated, http.MethodPost, "/api/v1/api-keys", `{"name": "reader", "scopes": ["events:read"]}`)).Key)

	body := fmt.Sprintf(`{"note": %q}`, planted)
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	call := func(status int, token string, headers ...string) answer {
		t.Helper()
		a := say(http.MethodPost, hookPath, body, append(bearer(token), headers...)...)
		require.Equal(t, status, a.status, a.body)
		return a
	}
	last := call(http.StatusAccepted, plain.Token)
	call(http.StatusAccepted, signed.Token, "X-Webhook-Signature", sign(signed.Secret, body))
	call(http.StatusAccepted, own.Token, "X-Hub-Signature-256", sign(ownSecret, body), "Idempotency-Key", "k")
	call(http.StatusUnauthorized, signed.Token, "X-Webhook-Signature", signed.Secret)
	call(http.StatusUnauthorized, needle(plain.Token[:len(plain.Token)-1]+"!"))
	call(http.StatusUnauthorized, key)
	for _, token := range []string{plain.Token, needle("wht_" + strings.Repeat("wrongToken", 4)), needle(strings.Replace(plain.Token, "wht_", "wht_0", 1))} {
		for _, path := range []string{
			"/api/v1/hooks/", "/hooks/", "/nowhere/", "/api/v1/hooks/x/", "/api/v1/webhook/trigger/", "/api/v1/webhook-triggers/", "/docs/", "/hooks//",
			"/api/v1/webhook/trigger?token=", "/api/v1/events?stream=trigger-", "/api/v1/hooks/%2e%2e/", "/API/V1/HOOKS/",
		} {
			for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
				say(method, path+token, body)
			}
		}
		say(http.MethodPost, "/api/v1/hooks/"+token, `{"broken": `)
		say(http.MethodPost, "/api/v1/hooks/"+token, strings.Repeat("x", 2<<20))
		say(http.MethodGet, "/api/v1/me", "", "X-API-Key", token)
		say(http.MethodGet, "/api/v1/me", "", append(bearer(token), "Traceparent", token)...)
	}
	require.Equal(t, http.StatusAccepted, say(http.MethodPost, "/hooks/"+plain.Token, body).status)
	require.Equal(t, http.StatusAccepted, say(http.MethodPost, "/api/v1/hooks/"+plain.Token+"/?a=b", body).status)
	require.Equal(t, http.StatusForbidden, say(http.MethodGet, "/api/v1/api-keys", "", "X-API-Key", key).status)
	require.Equal(t, http.StatusNotFound, say(http.MethodGet, "/api/v1/agents/"+apiKey, "", "X-API-Key", apiKey).status)

	path := "/api/v1/webhook-triggers/"
	needle(read[triggerData](t, c.api(http.StatusOK, http.MethodPost, path+plain.ID+"/rotate-token", `{}`)).Token)
	needle(read[triggerData](t, c.api(http.StatusOK, http.MethodPost, path+signed.ID+"/rotate-secret", `{"grace_period": 0}`)).Secret)
	call(http.StatusUnauthorized, signed.Token, "X-Webhook-Signature", sign(signed.Secret, body))
	id := read[executionData](t, last).ID
	c.awaitExecution(id, "completed")
	eventually(t, func() bool { return c.total("/api/v1/executions?status=running") == 0 }, "executions do not end")

	for _, list := range []string{
		"/api/v1/webhook-triggers", "/api/v1/triggers", "/api/v1/agents", "/api/v1/api-keys", "/api/v1/me", "/api/v1/events?limit=100", "/api/v1/events?after=0&limit=100",
		path + signed.ID, path + plain.ID, path + plain.ID + "/events", path + plain.ID + "?as_of=8", "/api/v1/agents/" + web.ID, "/metrics",
	} {
		shown[list] = []byte(c.get(list).body)
	}
	show(t, shown, "stdout", service.stdout.String())
	show(t, shown, "the log", service.stderr.String())
	require.Contains(t, service.stderr.String(), `"level":"DEBUG"`)
	require.Contains(t, service.stderr.String(), "/api/v1/hooks/:token")

	payloads := map[string][]byte{
		"executions": []byte(c.get("/api/v1/executions?limit=100").body),
		"execution":  []byte(c.get("/api/v1/executions/" + id).body),
	}
	files := kept(t)
	for where, content := range shown {
		require.Empty(t, found(content, append(needles, planted)), where)
	}
	for where, content := range payloads {
		require.NotEmpty(t, found(content, []string{planted}), "the search does not find what is there: %s", where)
		require.Empty(t, found(content, needles), where)
	}
	held := 0
	for where, content := range files {
		require.Empty(t, found(content, needles), where)
		if len(found(content, []string{planted})) > 0 {
			held++
		}
	}
	require.Positive(t, held, "the search does not find the payloads in the database")
	if s.dialect == onPostgres {
		require.NotEmpty(t, found(files["rows of events"], []string{planted}))
		require.True(t, slices.ContainsFunc(inDatabaseFiles(files), func(content []byte) bool { return len(found(content, []string{planted})) > 0 }))
	}
	service.stop()
}

func show(t testing.TB, shown map[string][]byte, where, text string) {
	t.Helper()
	require.NotEmpty(t, text, where)
	shown[where] = []byte(text)
}

// found gives the secrets that are in a content, as they are or encoded.
func found(content []byte, secrets []string) []string {
	var there []string
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if bytes.Contains(content, []byte(strings.TrimRight(form, "="))) {
				there = append(there, secret)
			}
		}
	}
	return there
}

// filesUnder reads all files below a directory, but the one whose purpose is to hold a secret.
func filesUnder(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "master.key" {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = content
		return err
	}))
	return files
}

func inDatabaseFiles(places map[string][]byte) [][]byte {
	var contents [][]byte
	for where, content := range places {
		if strings.HasPrefix(where, "database file base/") {
			contents = append(contents, content)
		}
	}
	return contents
}

// rowsOf reads every table as text.
func rowsOf(t testing.TB, url string) map[string][]byte {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(tables), 10)
	places := map[string][]byte{}
	for _, table := range tables {
		var copied bytes.Buffer
		_, err := conn.PgConn().CopyTo(t.Context(), &copied, "COPY "+pgx.Identifier{table}.Sanitize()+" TO STDOUT")
		require.NoError(t, err)
		places["rows of "+table] = copied.Bytes()
	}
	return places
}

// dataDirOf writes all changes to the server's files and gives their directory.
func dataDirOf(t testing.TB, url string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "CHECKPOINT")
	require.NoError(t, err)
	var dir string
	require.NoError(t, conn.QueryRow(t.Context(), "SHOW data_directory").Scan(&dir))
	return dir
}
