package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/net/html"
)

const (
	guideDir   = "../docs/guide"
	guideIndex = "README.md"
)

// guideSenders send what senders elsewhere would, by the files that a page gives for them.
var guideSenders = map[string]func(*guide){
	"alerts.md":               (*guide).sendAlerts,
	"github-pull-requests.md": (*guide).runWorkflow,
	"html-form.md":            (*guide).submitForms,
	"scheduled.md":            (*guide).runTimers,
	"slack-and-jira.md":       (*guide).runJiraRule,
}

// TestGuide does what each page of the guide says, from the first block to the last, and compares
// what comes out with what the page shows.
func TestGuide(t *testing.T) {
	pages := guidePages(t)
	for name := range guideSenders {
		require.Contains(t, pages, name, "a page that is tested but not there")
	}
	for _, name := range pages {
		t.Run(strings.TrimSuffix(name, ".md"), func(t *testing.T) {
			eachStore(t, func(t *testing.T, s *store) {
				g := &guide{t: t, ids: map[string]string{}, blocks: readBlocks(t, name)}
				g.run(s)
				if send := guideSenders[name]; send != nil {
					send(g)
				}
				for _, b := range g.blocks {
					require.True(t, b.used, "%s:%d: nothing runs, sends or compares this block", name, b.line)
				}
				g.service.stop()
			})
		})
	}
}

// TestGuideIndex checks that readers find every page, and every place that a page points to.
func TestGuideIndex(t *testing.T) {
	t.Parallel()
	require.Empty(t, readBlocks(t, guideIndex), "blocks of the index are run by nobody")
	index := readPage(t, guideIndex)
	for _, name := range guidePages(t) {
		require.Contains(t, index, "("+name+")", "the index lacks a page")
	}
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "(docs/guide/README.md)")

	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, name := range append(guidePages(t), guideIndex) {
		for _, found := range link.FindAllStringSubmatch(readPage(t, name), -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(found[1], "#")
			if path == "" {
				path = name
			}
			target, err := os.ReadFile(filepath.Join(guideDir, path))
			require.NoError(t, err, "%s links to %s", name, found[1])
			if anchor != "" {
				require.Contains(t, anchors(string(target)), anchor, "%s links to %s", name, found[1])
			}
		}
	}
}

// anchors names the headings of a page as GitHub does.
func anchors(markdown string) []string {
	var names []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(markdown, -1) {
		kept := regexp.MustCompile(`[^\p{L}\p{N}\- ]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(kept, " ", "-"))
	}
	return names
}

// guidePages names the pages, all but the index.
func guidePages(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(guideDir)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		require.Equal(t, ".md", filepath.Ext(entry.Name()), "a file that is no page: %s", entry.Name())
		if entry.Name() != guideIndex {
			names = append(names, entry.Name())
		}
	}
	require.NotEmpty(t, names)
	return names
}

func readPage(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(guideDir, name))
	require.NoError(t, err)
	return string(content)
}

// block is a fenced block of a page.
type block struct {
	kind string
	text string
	line int // of the page
	used bool
}

// The kinds of block: what is run, what that prints, and files for other programs.
const (
	kindShell  = "sh"
	kindOutput = "text"
)

var kindsOfFiles = []string{"yaml", "html", "nginx", "crontab", "ini"}

// readBlocks finds the blocks of a page. Code in any other form would escape the test and fails it.
func readBlocks(t testing.TB, name string) []*block {
	t.Helper()
	var blocks []*block
	var open *block
	line := 0
	for text := range strings.Lines(readPage(t, name)) {
		line++
		fence := strings.HasPrefix(strings.TrimSpace(text), "```")
		switch {
		case open == nil && fence:
			kind := strings.TrimPrefix(strings.TrimSuffix(text, "\n"), "```")
			require.True(t, kind == kindShell || kind == kindOutput || slices.Contains(kindsOfFiles, kind), "%s:%d: a block of an unknown kind: %q", name, line, kind)
			open = &block{kind: kind, line: line}
			blocks = append(blocks, open)
		case fence:
			require.Equal(t, "```\n", text, "%s:%d", name, line)
			open = nil
		case open != nil:
			open.text += text
		default:
			require.NotRegexp(t, "^(\t|    |~~~|> *```)", text, "%s:%d: code belongs in a fenced block", name, line)
		}
	}
	require.Nil(t, open, "%s: a block does not end", name)
	return blocks
}

// guide is a page that is being followed.
type guide struct {
	t         *testing.T
	blocks    []*block
	service   *service
	address   *strings.Replacer // from the page's addresses to ours
	dir       string            // where the page's commands were run
	variables map[string]string // as the commands left them
	ids       map[string]string // from the page's examples to what was seen
}

var serveCommand = regexp.MustCompile(`^hooktrail serve((?: --[a-z-]+(?:=\S+)?)*)\n$`)

// run starts the server by the first block and runs all others by one shell, as a reader does in
// two terminals.
func (g *guide) run(s *store) {
	t := g.t
	t.Helper()
	require.NotEmpty(t, g.blocks)
	first := g.blocks[0]
	command := serveCommand.FindStringSubmatch(first.text)
	require.True(t, first.kind == kindShell && command != nil, "a page begins with the command that starts the server")
	g.service = s.serve(t, nil, strings.Fields(command[1])...)
	g.address = strings.NewReplacer("http://localhost:8080", g.service.base, "127.0.0.1:9000", freeAddress(t), "htk_…", s.key)

	scripts := t.TempDir()
	script := func(i int) string { return filepath.Join(scripts, fmt.Sprintf("%03d.sh", i)) }
	for i, b := range g.blocks[1:] {
		if b.kind == kindShell {
			require.NoError(t, os.WriteFile(script(i+1), []byte(g.address.Replace(b.text)), 0o600))
		}
	}
	g.shell(scripts)

	shown := false
	for i, b := range g.blocks {
		if b.kind != kindShell {
			continue
		}
		b.used = true
		printed := g.service.stdout.String()
		if i > 0 {
			content, err := os.ReadFile(script(i) + ".out")
			require.NoError(t, err)
			printed = string(content)
		}
		var expected string
		if i+1 < len(g.blocks) && g.blocks[i+1].kind == kindOutput {
			g.blocks[i+1].used = true
			expected = g.blocks[i+1].text
		}
		g.compare(b.line, expected, printed)
		shown = shown || strings.Contains(expected, `"output":`)
	}
	require.True(t, shown, "the page does not show an output of its agent")
}

// freeAddress gives an address that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// guideDriver runs the scripts of a directory one after the other in one shell, with what each prints
// in a file beside it, and tells the variables that senders need. Before a script that reads
// executions it waits until all have ended, as they have when a person reads them.
const guideDriver = `
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
guide_count() {
  curl -sS "$GUIDE_URL/api/v1/executions?limit=1&status=$1" -H "X-API-Key: $GUIDE_KEY" | grep -o '"total":[0-9]*'
}
for guide_script in "$GUIDE_SCRIPTS"/*.sh; do
  if grep -q 'api/v1/e[vx]e' "$guide_script"; then
    until [ "$(guide_count pending) $(guide_count running)" = '"total":0 "total":0' ]; do :; done
  fi
  source "$guide_script" >"$guide_script.out" 2>&1 </dev/null
done
for guide_name in TOKEN SECRET; do
  printf '%s=%s\n' "$guide_name" "${!guide_name-}"
done
`

func (g *guide) shell(scripts string) {
	t := g.t
	t.Helper()
	g.dir = t.TempDir()
	settings := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(settings, ".curlrc"), []byte("max-time = 20\n"), 0o600))
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", guideDriver)
	cmd.Dir, cmd.SysProcAttr = g.dir, dieWithParent()
	cmd.Env = environment{
		"GUIDE_SCRIPTS": scripts, "GOFLAGS": "-ldflags=-w", "GUIDE_URL": g.service.base, "GUIDE_KEY": g.service.key, "CURL_HOME": settings, "GOCACHE": strings.TrimSpace(string(cache)),
		"PATH": filepath.Dir(binary) + string(os.PathListSeparator) + os.Getenv("PATH"),
	}.entries(settings)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that its trap ends what it has started
	cmd.WaitDelay = patience
	told, err := cmd.Output()
	if err != nil {
		outputs, _ := filepath.Glob(filepath.Join(scripts, "*.out"))
		require.NotEmpty(t, outputs, "%v", err)
		last := slices.Max(outputs)
		script, _ := os.ReadFile(strings.TrimSuffix(last, ".out"))
		printed, _ := os.ReadFile(last)
		require.NoError(t, err, "this block failed:\n%s\nit printed:\n%s", script, printed)
	}
	g.variables = map[string]string{}
	for line := range strings.Lines(string(told)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		g.variables[name] = value
	}
}

// flatten takes the white space out of the JSON objects in a text, strings aside.
func flatten(text string) string {
	var flat strings.Builder
	depth, quoted, escaped := 0, false, false
	for _, r := range strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")) {
		switch {
		case escaped:
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case depth > 0 && r == '"':
			quoted = !quoted
		case quoted:
		case r == '{':
			depth++
		case r == '}':
			depth--
		case depth > 0 && strings.ContainsRune(" \t\n", r):
			continue
		}
		flat.WriteRune(r)
	}
	return flat.String()
}

// placeholders are what differs from run to run: secrets, ids, times, days, and what is left out.
var placeholders = regexp.MustCompile(`\b(?:htk|wht|whs|whsec)_[0-9A-Za-z]*…?|\b[0-9A-Za-z]{27}\b|\b\d{4}-\d\d-\d\d(?:T[\d:.]+Z)?\b|(?m:^…$)|…`)

// compare holds what a block printed against what the page shows.
func (g *guide) compare(line int, shown, printed string) {
	t := g.t
	t.Helper()
	shown, printed = flatten(g.address.Replace(shown)), flatten(printed)
	var pattern strings.Builder
	var examples []string
	pattern.WriteString("^")
	end := 0
	for _, at := range placeholders.FindAllStringIndex(shown, -1) {
		pattern.WriteString(regexp.QuoteMeta(shown[end:at[0]]))
		end = at[1]
		switch found := shown[at[0]:at[1]]; {
		case found == "…" && (at[0] == 0 || shown[at[0]-1] == '\n') && (end == len(shown) || shown[end] == '\n'):
			pattern.WriteString(`(?s:.*?)`)
		case found == "…":
			pattern.WriteString(`[^\n]*?`)
		case strings.Contains(found, "_"):
			prefix, _, _ := strings.Cut(found, "_")
			pattern.WriteString(prefix + `_[0-9A-Za-z+/=]+`)
		case strings.Contains(found, "T") && strings.Contains(found, ":"):
			pattern.WriteString(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`)
		case strings.Contains(found, "-"):
			pattern.WriteString(`\d{4}-\d\d-\d\d`)
		default:
			examples = append(examples, found)
			pattern.WriteString(`([0-9A-Za-z]{27})`)
		}
	}
	pattern.WriteString(regexp.QuoteMeta(shown[end:]) + "$")
	found := regexp.MustCompile(pattern.String()).FindStringSubmatch(printed)
	require.NotNil(t, found, "the block of line %d printed\n%s\nand the page shows\n%s", line, printed, shown)
	for i, example := range examples {
		if g.ids[example] == "" {
			g.ids[example] = found[i+1]
		}
		require.Equal(t, g.ids[example], found[i+1], "the id that stands as %s on the page, block of line %d", example, line)
	}
}

// file gives the page's next file of a kind, with the address, token and secret put in.
func (g *guide) file(kind string) string {
	g.t.Helper()
	for _, b := range g.blocks {
		if b.kind != kind || b.used {
			continue
		}
		b.used = true
		text := g.address.Replace(b.text)
		for placeholder, name := range map[string]string{"wht_…": "TOKEN", "whs_…": "SECRET"} {
			if strings.Contains(text, placeholder) {
				require.NotEmpty(g.t, g.variables[name], "the page's commands set no %s for the block of line %d", name, b.line)
				text = strings.ReplaceAll(text, placeholder, g.variables[name])
			}
		}
		require.NotContains(g.t, text, "…", "the block of line %d", b.line)
		return text
	}
	require.FailNow(g.t, "the page has no further block of the kind", kind)
	return ""
}

// decode reads a file in YAML; all of its fields must be known.
func (g *guide) decode(into any) {
	g.t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(g.file("yaml")))
	decoder.KnownFields(true)
	require.NoError(g.t, decoder.Decode(into))
}

// written reads a file that the page's commands have made.
func (g *guide) written(name string) string {
	g.t.Helper()
	content, err := os.ReadFile(filepath.Join(g.dir, name))
	require.NoError(g.t, err)
	return string(content)
}

// post makes a call that must be accepted and gives its execution when it is completed.
func (g *guide) post(target, contentType, body string, headers ...string) executionData {
	g.t.Helper()
	request, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, target, strings.NewReader(body))
	require.NoError(g.t, err)
	request.Header.Set("Content-Type", contentType)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	a, err := g.service.do(request)
	require.NoError(g.t, err)
	require.Equal(g.t, http.StatusAccepted, a.status, a.body)
	return g.service.awaitExecution(read[executionData](g.t, a).ID, "completed")
}

func (g *guide) sendAlerts() {
	var alertmanager struct {
		Route struct {
			Receiver       string
			GroupBy        []string      `yaml:"group_by"`
			RepeatInterval time.Duration `yaml:"repeat_interval"`
		}
		Receivers []struct {
			Name     string
			Webhooks []struct {
				URL          string
				SendResolved bool `yaml:"send_resolved"`
				HTTP         struct {
					Authorization struct{ Credentials string }
				} `yaml:"http_config"`
			} `yaml:"webhook_configs"`
		}
	}
	g.decode(&alertmanager)
	require.Len(g.t, alertmanager.Receivers, 1)
	require.Equal(g.t, alertmanager.Route.Receiver, alertmanager.Receivers[0].Name)
	webhook := alertmanager.Receivers[0].Webhooks[0]
	payload := g.written("alertmanager.json")
	execution := g.post(webhook.URL, "application/json", payload, "User-Agent", "Alertmanager/0.25.0", "Authorization", "Bearer "+webhook.HTTP.Authorization.Credentials)
	require.JSONEq(g.t, payload, string(execution.Input))

	var grafana struct {
		APIVersion    int `yaml:"apiVersion"`
		ContactPoints []struct {
			OrgID     int `yaml:"orgId"`
			Name      string
			Receivers []struct {
				UID                   string
				Type                  string
				DisableResolveMessage bool `yaml:"disableResolveMessage"`
				Settings              struct {
					URL         string
					Method      string `yaml:"httpMethod"`
					Scheme      string `yaml:"authorization_scheme"`
					Credentials string `yaml:"authorization_credentials"`
				}
			}
		} `yaml:"contactPoints"`
	}
	g.decode(&grafana)
	receiver := grafana.ContactPoints[0].Receivers[0]
	require.Equal(g.t, "webhook", receiver.Type)
	require.Equal(g.t, http.MethodPost, receiver.Settings.Method)
	payload = g.written("grafana.json")
	execution = g.post(receiver.Settings.URL, "application/json", payload, "User-Agent", "Grafana", "Authorization", receiver.Settings.Scheme+" "+receiver.Settings.Credentials)
	require.JSONEq(g.t, payload, string(execution.Input))
	require.Contains(g.t, string(execution.Output), "disk_used")
}

// runWorkflow runs the workflow's step as a runner of GitHub Actions does.
func (g *guide) runWorkflow() {
	t := g.t
	var workflow struct {
		Name        string
		On          map[string]struct{ Types []string }
		Permissions map[string]string
		Jobs        map[string]struct {
			RunsOn  string `yaml:"runs-on"`
			Timeout int    `yaml:"timeout-minutes"`
			Steps   []struct {
				Name string
				Env  map[string]string
				Run  string
			}
		}
	}
	g.decode(&workflow)
	require.Contains(t, workflow.On, "pull_request")
	stored := map[string]string{
		"vars.HOOKTRAIL_URL": g.service.base, "secrets.HOOKTRAIL_TOKEN": g.variables["TOKEN"], "secrets.HOOKTRAIL_SECRET": g.variables["SECRET"],
	}
	expression := regexp.MustCompile(`^\$\{\{ (\S+) \}\}$`)
	step := workflow.Jobs["review"].Steps[0]
	env := environment{"GITHUB_EVENT_PATH": filepath.Join(g.dir, "opened.json"), "GITHUB_RUN_ID": "1658821493", "GITHUB_RUN_ATTEMPT": "1"}
	for name, value := range step.Env {
		named := expression.FindStringSubmatch(value)
		require.NotNil(t, named, value)
		require.Contains(t, stored, named[1])
		env[name] = stored[named[1]]
	}
	ran := program(t, env, "", "bash", "-e", "-c", step.Run)
	require.Zero(t, ran.code, ran.stdout+ran.stderr)
	execution := read[executionData](t, answer{body: ran.stdout})
	require.Equal(t, "completed", execution.Status)
	require.JSONEq(t, g.written("opened.json"), string(execution.Output))

	repeated := program(t, env, "", "bash", "-e", "-c", step.Run)
	require.Equal(t, execution.ID, read[executionData](t, answer{body: repeated.stdout}).ID, "what curl repeats runs once")
	rerun := program(t, env.with(environment{"GITHUB_RUN_ATTEMPT": "2"}), "", "bash", "-e", "-c", step.Run)
	require.NotEqual(t, execution.ID, read[executionData](t, answer{body: rerun.stdout}).ID)
	refused := program(t, env.with(environment{"HOOKTRAIL_SECRET": "x"}), "", "bash", "-e", "-c", step.Run)
	require.NotZero(t, refused.code, "a refusal fails the step")
}

// submitForms sends the page's forms as browsers do: the first to Hooktrail itself, the second through
// a web server that is set up as the page says.
func (g *guide) submitForms() {
	t := g.t
	action, fields := formOf(t, g.file("html"))
	execution := g.post(action, "application/x-www-form-urlencoded", fields.Encode(), "Origin", "https://shop.example.com")
	require.Equal(t, fields, formInput(t, execution))

	config := g.file("nginx")
	location := regexp.MustCompile(`(?m)^location = (\S+) \{$`).FindStringSubmatch(config)
	passed := regexp.MustCompile(`(?m)^ +proxy_pass (\S+);$`).FindStringSubmatch(config)
	require.True(t, location != nil && passed != nil, config)
	require.Contains(t, config, "proxy_set_header X-Forwarded-For $remote_addr;")
	target, err := url.Parse(passed[1])
	require.NoError(t, err)
	const visitor = "203.0.113.7"
	mux := http.NewServeMux()
	mux.Handle(location[1], &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL, r.Out.Host = target, target.Host
		r.Out.Header.Set("X-Forwarded-For", visitor)
	}})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)

	page := g.file("html")
	action, fields = formOf(t, page)
	require.Contains(t, page, "fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)) })")
	execution = g.post(site.URL+action, "application/x-www-form-urlencoded;charset=UTF-8", fields.Encode(), "Origin", site.URL)
	require.Equal(t, fields, formInput(t, execution))
	var invoked struct {
		ClientIP string `json:"client_ip"`
	}
	events := all[eventData](&g.service.client, "/api/v1/events?type=trigger.invoked&after=0")
	require.NoError(t, json.Unmarshal(events[len(events)-1].Data, &invoked))
	require.Equal(t, visitor, invoked.ClientIP, "the rate limit counts visitors")
}

// formOf finds the form of a page and fills it in.
func formOf(t testing.TB, page string) (action string, fields url.Values) {
	t.Helper()
	document, err := html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	fields = url.Values{}
	var list string // the select that the walk is in
	for node := range document.Descendants() {
		attributes := map[string]string{}
		for _, attribute := range node.Attr {
			attributes[attribute.Key] = attribute.Val
		}
		switch node.Data {
		case "form":
			require.Equal(t, "post", attributes["method"])
			require.Empty(t, attributes["enctype"])
			action = attributes["action"]
		case "input":
			require.Equal(t, "email", attributes["type"])
			fields.Set(attributes["name"], "ada@example.com")
		case "textarea":
			fields.Set(attributes["name"], "Two lines,\r\n& more")
		case "select":
			list = attributes["name"]
		case "option":
			fields.Set(list, node.FirstChild.Data) // the last one wins
		}
	}
	require.NotEmpty(t, action)
	require.Len(t, fields, 3)
	return action, fields
}

func formInput(t testing.TB, execution executionData) url.Values {
	t.Helper()
	var input map[string]string
	require.NoError(t, json.Unmarshal(execution.Input, &input))
	fields := url.Values{}
	for name, value := range input {
		fields.Set(name, value)
	}
	return fields
}

// runTimers runs the command of the crontab and that of the unit, each with the environment that it
// would get. Both are the tick that the page has run already.
func (g *guide) runTimers() {
	t := g.t
	installed := t.TempDir()
	require.NoError(t, os.Symlink(binary, filepath.Join(installed, "hooktrail")))
	require.NoError(t, os.Symlink(filepath.Join(g.dir, "nightly-report"), filepath.Join(installed, "nightly-report")))
	install := func(text string) string { return strings.ReplaceAll(text, "/usr/local/bin", installed) }
	first := read[[]executionData](t, g.service.get("/api/v1/executions"))
	require.Len(t, first, 2, "that tick, and a run by hand before it")
	check := func(ended result) {
		t.Helper()
		require.Zero(t, ended.code, ended.stdout+ended.stderr)
		head, body, _ := strings.Cut(ended.stdout, "\n")
		require.Equal(t, "200 OK", head)
		require.Equal(t, first[0].ID, read[executionData](t, answer{body: body}).ID)
	}

	env := environment{}
	var commands []string
	for line := range strings.Lines(install(g.file("crontab"))) {
		line = strings.TrimSpace(line)
		if name, value, found := strings.Cut(line, "="); found && !strings.Contains(name, " ") {
			env[name] = value
			continue
		}
		entry := regexp.MustCompile(`^(?:[\d*/,-]+ ){5}(.+)$`).FindStringSubmatch(line)
		require.NotNil(t, entry, "no line of a crontab: %s", line)
		require.NotContains(t, entry[1], "%", "cron takes it for a line break")
		commands = append(commands, entry[1])
	}
	require.Len(t, commands, 1)
	check(program(t, env, "", "env", append([]string{"-i"}, append(env.entries(g.dir)[1:], "sh", "-c", commands[0])...)...))

	unit := unitSettings(t, install(g.file("ini")))
	ofSystemd := environment{"PATH": install("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")}
	check(program(t, ofSystemd.with(unitSettings(t, g.file("ini"))), "", unit["Service.ExecStart"]))
	require.Equal(t, "oneshot", unit["Service.Type"])
	require.Contains(t, readPage(t, "scheduled.md"), "`"+unit["Service.EnvironmentFile"]+"`", "the page says where the file is")
	timer := unitSettings(t, g.file("ini"))
	require.Regexp(t, `^\*-\*-\* \d\d:\d\d:\d\d UTC$`, timer["Timer.OnCalendar"])
	require.Equal(t, "timers.target", timer["Install.WantedBy"])
	require.Equal(t, 2, g.service.total("/api/v1/executions"), "all were one tick")
}

// unitSettings reads a unit of systemd or a file of variables; names in a section begin with its name.
func unitSettings(t testing.TB, text string) environment {
	t.Helper()
	found := environment{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]") + "."
		} else if line != "" {
			name, value, is := strings.Cut(line, "=")
			require.True(t, is, line)
			found[section+name] = value
		}
	}
	return found
}

// runJiraRule sends what Jira makes of the action's fields.
func (g *guide) runJiraRule() {
	t := g.t
	var action struct {
		URL     string            `yaml:"Web request URL"`
		Method  string            `yaml:"HTTP method"`
		Headers map[string]string `yaml:"Headers"`
		Body    string            `yaml:"Web request body"`
		Data    string            `yaml:"Custom data"`
	}
	g.decode(&action)
	require.Equal(t, http.MethodPost, action.Method)
	var issue map[string]string
	require.NoError(t, json.Unmarshal([]byte(g.written("issue.json")), &issue))
	values := map[string]string{"issue.key": issue["key"], "issue.summary": issue["summary"], "issue.reporter.displayName": issue["reporter"]}
	body := regexp.MustCompile(`\{\{(.*?)\.asJsonString\}\}`).ReplaceAllStringFunc(action.Data, func(smart string) string {
		name := strings.TrimSuffix(strings.Trim(smart, "{}"), ".asJsonString")
		require.Contains(t, values, name)
		quoted, err := json.Marshal(values[name])
		require.NoError(t, err)
		return string(quoted)
	})
	require.NotContains(t, body, "{{")
	require.JSONEq(t, g.written("issue.json"), body)
	execution := g.post(action.URL, action.Headers["Content-Type"], body, "Authorization", action.Headers["Authorization"])
	require.JSONEq(t, body, string(execution.Output))
}
