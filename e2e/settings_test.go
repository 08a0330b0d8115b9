package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/internal/pgtest"
)

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// TestWrongSettings checks that each stops the start with a message that names it.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	secret := newMasterKey()
	for name, test := range map[string]struct {
		env  environment
		args []string
		says string
	}{
		"unknown variable":      {environment{"HOOKTRAIL_RATELIMIT": "0"}, nil, "HOOKTRAIL_RATELIMIT"},
		"unknown flag":          {nil, []string{"--ratelimit=0"}, "--ratelimit"},
		"unknown argument":      {nil, []string{"everything"}, "everything"},
		"limit no number":       {environment{"HOOKTRAIL_RATE_LIMIT": "many"}, nil, "rate-limit"},
		"limit negative":        {environment{"HOOKTRAIL_RATE_LIMIT": "-1"}, nil, "HOOKTRAIL_RATE_LIMIT"},
		"address":               {environment{"HOOKTRAIL_ADDR": "8080"}, nil, "HOOKTRAIL_ADDR"},
		"address elsewhere":     {environment{"HOOKTRAIL_ADDR": "192.0.2.1:1"}, nil, "HOOKTRAIL_ADDR"},
		"public URL":            {environment{"HOOKTRAIL_PUBLIC_URL": "hooks.example.com"}, nil, "HOOKTRAIL_PUBLIC_URL"},
		"proxies":               {environment{"HOOKTRAIL_TRUSTED_PROXIES": "10.0.0.0/8,somewhere"}, nil, "HOOKTRAIL_TRUSTED_PROXIES"},
		"private agents":        {environment{"HOOKTRAIL_ALLOW_PRIVATE_AGENTS": "10.0.0.0/33"}, nil, "HOOKTRAIL_ALLOW_PRIVATE_AGENTS"},
		"command runner":        {environment{"HOOKTRAIL_ALLOW_COMMAND_RUNNER": "perhaps"}, nil, "allow-command-runner"},
		"default runner":        {environment{"HOOKTRAIL_DEFAULT_RUNNER": "rocket"}, nil, "default-runner"},
		"roles":                 {environment{"HOOKTRAIL_ROLES": "api,boss"}, nil, "HOOKTRAIL_ROLES"},
		"log level":             {environment{"HOOKTRAIL_LOG_LEVEL": "loud"}, nil, "log-level"},
		"log format":            {environment{"HOOKTRAIL_LOG_FORMAT": "xml"}, nil, "log-format"},
		"retention":             {environment{"HOOKTRAIL_PAYLOAD_RETENTION": "1ms"}, nil, "HOOKTRAIL_PAYLOAD_RETENTION"},
		"lease":                 {environment{"HOOKTRAIL_WORKER_LEASE": "1ms"}, nil, "HOOKTRAIL_WORKER_LEASE"},
		"lease without a unit":  {environment{"HOOKTRAIL_WORKER_LEASE": "15"}, nil, "worker-lease"},
		"concurrency":           {environment{"HOOKTRAIL_WORKER_CONCURRENCY": "0"}, nil, "HOOKTRAIL_WORKER_CONCURRENCY"},
		"queue":                 {environment{"HOOKTRAIL_QUEUE_LENGTH": "0"}, nil, "HOOKTRAIL_QUEUE_LENGTH"},
		"body limit":            {environment{"HOOKTRAIL_MAX_BODY_BYTES": "99999999"}, nil, "HOOKTRAIL_MAX_BODY_BYTES"},
		"shutdown":              {environment{"HOOKTRAIL_SHUTDOWN_TIMEOUT": "-1s"}, nil, "HOOKTRAIL_SHUTDOWN_TIMEOUT"},
		"API key":               {environment{"HOOKTRAIL_API_KEY": "short"}, nil, "HOOKTRAIL_API_KEY"},
		"master key":            {environment{"HOOKTRAIL_MASTER_KEY": secret[:20]}, nil, "HOOKTRAIL_MASTER_KEY"},
		"database URL":          {environment{"HOOKTRAIL_DATABASE_URL": "mysql://x", "HOOKTRAIL_MASTER_KEY": secret}, nil, "HOOKTRAIL_DATABASE_URL"},
		"NATS URL":              {environment{"HOOKTRAIL_NATS_URL": "127.0.0.1:4222"}, nil, "HOOKTRAIL_NATS_URL"},
		"NATS subject":          {environment{"HOOKTRAIL_NATS_URL": "nats://127.0.0.1:1", "HOOKTRAIL_NATS_SUBJECT": "a.>"}, nil, "HOOKTRAIL_NATS_SUBJECT"},
		"NATS stream":           {environment{"HOOKTRAIL_NATS_URL": "nats://127.0.0.1:1", "HOOKTRAIL_NATS_STREAM": "a.b"}, nil, "HOOKTRAIL_NATS_STREAM"},
		"NATS credentials":      {environment{"HOOKTRAIL_NATS_URL": "nats://127.0.0.1:1", "HOOKTRAIL_NATS_CREDENTIALS": "/nowhere/u.creds"}, nil, "HOOKTRAIL_NATS_CREDENTIALS"},
		"Kafka brokers":         {environment{"HOOKTRAIL_KAFKA_BROKERS": "127.0.0.1:1,elsewhere"}, nil, "HOOKTRAIL_KAFKA_BROKERS"},
		"Kafka topic":           {environment{"HOOKTRAIL_KAFKA_BROKERS": "127.0.0.1:1", "HOOKTRAIL_KAFKA_TOPIC": "a b"}, nil, "HOOKTRAIL_KAFKA_TOPIC"},
		"Kafka in the clear":    {environment{"HOOKTRAIL_KAFKA_BROKERS": "127.0.0.1:1", "HOOKTRAIL_KAFKA_USERNAME": "u", "HOOKTRAIL_KAFKA_PASSWORD": secret}, nil, "HOOKTRAIL_KAFKA_TLS"},
		"Kafka half an account": {environment{"HOOKTRAIL_KAFKA_BROKERS": "127.0.0.1:1", "HOOKTRAIL_KAFKA_PASSWORD": secret}, nil, "HOOKTRAIL_KAFKA_USERNAME"},
		"broker format":         {environment{"HOOKTRAIL_BROKER_FORMAT": "avro"}, nil, "broker-format"},
		"broker CA":             {environment{"HOOKTRAIL_BROKER_CA": "/nowhere/ca.pem"}, nil, "HOOKTRAIL_BROKER_CA"},
		"no master key":         {environment{"HOOKTRAIL_DATABASE_URL": "postgres://127.0.0.1:1/x"}, nil, "HOOKTRAIL_MASTER_KEY"},
		"no database":           {environment{"HOOKTRAIL_DATABASE_URL": "postgres://127.0.0.1:1/x", "HOOKTRAIL_MASTER_KEY": secret}, nil, "database"},
		"file: unknown key":     {nil, []string{"--config", writeFile(t, "c.yaml", "addr: 127.0.0.1:0\nrate_limt: 3\n")}, "rate_limt"},
		"file: malformed value": {nil, []string{"--config=" + writeFile(t, "c.yaml", "rate_limit: many\n")}, "rate-limit"},
		"file: out of range":    {environment{"HOOKTRAIL_CONFIG": writeFile(t, "c.yaml", "rate_limit: -3\n")}, nil, "HOOKTRAIL_RATE_LIMIT"},
		"file: no YAML":         {nil, []string{"--config", writeFile(t, "c.yaml", "a: b: c\n")}, "c.yaml"},
		"file: not there":       {nil, []string{"--config", "nowhere.yaml"}, "nowhere.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			env := environment{"HOOKTRAIL_ADDR": "127.0.0.1:0"}.with(test.env)
			ended := command(t, env, append([]string{"serve"}, test.args...)...)
			require.Contains(t, []int{1, 2}, ended.code, ended.stderr)
			require.Regexp(t, `(?m)^hooktrail: .*`+regexp.QuoteMeta(test.says), ended.stderr)
			require.NotContains(t, ended.stdout, "serves at")
			require.NotContains(t, ended.stderr, secret[:20], "a key is not shown")
			require.NotContains(t, ended.stderr, "goroutine")
		})
	}
}

func TestFlagsBeatEnvironmentBeatsFile(t *testing.T) {
	t.Parallel()
	s := sqliteStore(t)
	file := writeFile(t, "settings.yaml", "rate_limit: 5\ntrusted_proxies: [127.0.0.1, 10.0.0.0/8]\nworker_lease: 20s\nallow_command_runner: true\n")
	for _, test := range []struct {
		env    environment
		args   []string
		policy string
	}{
		{nil, nil, `"ip";q=5;w=60`},
		{environment{"HOOKTRAIL_RATE_LIMIT": "7"}, nil, `"ip";q=7;w=60`},
		{environment{"HOOKTRAIL_RATE_LIMIT": "7"}, []string{"--rate-limit=9"}, `"ip";q=9;w=60`},
	} {
		service := s.serve(t, test.env, append(test.args, "--config", file)...)
		a := service.fire("wht_unknown", `{}`)
		require.Equal(t, 401, a.status)
		require.Equal(t, test.policy, a.header.Get("RateLimit-Policy"))
		service.stop()
	}
}

// settings are the variables of the contract, but for those of parts that do not exist yet.
var settings = []string{
	"ADDR", "DATA_DIR", "DATABASE_URL", "API_KEY", "MASTER_KEY", "RATE_LIMIT", "TRUSTED_PROXIES", "ALLOW_PRIVATE_AGENTS", "ALLOW_COMMAND_RUNNER",
	"DEFAULT_RUNNER", "ROLES", "LOG_LEVEL", "LOG_FORMAT",
}

func TestHelpListsSettings(t *testing.T) {
	t.Parallel()
	help := command(t, nil, "serve", "--help")
	require.Zero(t, help.code)
	text := strings.Join(strings.Fields(help.stdout), " ")
	for _, name := range settings {
		require.Contains(t, text, "$HOOKTRAIL_"+name+")")
	}
	for _, withDefault := range []string{
		`--addr=":8080"`, `--data-dir="./hooktrail-data"`, `--rate-limit=30`, `--default-runner="none"`, `--log-level="info"`, `--log-format="auto"`,
	} {
		require.Contains(t, text, withDefault)
	}
	require.Regexp(t, `--roles=\S*api,worker`, text)
	for _, args := range [][]string{nil, {"--help"}, {"--version"}} {
		ended := command(t, nil, args...)
		require.Zero(t, ended.code, args)
		require.NotEmpty(t, ended.stdout)
	}
}

func TestOneServerPerDataDirectory(t *testing.T) {
	t.Parallel()
	s := sqliteStore(t)
	service := s.serve(t, nil)
	second := s.command(t, "serve", "--addr=127.0.0.1:0")
	require.Equal(t, 1, second.code)
	require.Contains(t, second.stderr, s.env["HOOKTRAIL_DATA_DIR"])
	require.Contains(t, second.stderr, "another hooktrail serves")
	service.get("/api/v1/me")

	info, err := os.Stat(s.env["HOOKTRAIL_DATA_DIR"])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	service.kill() // a lock that outlived its process would keep the next one out
	again := s.serve(t, nil)
	again.stop()
}

func TestMigrate(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		if s.dialect == onPostgres {
			delete(s.env, "HOOKTRAIL_MASTER_KEY") // the schema holds no secret
		}
		before := s.command(t, "migrate", "--status")
		require.Zero(t, before.code, before.stderr)
		require.Regexp(t, `(?m)^00001\s+pending$`, before.stdout)
		require.NotContains(t, before.stdout, "applied")
		took := s.command(t, "migrate")
		require.Zero(t, took.code, took.stderr)
		require.Regexp(t, `(?m)^00001\s+applied$`, took.stdout)
		after := s.command(t, "migrate", "--status")
		require.Zero(t, after.code)
		require.NotContains(t, after.stdout, "pending")
		again := s.command(t, "migrate")
		require.Zero(t, again.code)
		require.Contains(t, again.stdout, "up to date")

		if s.dialect == onPostgres {
			s.env["HOOKTRAIL_MASTER_KEY"] = newMasterKey()
		}
		service := s.serve(t, nil)
		service.accepted(service.echoTrigger().Token, `{}`)
		service.stop()
	})
}

func TestDoctor(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		healthy := func(says string) {
			t.Helper()
			ended := s.command(t, "doctor")
			require.Zero(t, ended.code, ended.stdout+ended.stderr)
			require.Contains(t, ended.stdout, says)
			require.NotContains(t, ended.stdout, "FAIL")
		}
		ill := func(env environment, says string) {
			t.Helper()
			ended := command(t, s.env.with(env), "doctor")
			require.Equal(t, 1, ended.code, ended.stdout+ended.stderr)
			require.Regexp(t, `(?m)^FAIL .*`+says, ended.stdout)
		}
		if s.dialect == onPostgres {
			healthy("behind")
		} else {
			healthy("does not exist yet")
			require.NoDirExists(t, s.env["HOOKTRAIL_DATA_DIR"], "doctor changes nothing")
		}
		service := s.serve(t, nil)
		healthy("up to date")
		healthy("opens with the master key")
		ill(environment{"HOOKTRAIL_MASTER_KEY": newMasterKey()}, "key ring")
		wrong := command(t, s.env.with(environment{"HOOKTRAIL_RATE_LIMIT": "-1"}), "doctor")
		require.Equal(t, 2, wrong.code)
		require.Contains(t, wrong.stderr, "HOOKTRAIL_RATE_LIMIT")
		if s.dialect == onPostgres {
			ill(environment{"HOOKTRAIL_DATABASE_URL": "postgres://127.0.0.1:1/x?connect_timeout=2"}, "database")
		} else {
			dir := s.env["HOOKTRAIL_DATA_DIR"]
			require.NoError(t, os.Chmod(dir, 0o755))
			ill(nil, "chmod 700")
			require.NoError(t, os.Chmod(dir, 0o700))
		}
		service.stop()
		healthy("up to date")
	})
}

// TestDoctorFindsUnsafeServer looks at a server that may lose what it has confirmed.
func TestDoctorFindsUnsafeServer(t *testing.T) {
	t.Parallel()
	t.Run(onPostgres, func(t *testing.T) {
		t.Parallel()
		server, err := pgtest.Start(t.Context(), pgtest.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Stop()) })
		ended := postgresStore(server.DSN("postgres")).command(t, "doctor")
		require.Equal(t, 1, ended.code, ended.stderr)
		for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
			require.Regexp(t, `(?m)^FAIL +`+setting+` +is off`, ended.stdout)
		}
	})
}
