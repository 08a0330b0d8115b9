package agent_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/agent"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

// settings are good ones, with a change.
func settings(edit ...func(*agent.Settings)) agent.Settings {
	s := agent.Settings{Name: "triage", Runner: agent.Runner{Kind: agent.RunnerHTTP, URL: "https://agent.example.com/run"}}.Defaults(agent.RunnerNone)
	for _, e := range edit {
		e(&s)
	}
	return s
}

func command(arguments ...string) func(*agent.Settings) {
	return func(s *agent.Settings) { s.Runner = agent.Runner{Kind: agent.RunnerCommand, Command: arguments} }
}

func runner(r agent.Runner) func(*agent.Settings) {
	return func(s *agent.Settings) { s.Runner = r }
}

func model(edit ...func(*agent.Runner)) agent.Runner {
	r := agent.Runner{Kind: agent.RunnerOpenAI, BaseURL: "https://models.example.com/v1", Model: "small"}
	for _, e := range edit {
		e(&r)
	}
	return r
}

func url(u string) func(*agent.Settings) {
	return func(s *agent.Settings) { s.Runner.URL = u }
}

func headers(h map[string]string) func(*agent.Settings) {
	return func(s *agent.Settings) { s.Runner.Headers = h }
}

func manyHeaders(n int) map[string]string {
	h := map[string]string{}
	for i := range n {
		h[fmt.Sprintf("X-%d", i)] = "v"
	}
	return h
}

func retry(edit func(*agent.Retry)) func(*agent.Settings) {
	return func(s *agent.Settings) { edit(&s.Retry) }
}

func TestDefaults(t *testing.T) {
	require.Equal(t, agent.Settings{
		Name: "a", Runner: agent.Runner{Kind: agent.RunnerEcho}, TimeoutSeconds: 300,
		Retry: agent.Retry{MaxAttempts: 5, InitialSeconds: 10, MaxSeconds: 1800, Factor: 5},
	}, agent.Settings{Name: "a"}.Defaults(agent.RunnerEcho))

	chosen := settings(func(s *agent.Settings) {
		s.TimeoutSeconds, s.MaxConcurrency, s.Retry = 1, 7, agent.Retry{MaxAttempts: 1, InitialSeconds: 3600, MaxSeconds: 7200, Factor: 1}
	})
	require.Equal(t, chosen, chosen.Defaults(agent.RunnerEcho), "what was chosen stays")
	slow := agent.Settings{Name: "a", Retry: agent.Retry{InitialSeconds: 3600}}.Defaults(agent.RunnerEcho)
	require.NoError(t, slow.Validate(false), "defaults fit what was chosen")
	require.InDelta(t, 3600, slow.Retry.MaxSeconds, 0)
}

func TestGoodSettings(t *testing.T) {
	for name, s := range map[string]agent.Settings{
		"http":                 settings(),
		"http, plain":          settings(url("http://agent.example.com:8080")),
		"http, by address":     settings(url("https://[2001:db8::1]:8443/run")),
		"http, 50 headers":     settings(headers(manyHeaders(50))),
		"none":                 settings(runner(agent.Runner{Kind: agent.RunnerNone})),
		"echo":                 settings(runner(agent.Runner{Kind: agent.RunnerEcho})),
		"command":              settings(command("/usr/bin/true", "", "-x")),
		"command, 100 entries": settings(command(strings.Split(strings.Repeat("a,", 99)+"a", ",")...)),
		"the longest texts": settings(func(s *agent.Settings) {
			s.Name, s.Type, s.Description = strings.Repeat("ü", 200), strings.Repeat("ü", 200), strings.Repeat("ü", 10_000)
		}),
		"the least numbers": settings(retry(func(r *agent.Retry) {
			*r = agent.Retry{MaxAttempts: 1, InitialSeconds: 0.1, MaxSeconds: 0.1, Factor: 1}
		}), func(s *agent.Settings) { s.TimeoutSeconds = 1 }),
		"the greatest numbers": settings(retry(func(r *agent.Retry) {
			*r = agent.Retry{MaxAttempts: 20, InitialSeconds: 3600, MaxSeconds: 86400, Factor: 10}
		}), func(s *agent.Settings) { s.TimeoutSeconds, s.MaxConcurrency = 86400, 100_000 }),
		"openai": settings(runner(model())),
		"openai, all of it": settings(runner(model(func(r *agent.Runner) {
			r.System, r.Prompt = "Be brief.", "Sort {{input.issue.title}} {{ input.labels.0 }} of {{input}}, as {\"a\":{}}"
			r.Temperature, r.MaxTokens, r.ResponseFormat, r.Headers = new(2.0), 1, agent.FormatJSON, map[string]string{"X-Title": "Hooktrail"}
		}))),
		"openai, at zero":      settings(runner(model(func(r *agent.Runner) { r.Temperature, r.MaxCompletionTokens = new(0.0), 10_000_000 }))),
		"a2a":                  settings(runner(agent.Runner{Kind: agent.RunnerA2A, URL: "https://agent.example.com", Headers: map[string]string{"X-Team": "ops"}})),
		"a schema":             settings(func(s *agent.Settings) { s.InputSchema = json.RawMessage(`{"type":"object"}`) }),
		"lines in the details": settings(func(s *agent.Settings) { s.Description = "one\ntwo" }),
	} {
		require.NoError(t, s.Validate(true), name)
	}
}

func TestBadSettings(t *testing.T) {
	const secret = "would put a secret on record; verify the request's signature instead"
	for name, c := range map[string]struct {
		s     agent.Settings
		field string
		why   string
	}{
		"no name":             {settings(func(s *agent.Settings) { s.Name = " " }), "name", "is required"},
		"a long name":         {settings(func(s *agent.Settings) { s.Name = strings.Repeat("ü", 201) }), "name", "is longer than 200 characters"},
		"NUL in the name":     {settings(func(s *agent.Settings) { s.Name = "a\x00" }), "name", "has control characters"},
		"a long type":         {settings(func(s *agent.Settings) { s.Type = strings.Repeat("ü", 201) }), "type", "is longer than 200 characters"},
		"a long description":  {settings(func(s *agent.Settings) { s.Description = strings.Repeat("ü", 10_001) }), "description", "is longer than 10000 characters"},
		"no time":             {settings(func(s *agent.Settings) { s.TimeoutSeconds = 0 }), "timeout_seconds", "must be from 1 to 86400"},
		"too much time":       {settings(func(s *agent.Settings) { s.TimeoutSeconds = 86401 }), "timeout_seconds", "must be from 1 to 86400"},
		"no attempt":          {settings(retry(func(r *agent.Retry) { r.MaxAttempts = 0 })), "retry.max_attempts", "must be from 1 to 20"},
		"many attempts":       {settings(retry(func(r *agent.Retry) { r.MaxAttempts = 21 })), "retry.max_attempts", "must be from 1 to 20"},
		"too soon":            {settings(retry(func(r *agent.Retry) { r.InitialSeconds = 0.09 })), "retry.initial_seconds", "must be from 0.1 to 3600"},
		"too late":            {settings(retry(func(r *agent.Retry) { r.InitialSeconds, r.MaxSeconds = 3601, 7200 })), "retry.initial_seconds", "must be from 0.1 to 3600"},
		"less and less":       {settings(retry(func(r *agent.Retry) { r.MaxSeconds = r.InitialSeconds - 1 })), "retry.max_seconds", "must be from retry.initial_seconds to 86400"},
		"longer than a day":   {settings(retry(func(r *agent.Retry) { r.MaxSeconds = 86401 })), "retry.max_seconds", "must be from retry.initial_seconds to 86400"},
		"shrinking":           {settings(retry(func(r *agent.Retry) { r.Factor = 0.99 })), "retry.factor", "must be from 1 to 10"},
		"exploding":           {settings(retry(func(r *agent.Retry) { r.Factor = 10.01 })), "retry.factor", "must be from 1 to 10"},
		"fewer than none":     {settings(func(s *agent.Settings) { s.MaxConcurrency = -1 }), "max_concurrency", "must be from 0 (no bound) to 100000"},
		"more than all":       {settings(func(s *agent.Settings) { s.MaxConcurrency = 100_001 }), "max_concurrency", "must be from 0 (no bound) to 100000"},
		"a schema of nothing": {settings(func(s *agent.Settings) { s.InputSchema = json.RawMessage(`{`) }), "input_schema", ""},
		"a wrong schema":      {settings(func(s *agent.Settings) { s.InputSchema = json.RawMessage(`{"type":"thing"}`) }), "input_schema", ""},
		"a schema elsewhere":  {settings(func(s *agent.Settings) { s.InputSchema = json.RawMessage(`{"$ref":"file:///etc/passwd"}`) }), "input_schema", "may not refer to another document: file:///etc/passwd"},

		"no kind":             {settings(runner(agent.Runner{})), "runner.kind", "must be one of http, openai, a2a, command, none, echo"},
		"an unknown kind":     {settings(runner(agent.Runner{Kind: "HTTP"})), "runner.kind", "must be one of http, openai, a2a, command, none, echo"},
		"echo with a url":     {settings(runner(agent.Runner{Kind: agent.RunnerEcho, URL: "https://a.example"})), "runner.url", "belongs to runners of the kind http or a2a only"},
		"none with a header":  {settings(runner(agent.Runner{Kind: agent.RunnerNone, Headers: map[string]string{"X-A": "b"}})), "runner.headers", "belongs to runners of the kind http or openai or a2a only"},
		"http with a command": {settings(func(s *agent.Settings) { s.Runner.Command = []string{"x"} }), "runner.command", "belongs to runners of the kind command only"},

		"no url":              {settings(url("")), "runner.url", "is required for the runner of kind http"},
		"a relative url":      {settings(url("/run")), "runner.url", "must be an absolute http or https URL"},
		"another scheme":      {settings(url("file:///etc/passwd")), "runner.url", "must be an absolute http or https URL"},
		"gopher":              {settings(url("gopher://agent.example.com")), "runner.url", "must be an absolute http or https URL"},
		"no host":             {settings(url("https:///run")), "runner.url", "must be an absolute http or https URL"},
		"only a port":         {settings(url("https://:8080/run")), "runner.url", "must be an absolute http or https URL"},
		"a broken url":        {settings(url("https://agent.example.com/\x7f")), "runner.url", "must be an absolute http or https URL"},
		"a password":          {settings(url("https://me:secret@agent.example.com")), "runner.url", "must not hold a user name or password; send a header instead"},
		"many headers":        {settings(headers(manyHeaders(51))), "runner.headers", "has more than 50 entries"},
		"a header of spaces":  {settings(headers(map[string]string{"X A": "b"})), "runner.headers.X A", "is not a valid header"},
		"a long header name":  {settings(headers(map[string]string{strings.Repeat("x", 101): "b"})), "runner.headers." + strings.Repeat("x", 101), "is not a valid header"},
		"a second header":     {settings(headers(map[string]string{"X-A": "b\r\nX-B: c"})), "runner.headers.X-A", "is not a valid header"},
		"a NUL in a header":   {settings(headers(map[string]string{"X-A": "b\x00"})), "runner.headers.X-A", "is not a valid header"},
		"authorization":       {settings(headers(map[string]string{"AUTHORIZATION": "Bearer x"})), "runner.headers.AUTHORIZATION", secret},
		"a cookie":            {settings(headers(map[string]string{"Cookie": "x"})), "runner.headers.Cookie", secret},
		"a key":               {settings(headers(map[string]string{"X-Api-Key": "x"})), "runner.headers.X-Api-Key", secret},
		"proxy authorization": {settings(headers(map[string]string{"Proxy-Authorization": "x"})), "runner.headers.Proxy-Authorization", secret},

		"a key in a header":       {settings(runner(model(func(r *agent.Runner) { r.Headers = map[string]string{"Api-Key": "x"} }))), "runner.headers.Api-Key", "would put a secret on record; set runner.api_key instead, which is kept sealed"},
		"a token in a header":     {settings(runner(agent.Runner{Kind: agent.RunnerA2A, URL: "https://a.example", Headers: map[string]string{"Authorization": "x"}})), "runner.headers.Authorization", "would put a secret on record; set runner.token instead, which is kept sealed"},
		"a2a without url":         {settings(runner(agent.Runner{Kind: agent.RunnerA2A})), "runner.url", "is required for the runner of kind a2a: the address below which /.well-known/agent-card.json is found"},
		"a2a with a model":        {settings(runner(agent.Runner{Kind: agent.RunnerA2A, URL: "https://a.example", Model: "m"})), "runner.model", "belongs to runners of the kind openai only"},
		"openai with a url":       {settings(runner(model(func(r *agent.Runner) { r.URL = "https://a.example" }))), "runner.url", "belongs to runners of the kind http or a2a only"},
		"no base_url":             {settings(runner(model(func(r *agent.Runner) { r.BaseURL = "" }))), "runner.base_url", "is required for the runner of kind openai, such as https://api.openai.com/v1"},
		"a relative base_url":     {settings(runner(model(func(r *agent.Runner) { r.BaseURL = "/v1" }))), "runner.base_url", "must be an absolute http or https URL"},
		"a query":                 {settings(runner(model(func(r *agent.Runner) { r.BaseURL += "?api-version=1" }))), "runner.base_url", "must not hold a query or fragment"},
		"no model":                {settings(runner(model(func(r *agent.Runner) { r.Model = " " }))), "runner.model", "is required for the runner of kind openai"},
		"a long model":            {settings(runner(model(func(r *agent.Runner) { r.Model = strings.Repeat("ü", 201) }))), "runner.model", "is longer than 200 characters"},
		"a long system":           {settings(runner(model(func(r *agent.Runner) { r.System = strings.Repeat("ü", 100_001) }))), "runner.system", "is longer than 100000 characters"},
		"a placeholder elsewhere": {settings(runner(model(func(r *agent.Runner) { r.System = "{{input}}" }))), "runner.system", "takes no placeholders: the input belongs into runner.prompt"},
		"a long prompt":           {settings(runner(model(func(r *agent.Runner) { r.Prompt = strings.Repeat("ü", 100_001) }))), "runner.prompt", "is longer than 100000 characters"},
		"a wrong placeholder":     {settings(runner(model(func(r *agent.Runner) { r.Prompt = "a {{input}} {{.Input}} b" }))), "runner.prompt", `has "{{.Input}}", which is no placeholder; write {{input}} for the input, or {{input.name}} for a value in it`},
		"a function":              {settings(runner(model(func(r *agent.Runner) { r.Prompt = "{{input | js}}" }))), "runner.prompt", ""},
		"half a placeholder":      {settings(runner(model(func(r *agent.Runner) { r.Prompt = "{{input" }))), "runner.prompt", ""},
		"hot":                     {settings(runner(model(func(r *agent.Runner) { r.Temperature = new(2.01) }))), "runner.temperature", "must be from 0 to 2"},
		"cold":                    {settings(runner(model(func(r *agent.Runner) { r.Temperature = new(-0.01) }))), "runner.temperature", "must be from 0 to 2"},
		"negative tokens":         {settings(runner(model(func(r *agent.Runner) { r.MaxTokens = -1 }))), "runner.max_tokens", ""},
		"too many tokens":         {settings(runner(model(func(r *agent.Runner) { r.MaxCompletionTokens = 10_000_001 }))), "runner.max_completion_tokens", ""},
		"tokens twice":            {settings(runner(model(func(r *agent.Runner) { r.MaxTokens, r.MaxCompletionTokens = 1, 1 }))), "runner.max_completion_tokens", "is the newer name of runner.max_tokens: give one of them"},
		"another format":          {settings(runner(model(func(r *agent.Runner) { r.ResponseFormat = "json" }))), "runner.response_format", "must be one of text, json_object"},

		"no command":         {settings(command()), "runner.command", "must be the program followed by its arguments"},
		"an empty command":   {settings(command("", "x")), "runner.command", "must be the program followed by its arguments"},
		"a long command":     {settings(command(strings.Split(strings.Repeat("a,", 100)+"a", ",")...)), "runner.command", "has more than 100 entries"},
		"a NUL in a command": {settings(command("a", "b\x00")), "runner.command", "must not hold a NUL character"},
	} {
		t.Run(name, func(t *testing.T) {
			var f *fault.Error
			require.ErrorAs(t, c.s.Validate(true), &f)
			require.Equal(t, fault.Validation, f.Code)
			require.Equal(t, []string{c.field}, slices.Collect(maps.Keys(f.Details)))
			if c.why != "" {
				require.Equal(t, c.why, f.Details[c.field])
			}
			require.NotEmpty(t, f.Details[c.field])

			_, err := agent.Register(c.s, true, "", nil)
			require.Equal(t, f, err, "nor is it registered")
			_, _, err = agent.Agent{Version: 1}.Update(c.s, true, "", nil)
			require.Equal(t, f, err, "or updated to")
		})
	}
}

func TestCommandIsTheOperatorsToAllow(t *testing.T) {
	var f *fault.Error
	require.ErrorAs(t, settings(command("/bin/true")).Validate(false), &f)
	require.Contains(t, f.Details["runner.kind"], "HOOKTRAIL_ALLOW_COMMAND_RUNNER")
}

func TestEveryWrongFieldIsNamed(t *testing.T) {
	var f *fault.Error
	require.ErrorAs(t, agent.Settings{}.Validate(false), &f)
	require.ElementsMatch(t, []string{
		"name", "runner.kind", "timeout_seconds", "retry.max_attempts", "retry.initial_seconds", "retry.factor",
	}, slices.Collect(maps.Keys(f.Details)))
}

func TestUpdateAndArchive(t *testing.T) {
	registered := agent.Registered{Settings: settings(), SigningSecretID: "secret-1"}
	other := settings(func(s *agent.Settings) { s.Description = "new" })
	schema := func(text string) agent.Settings {
		return settings(func(s *agent.Settings) { s.InputSchema = json.RawMessage(text) })
	}
	update := func(s agent.Settings, secretID string) func(agent.Agent) ([]eventlog.Event, error) {
		return func(a agent.Agent) ([]eventlog.Event, error) {
			events, _, err := a.Update(s, false, secretID, nil)
			return events, err
		}
	}
	archive := func(triggers int) func(agent.Agent) ([]eventlog.Event, error) {
		return func(a agent.Agent) ([]eventlog.Event, error) { return a.Archive(triggers) }
	}
	for name, c := range map[string]struct {
		given   []eventlog.Event
		when    func(agent.Agent) ([]eventlog.Event, error)
		then    []eventlog.Event
		refused fault.Code
	}{
		"update":                {given: list(registered), when: update(other, ""), then: list(agent.Updated{Settings: other})},
		"update with a secret":  {given: list(registered), when: update(other, "secret-2"), then: list(agent.Updated{Settings: other, SigningSecretID: "secret-2"})},
		"update to the same":    {given: list(registered), when: update(settings(), "")},
		"no headers is none":    {given: list(registered), when: update(settings(headers(map[string]string{})), "")},
		"space in the schema":   {given: list(agent.Registered{Settings: schema(`{"type":"object"}`)}), when: update(schema("{ \"type\" : \"object\" }\n"), "")},
		"another schema":        {given: list(agent.Registered{Settings: schema(`{"type":"object"}`)}), when: update(schema(`{}`), ""), then: list(agent.Updated{Settings: schema(`{}`)})},
		"update none":           {when: update(other, ""), refused: fault.NotFound},
		"update an archived":    {given: list(registered, agent.Archived{}), when: update(other, ""), refused: fault.NotFound},
		"archive":               {given: list(registered), when: archive(0), then: list(agent.Archived{})},
		"archive one that runs": {given: list(registered), when: archive(1), refused: fault.Conflict},
		"archive twice":         {given: list(registered, agent.Archived{}), when: archive(0), refused: fault.NotFound},
		"archive none":          {when: archive(0), refused: fault.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := c.when(given(t, c.given...))
			require.Equal(t, c.refused, fault.CodeOf(err))
			require.Equal(t, c.then, events)
		})
	}
}

func TestTheSecretOutlivesSettingsThatNeedNone(t *testing.T) {
	echo := settings(runner(agent.Runner{Kind: agent.RunnerEcho}))
	a := given(t, agent.Registered{Settings: settings(), SigningSecretID: "secret-1"}, agent.Updated{Settings: echo}, agent.Updated{Settings: settings()})
	require.Equal(t, "secret-1", a.SigningSecretID)
	require.Equal(t, settings(), a.Settings)
}
