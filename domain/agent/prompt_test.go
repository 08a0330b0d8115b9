package agent_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/agent"
)

func TestFillPrompt(t *testing.T) {
	const input = `{"issue": {"title": "{{input}} & \u0000", "n": 12345678901234567890}, "labels": ["a", "b"], "not": null}`
	frame := func(value json.RawMessage) string { return "<" + string(value) + ">" }
	for prompt, filled := range map[string]string{
		"":                         "<" + input + ">",
		"Sort this.":               "Sort this.\n\n<" + input + ">",
		"{{input}}":                "<" + input + ">",
		"a {{ input }} b":          "a <" + input + "> b",
		"{{input.issue.title}}":    `<"{{input}} & \u0000">`,
		"{{input.issue.n}}.":       "<12345678901234567890>.",
		"{{input.labels.1}}":       `<"b">`,
		"{{input.labels.2}}":       "<null>",
		"{{input.labels.-1}}":      "<null>",
		"{{input.labels.x}}":       "<null>",
		"{{input.absent.deeper}}":  "<null>",
		"{{input.not}}":            "<null>",
		"{{input.issue.title.no}}": "<null>",
		"{{input.labels}} $1 ${1}": `<["a", "b"]> $1 ${1}`,
	} {
		require.Equal(t, filled, agent.FillPrompt(prompt, json.RawMessage(input), frame), prompt)
	}
	require.Equal(t, "<[1]> and <1>", agent.FillPrompt("{{input}} and {{input.0}}", json.RawMessage("[1]"), frame))
}

func TestCredentials(t *testing.T) {
	for secret, hint := range map[string]string{"": "", "short": "", "fifteen-letters": "", "sixteen-letters!": "ers!", "sk-0123456789abcdefghij": "ghij"} {
		c, err := agent.NewCredential("runner.api_key", "1", secret)
		require.NoError(t, err)
		require.Equal(t, &agent.Credential{ID: "1", Hint: hint}, c)
	}
	for _, secret := range []string{"with space", "line\nend", "é", "\x7f", string(make([]byte, 4097))} {
		_, err := agent.NewCredential("runner.api_key", "1", secret)
		require.ErrorContains(t, err, "runner.api_key")
		require.NotContains(t, err.Error(), secret)
	}
	require.Equal(t, "runner.api_key", agent.CredentialField(agent.RunnerOpenAI))
	require.Equal(t, "runner.token", agent.CredentialField(agent.RunnerA2A))
	require.Empty(t, agent.CredentialField(agent.RunnerHTTP))
}

func TestWhichCredentialStays(t *testing.T) {
	first, second := &agent.Credential{ID: "c-1", Hint: "1111"}, &agent.Credential{ID: "c-2"}
	with := func(edit ...func(*agent.Runner)) agent.Settings { return settings(runner(model(edit...))) }
	elsewhere := with(func(r *agent.Runner) { r.BaseURL = "https://elsewhere.example.com/v1" })
	for name, c := range map[string]struct {
		to      agent.Settings
		given   *agent.Credential
		stays   *agent.Credential
		forget  string
		refused string
	}{
		"nothing changes":       {to: with(), stays: first},
		"another model":         {to: with(func(r *agent.Runner) { r.Model = "large" }), stays: first},
		"another path":          {to: with(func(r *agent.Runner) { r.BaseURL = "https://MODELS.example.com/v2" }), stays: first},
		"another key":           {to: with(), given: second, stays: second, forget: "c-1"},
		"removed":               {to: with(), given: &agent.Credential{}, forget: "c-1"},
		"another kind":          {to: settings(), forget: "c-1"},
		"another host":          {to: elsewhere, refused: "must be given again"},
		"another port":          {to: with(func(r *agent.Runner) { r.BaseURL = "https://models.example.com:444/v1" }), refused: "must be given again"},
		"no TLS any more":       {to: with(func(r *agent.Runner) { r.BaseURL = "http://models.example.com/v1" }), refused: "must be given again"},
		"another host and key":  {to: elsewhere, given: second, stays: second, forget: "c-1"},
		"another host, removed": {to: elsewhere, given: &agent.Credential{}, forget: "c-1"},
	} {
		t.Run(name, func(t *testing.T) {
			events, forget, err := given(t, agent.Registered{Settings: with(), Credential: first}).Update(c.to, false, "", c.given)
			require.Equal(t, c.forget, forget)
			if c.refused != "" {
				require.ErrorContains(t, err, "runner.api_key "+c.refused)
				return
			}
			require.NoError(t, err)
			state := given(t, append(list(agent.Registered{Settings: with(), Credential: first}), events...)...)
			require.Equal(t, c.stays, state.Credential)
			require.Equal(t, c.to, state.Settings)
		})
	}
}
