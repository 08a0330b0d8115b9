package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// cli runs client commands against a server, with a home directory of its own.
type cli struct {
	t   *testing.T
	env environment
}

func newCLI(t *testing.T, base, key string) *cli {
	return &cli{t, environment{"HOOKTRAIL_URL": base, "HOOKTRAIL_API_KEY": key, "XDG_CONFIG_HOME": t.TempDir()}}
}

func (c *cli) with(env environment) *cli { return &cli{c.t, c.env.with(env)} }

// run runs a command that must end with a code.
func (c *cli) run(code int, args ...string) result {
	c.t.Helper()
	ended := command(c.t, c.env, args...)
	require.Equal(c.t, code, ended.code, "hooktrail %s:\n%s%s", strings.Join(args, " "), ended.stdout, ended.stderr)
	return ended
}

// says runs a command that must end with a code and say something to a person.
func (c *cli) says(code int, text string, args ...string) {
	c.t.Helper()
	ended := c.run(code, args...)
	require.Empty(c.t, ended.stdout)
	require.Regexp(c.t, "^hooktrail: ", ended.stderr)
	require.Contains(c.t, ended.stderr, text)
	require.NotContains(c.t, ended.stderr, "goroutine")
}

// data runs a command with -o json and gives the data of the one document that it prints.
func data[D any](c *cli, args ...string) D {
	c.t.Helper()
	return read[D](c.t, answer{body: c.run(0, append(args, "-o", "json")...).stdout})
}

func TestCLI(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		c := newCLI(t, service.base, service.key)

		agent := data[agentData](c, "agents", "create", "--name=Echo", "--runner=echo")
		created := c.run(0, "triggers", "create", "--name=PR review", "--agent="+agent.ID, "--generate-secret")
		for _, label := range []string{"New token", "New secret", "New hook URL"} {
			require.Regexp(t, "(?m)^"+label+" +\\S+$", created.stdout)
		}
		token, secret := shown(t, created, "New token"), shown(t, created, "New secret")
		id := shown(t, created, "Id")
		require.Contains(t, created.stderr, "Shown only now")
		require.NotContains(t, created.stderr, token)
		require.NotContains(t, created.stderr, secret)
		listed := c.run(0, "triggers", "list").stdout
		require.Regexp(t, `(?m)^ID +NAME +STATE +SIGNED +TOKEN +LAST USED +AGENT$`, listed)
		require.Regexp(t, `(?m)^`+id+` +PR review +active +yes +wht_\w+… +never +`+agent.ID+`$`, listed)
		require.NotContains(t, listed, token)

		// -o json is what the API answers.
		require.Equal(t, service.get("/api/v1/webhook-triggers/"+id).body+"\n", c.run(0, "triggers", "get", id, "-o", "json").stdout)
		require.Equal(t, service.get("/api/v1/agents?limit=20").body+"\n", c.run(0, "agents", "list", "-o", "json").stdout)

		fire := []string{"fire", "--token=" + token, "--secret=" + secret, "-d", `{"n": 1.50}`}
		require.Contains(t, c.run(0, append(fire, "--wait=20s")...).stdout, `"n": 1.50`)
		github := data[executionData](c, append(fire, "--scheme=github", "--wait=20s")...)
		require.Equal(t, "completed", github.Status)
		byURL := data[executionData](c, "fire", "--trigger-url="+shown(t, created, "New hook URL"), "--secret="+secret, "--wait=20s")
		require.Equal(t, "completed", byURL.Status)
		c.run(1, append(fire, "--scheme=standard-webhooks")...)
		c.says(1, "from --trigger-url", "fire", "--trigger-url=http://127.0.0.1:1/hooks/wht_x")

		// An execution, its output, and what becomes of one that fails.
		executed := c.run(0, "agents", "execute", agent.ID, "-d", `{"question": "<&>", "n": 1e2}`, "--wait=20s")
		require.Equal(t, "{\n  \"question\": \"<&>\",\n  \"n\": 1e2\n}\n", executed.stdout)
		require.Contains(t, executed.stderr, "completed")
		begun := data[executionData](c, "agents", "execute", agent.ID, "--session=s-1", "--metadata=team=reviews")
		require.Equal(t, "{}\n", c.run(0, "executions", "wait", begun.ID).stdout)
		require.Regexp(t, `(?m)^`+begun.ID+` +completed +1 `, c.run(0, "executions", "list", "--session=s-1", "--status=completed", "--since=1h").stdout)
		require.Contains(t, c.run(0, "executions", "get", begun.ID).stdout, `{"team":"reviews"}`)
		outside := data[agentData](c, "agents", "create", "--name=Outside", "--runner=none")
		stuck := data[executionData](c, "agents", "execute", outside.ID)
		c.says(1, "executions wait "+stuck.ID, "executions", "wait", stuck.ID, "--timeout=100ms")
		waiting := start(t, c.env, "executions", "wait", stuck.ID)
		require.Contains(t, c.run(0, "executions", "cancel", stuck.ID, "--reason=not needed").stdout, "cancelled")
		require.Equal(t, 1, waiting.awaitExit())
		require.Contains(t, waiting.stderr.String(), "was cancelled")
		again := data[executionData](c, "executions", "retry", stuck.ID)
		require.Equal(t, stuck.ID, again.RetryOf)
		proxy, passed := passingOn(t, service.base)
		waiting = start(t, c.with(environment{"HOOKTRAIL_URL": proxy}).env, "executions", "wait", again.ID)
		<-passed // so that it waits by now
		waiting.signal(syscall.SIGINT)
		require.Equal(t, 130, waiting.awaitExit())

		// Pages, and all of them as one document.
		require.Contains(t, c.run(0, "executions", "list", "--limit=2").stderr, "--cursor ")
		require.Len(t, data[[]executionData](c, "executions", "list", "--limit=2", "--all"), service.total("/api/v1/executions?"))

		// Changes.
		require.Contains(t, c.run(0, "triggers", "disable", id).stdout, "inactive")
		require.Contains(t, c.run(1, fire...).stdout, "403 Forbidden")
		c.run(0, "triggers", "enable", id)
		require.Contains(t, c.run(0, "triggers", "update", id, "--name=renamed", `--options={"rate_limit": 7}`).stdout, `{"rate_limit":7}`)
		require.Contains(t, c.run(0, "triggers", "get", id, "--as-of=3").stdout, "PR review")
		rotated := data[triggerData](c, "triggers", "rotate-token", id, "--grace-period=0s")
		require.NotEqual(t, token, rotated.Token)
		require.Contains(t, c.run(1, fire...).stdout, "401 Unauthorized")
		secretFile := writeFile(t, "secret", "correct-horse-battery-staple\n")
		require.Equal(t, "correct-horse-battery-staple", data[triggerData](c, "triggers", "rotate-secret", id, "--secret-file="+secretFile).Secret)
		require.Contains(t, c.run(0, "agents", "update", agent.ID, "--timeout=90s", "--max-attempts=2").stdout, "1m30s")
		require.Regexp(t, `trigger.created`, c.run(0, "triggers", "events", id, "--after=0").stdout)

		// Schedules, and runs without waiting for them.
		scheduled := c.run(0, "triggers", "update", id, "--schedule=30 9 * * 1-5", "--time-zone=Europe/Berlin").stdout
		require.Contains(t, scheduled, `"cron":"30 9 * * 1-5"`)
		require.Regexp(t, `Next runs +(\d{4}-\d\d-\d\d \d\d:30:00, ){4}\d{4}-\d\d-\d\d \d\d:30:00 UTC`, c.run(0, "triggers", "get", id).stdout)
		c.run(0, "triggers", "update", id, `--options={"schedule": {"cron": "@daily", "payload": {"n": 3}}}`, "--schedule=@weekly")
		require.JSONEq(t, `{"n": 3}`, c.run(0, "triggers", "run", id, "--wait=30s").stdout)
		require.JSONEq(t, `{"n": 4}`, c.run(0, "triggers", "run", id, "-d", `{"n": 4}`, "--wait=30s").stdout)
		unscheduled := c.run(0, "triggers", "update", id, "--no-schedule").stdout
		require.NotContains(t, unscheduled, "cron")
		require.Contains(t, unscheduled, `{"rate_limit":7}`)
		require.NotEmpty(t, data[executionData](c, "triggers", "run", id).ID)
		c.says(2, "--schedule and --no-schedule", "triggers", "update", id, "--schedule=@daily", "--no-schedule")
		c.says(2, "--time-zone belongs to --schedule", "triggers", "create", "--name=x", "--agent="+agent.ID, "--time-zone=UTC")
		c.says(2, "--options must be a JSON object", "triggers", "update", id, "--options=[]", "--schedule=@daily")
		c.says(1, "schedule.cron", "triggers", "update", id, "--schedule=always")
		c.says(3, "hooktrail triggers list", "triggers", "run", "nobody")

		// What would become of calls.
		tried := c.run(0, "triggers", "test", id, "-d", `{"n": 5}`, "--header=X-GitHub-Event=push", `--options={"input_mapping": {"jq": "{m: .n, event: $event}"}}`).stdout
		require.Regexp(t, `(?s)^Status +accepted\n.*Event +push\n.*Input:\n\{\n  "event": "push",\n  "m": 5\n\}`, tried)
		past := data[[]executionData](c, "executions", "list", "--trigger="+id, "--limit=100")
		call := past[len(past)-1].ID
		require.Contains(t, c.run(0, "triggers", "test", id, "--execution="+call, "--options="+`{"filter": "false"}`).stdout, "filtered")
		require.Regexp(t, `(?s)Examined +[1-9].*Changed +[1-9].*WAS +WOULD`, c.run(0, "triggers", "test", id, "--since=1h", `--options={"filter": "false"}`).stdout)
		require.Contains(t, c.run(1, "triggers", "test", id, "-d", `{"n": 5}`, `--options={"input_mapping": {"jq": ".n.x"}}`).stdout, "expression_failed")
		c.says(2, "--data, --execution or --since", "triggers", "test", id)

		// What was refused above.
		require.Regexp(t, `(?m)^LAST +COUNT +REASON +TRIGGER +CLIENT +MESSAGE\n.+ [1-9]\d* +trigger_inactive +`+id+` +127\.0\.0\.1 +\S`,
			c.run(0, "rejections", "list", "--trigger="+id, "--reason=trigger_inactive", "--since=1h").stdout)
		require.NotContains(t, c.run(0, "rejections", "list", "--until=2020-01-31T12:00:00Z").stdout, id)

		// What cannot be undone has to be confirmed.
		c.says(2, "--yes", "triggers", "delete", id)
		c.run(0, "triggers", "remove-secret", id, "--yes")
		c.run(0, "triggers", "delete", id, "--yes")
		c.run(0, "agents", "delete", agent.ID, "-y")

		// Keys.
		made := c.run(0, "keys", "create", "--name=CI", "--scope=agents:read", "--scope=events:read", "--expires-in=24h")
		key := shown(t, made, "New key")
		require.Contains(t, made.stderr, "Shown only now")
		require.Contains(t, c.run(0, "keys", "list").stdout, "agents:read,events:read")
		limited := c.with(environment{"HOOKTRAIL_API_KEY": "", "HOOKTRAIL_API_KEY_FILE": writeFile(t, "key", key+"\n")})
		require.Contains(t, limited.run(0, "whoami").stdout, "agents:read, events:read")
		limited.run(0, "agents", "list")
		limited.says(4, "hooktrail whoami", "executions", "list")
		c.run(0, "keys", "delete", shown(t, made, "Id"), "--yes")
		limited.says(4, "does not take the API key", "whoami")

		c.exitCodes(id)
		service.stop()
		c.says(5, service.base, "whoami")
	})
}

// shown finds the value beside a label.
func shown(t *testing.T, printed result, label string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + label + ` +(\S+)`).FindStringSubmatch(printed.stdout)
	require.NotNil(t, found, "%s in\n%s", label, printed.stdout)
	return found[1]
}

// passingOn gives the URL of a proxy, and a channel that is closed when a request has passed it.
func passingOn(t *testing.T, base string) (proxy string, passed <-chan struct{}) {
	t.Helper()
	target, err := url.Parse(base)
	require.NoError(t, err)
	first, once := make(chan struct{}), sync.Once{}
	reverse := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reverse.ServeHTTP(w, r)
		once.Do(func() { close(first) })
	}))
	t.Cleanup(server.Close)
	return server.URL, first
}

func (c *cli) exitCodes(deleted string) {
	c.t.Helper()
	c.says(1, "name is required", "agents", "create", "--name=")
	c.says(2, "--output", "triggers", "list", "--output=xml")
	c.says(2, "--agent", "triggers", "create", "--name=x")
	c.says(2, "nothing is to be changed", "triggers", "update", deleted)
	c.says(2, "--options must be JSON", "triggers", "update", deleted, "--options={")
	c.says(2, "--since", "events", "list", "--since=yesterday")
	c.says(2, "--all", "agents", "list", "--all", "--page=2")
	c.says(3, "hooktrail triggers list", "triggers", "get", deleted)
	c.says(3, "hooktrail executions list", "executions", "cancel", "nobody")
	c.with(environment{"HOOKTRAIL_API_KEY": ""}).says(4, "HOOKTRAIL_API_KEY", "agents", "list")
	c.with(environment{"HOOKTRAIL_API_KEY": "htk_wrong"}).says(4, "profiles set", "agents", "list")
	c.with(environment{"HOOKTRAIL_URL": "http://127.0.0.1:1"}).says(5, "Is the server running", "agents", "list")
	c.with(environment{"HOOKTRAIL_URL": "localhost:8080"}).says(2, "HOOKTRAIL_URL", "agents", "list")
	c.with(environment{"HOOKTRAIL_PROFIL": "x"}).says(2, "HOOKTRAIL_PROFIL", "agents", "list")
}

func TestCLIEvents(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, noLimit)
		c := newCLI(t, service.base, service.key)
		trigger := service.echoTrigger()
		made := len(service.events())
		tail := start(t, c.env, "events", "tail", "--after=0", "-o", "json")
		table := start(t, c.env, "events", "tail", "--type=trigger.invoked", "--after=0")
		tail.await(`"type":"trigger.created"`)

		dir := t.TempDir()
		file := filepath.Join(dir, "events.jsonl")
		exported := c.run(0, "events", "export", "--to="+file)
		require.Contains(t, exported.stderr, "events exported, up to position")
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		require.Len(t, lines(t, file), made)

		first := service.accepted(trigger.Token, `{"n": 1}`)
		tail.await(`"type":"trigger.invoked"`)
		table.await(`trigger\.invoked +trigger-` + trigger.ID)

		// The server restarts under the followers.
		addr := strings.TrimPrefix(service.base, "http://")
		service.awaitExecution(first, "completed")
		service.stop()
		eventually(t, func() bool { return strings.Contains(tail.stderr.String(), "trying again") }, "the follower does not notice: %s", tail.stderr)
		service = s.serve(t, noLimit.with(environment{"HOOKTRAIL_ADDR": addr}))
		second := service.accepted(trigger.Token, `{"n": 2}`)
		service.awaitExecution(second, "completed")
		tail.await(`(?s)"type":"execution.completed".*"type":"execution.completed"`)
		table.await(`(?s)trigger\.invoked.*trigger\.invoked`)
		log := service.events()
		for _, p := range []*process{tail, table} {
			p.signal(syscall.SIGINT)
			require.Zero(t, p.awaitExit())
		}
		// Each event once, in order, and as the API gives it.
		require.Equal(t, positions(log), positions(decodeLines(t, strings.Split(strings.TrimSpace(tail.stdout.String()), "\n"))))

		c.says(2, "--resume", "events", "export", "--to="+file)
		broken, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = broken.WriteString(`{"position": 99`)
		require.NoError(t, err)
		require.NoError(t, broken.Close())
		c.run(0, "events", "export", "--to="+file, "--resume")
		require.Equal(t, positions(log), positions(decodeLines(t, lines(t, file))))
		whole := c.run(0, "events", "export").stdout
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(content), whole)
		rest := c.run(0, "events", "export", "--after=4", "--type=trigger.invoked").stdout
		require.Len(t, decodeLines(t, strings.Split(strings.TrimSpace(rest), "\n")), service.total("/api/v1/events?after=4&type=trigger.invoked"))

		listed := data[[]eventData](c, "events", "list", "--type=trigger.invoked", "--stream=trigger-"+trigger.ID)
		require.Len(t, listed, 2)
		service.stop()
		c.says(5, "Is the server running", "events", "tail", "--after=0")
	})
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(content), "\n"))
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

func decodeLines(t *testing.T, texts []string) []eventData {
	t.Helper()
	events := make([]eventData, len(texts))
	for i, text := range texts {
		require.NoError(t, json.Unmarshal([]byte(text), &events[i]), text)
	}
	return events
}

func positions(events []eventData) []int64 {
	var list []int64
	for _, e := range events {
		list = append(list, e.Position)
	}
	return list
}

func TestCLIProfiles(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, nil)
		c := newCLI(t, "", "").with(environment{"HOOKTRAIL_URL": ""})
		delete(c.env, "HOOKTRAIL_URL")
		c.says(4, "http://localhost:8080 (the default)", "whoami")
		c.says(2, "--url", "profiles", "set", "prod")
		c.says(2, "name", "profiles", "set", "../prod", "--url="+service.base)
		set := program(t, c.env, service.key+"\n", binary, "profiles", "set", "prod", "--url="+service.base, "--api-key-file=-")
		require.Zero(t, set.code, set.stderr)
		require.NotContains(t, set.stdout+set.stderr, service.key)
		file := filepath.Join(c.env["XDG_CONFIG_HOME"], "hooktrail", "config.yaml")
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		require.Contains(t, c.run(0, "whoami").stdout, service.base+" (from profile prod)")

		c.run(0, "profiles", "set", "dead", "--url=http://127.0.0.1:1", "--api-key-file="+writeFile(t, "key", "htk_x"))
		c.says(5, "127.0.0.1:1", "whoami", "--profile=dead")
		c.with(environment{"HOOKTRAIL_PROFILE": "dead"}).says(5, "from profile dead", "whoami")
		c.run(0, "profiles", "use", "dead")
		c.says(5, "127.0.0.1:1", "whoami")
		// The environment is stronger than the profile, and no key goes to a server that it is not for.
		c.with(environment{"HOOKTRAIL_URL": service.base}).says(4, "was not sent", "whoami")
		c.with(environment{"HOOKTRAIL_URL": service.base, "HOOKTRAIL_API_KEY": service.key}).run(0, "whoami")
		c.run(0, "whoami", "--profile=prod")
		listed := c.run(0, "profiles", "list").stdout
		require.Regexp(t, `(?m)^dead +http://127.0.0.1:1 +yes +yes$`, listed)
		require.NotContains(t, listed, service.key)
		require.True(t, json.Valid([]byte(c.run(0, "profiles", "list", "-o", "json").stdout)))
		c.says(2, "--yes", "profiles", "delete", "dead")
		c.run(0, "profiles", "delete", "dead", "--yes")
		c.says(2, "nobody", "profiles", "use", "nobody")

		require.NoError(t, os.Chmod(file, 0o644))
		c.says(2, "chmod 600 "+file, "whoami", "--profile=prod")
		service.stop()
	})
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "hooktrail.bash")
	printed := command(t, nil, "completion", "bash")
	require.Zero(t, printed.code, printed.stderr)
	require.NoError(t, os.WriteFile(script, []byte(printed.stdout), 0o600))
	checked := program(t, nil, "", "bash", "-n", script)
	require.Zero(t, checked.code, checked.stderr)
	loaded := program(t, nil, "", "bash", "-c", `source "$0" && complete -p hooktrail`, script)
	require.Zero(t, loaded.code, loaded.stderr)
	require.Contains(t, loaded.stdout, "-F _hooktrail hooktrail")
	for typed, suggested := range map[string]string{
		"hooktrail trig":                          "triggers",
		"hooktrail triggers rot":                  "rotate-token rotate-secret",
		"hooktrail triggers list --ag":            "--agent",
		"hooktrail events tail --after 0 -o js":   "json",
		"hooktrail events tail --output = ta":     "table",
		"hooktrail executions list --status fail": "failed",
		"hooktrail completion z":                  "zsh",
		"hooktrail --profile x keys cr":           "create",
	} {
		const ask = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hooktrail; echo "${COMPREPLY[*]}"`
		asked := program(t, nil, "", "bash", append([]string{"-c", ask, script}, strings.Fields(typed)...)...)
		require.Empty(t, asked.stderr)
		require.Equal(t, suggested, strings.TrimSpace(asked.stdout), typed)
	}
	for _, shell := range []string{"zsh", "fish"} {
		require.Contains(t, command(t, nil, "completion", shell).stdout, "rotate-secret")
	}
	require.Equal(t, 2, command(t, nil, "completion", "tcsh").code)
}

// TestCLIOnATerminal runs commands as a person does, in a terminal that script(1) makes.
func TestCLIOnATerminal(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		service := s.serve(t, nil)
		c := newCLI(t, service.base, service.key)
		trigger := service.echoTrigger()
		typing := func(env environment, stdin string, args ...string) result {
			t.Helper()
			return program(t, c.env.with(env).with(environment{"TERM": "xterm"}), stdin, "script", "--quiet", "--return", "--command", binary+" "+strings.Join(args, " "), "/dev/null")
		}
		const green = "\x1b[32mactive"
		require.Contains(t, typing(nil, "", "triggers", "list").stdout, green)
		require.NotContains(t, typing(environment{"NO_COLOR": "1"}, "", "triggers", "list").stdout, "\x1b[")
		require.NotContains(t, c.run(0, "triggers", "list").stdout, "\x1b[")
		require.NotContains(t, typing(nil, "", "triggers", "list", "-o", "json").stdout, "\x1b[")

		refused := typing(nil, "n\n", "triggers", "delete", trigger.ID)
		require.Equal(t, 1, refused.code, refused.stdout)
		require.Contains(t, refused.stdout, "[y/N]")
		service.get("/api/v1/webhook-triggers/" + trigger.ID)
		agreed := typing(nil, "y\n", "triggers", "delete", trigger.ID)
		require.Zero(t, agreed.code, agreed.stdout)
		require.Equal(t, 404, service.send("GET", "/api/v1/webhook-triggers/"+trigger.ID, "", "X-API-Key", service.key).status)

		asked := typing(nil, service.key+"\n", "profiles", "set", "asked", "--url="+service.base)
		require.Zero(t, asked.code, asked.stdout)
		c.with(environment{"HOOKTRAIL_API_KEY": ""}).run(0, "whoami", "--profile=asked")
		service.stop()
	})
}
