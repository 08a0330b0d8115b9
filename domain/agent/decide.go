package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/label"
	"hooktrail/domain/payload"
)

// Limits of an agent's settings.
const (
	maxName        = 200
	maxDescription = 10_000
	maxHeaders     = 50
	maxPrompt      = 100_000
	maxTokens      = 10_000_000
)

var headerName = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~` + "`" + `-]{1,100}$`)

// Defaults fills in what was left open.
func (s Settings) Defaults(defaultRunner string) Settings {
	if s.Runner.Kind == "" {
		s.Runner.Kind = defaultRunner
	}
	if s.TimeoutSeconds == 0 {
		s.TimeoutSeconds = 300
	}
	standard := DefaultRetry()
	if s.Retry.MaxAttempts == 0 {
		s.Retry.MaxAttempts = standard.MaxAttempts
	}
	if s.Retry.InitialSeconds == 0 {
		s.Retry.InitialSeconds = standard.InitialSeconds
	}
	if s.Retry.MaxSeconds == 0 {
		s.Retry.MaxSeconds = max(standard.MaxSeconds, s.Retry.InitialSeconds)
	}
	if s.Retry.Factor == 0 {
		s.Retry.Factor = standard.Factor
	}
	return s
}

// Validate names every field that is wrong. commandAllowed is the operator's word that
// agents may start programs on this machine.
func (s Settings) Validate(commandAllowed bool) error {
	wrong := map[string]string{}
	if why := label.CheckName(s.Name); why != "" {
		wrong["name"] = why
	}
	if utf8.RuneCountInString(s.Type) > maxName {
		wrong["type"] = fmt.Sprintf("is longer than %d characters", maxName)
	}
	if utf8.RuneCountInString(s.Description) > maxDescription {
		wrong["description"] = fmt.Sprintf("is longer than %d characters", maxDescription)
	}
	s.Runner.validate(commandAllowed, wrong)
	if len(s.InputSchema) > 0 {
		if _, err := payload.CompileSchema(s.InputSchema); err != nil {
			wrong["input_schema"] = messageOf(err)
		}
	}
	if s.TimeoutSeconds < 1 || s.TimeoutSeconds > 86400 {
		wrong["timeout_seconds"] = "must be from 1 to 86400"
	}
	if s.Retry.MaxAttempts < 1 || s.Retry.MaxAttempts > 20 {
		wrong["retry.max_attempts"] = "must be from 1 to 20"
	}
	if s.Retry.InitialSeconds < 0.1 || s.Retry.InitialSeconds > 3600 {
		wrong["retry.initial_seconds"] = "must be from 0.1 to 3600"
	}
	if s.Retry.MaxSeconds < s.Retry.InitialSeconds || s.Retry.MaxSeconds > 86400 {
		wrong["retry.max_seconds"] = "must be from retry.initial_seconds to 86400"
	}
	if s.Retry.Factor < 1 || s.Retry.Factor > 10 {
		wrong["retry.factor"] = "must be from 1 to 10"
	}
	if s.MaxConcurrency < 0 || s.MaxConcurrency > 100_000 {
		wrong["max_concurrency"] = "must be from 0 (no bound) to 100000"
	}
	return fault.Fields(wrong)
}

// kinds are the runners that exist, in the order in which they are told.
var kinds = []string{RunnerHTTP, RunnerOpenAI, RunnerA2A, RunnerCommand, RunnerNone, RunnerEcho}

// misplaced names the fields that do not belong to the runner's kind.
func (r Runner) misplaced(wrong map[string]string) {
	for _, field := range []struct {
		name  string
		given bool
		kinds []string
	}{
		{"url", r.URL != "", []string{RunnerHTTP, RunnerA2A}},
		{"headers", len(r.Headers) > 0, []string{RunnerHTTP, RunnerOpenAI, RunnerA2A}},
		{"command", len(r.Command) > 0, []string{RunnerCommand}},
		{"base_url", r.BaseURL != "", []string{RunnerOpenAI}},
		{"model", r.Model != "", []string{RunnerOpenAI}},
		{"system", r.System != "", []string{RunnerOpenAI}},
		{"prompt", r.Prompt != "", []string{RunnerOpenAI}},
		{"temperature", r.Temperature != nil, []string{RunnerOpenAI}},
		{"max_tokens", r.MaxTokens != 0, []string{RunnerOpenAI}},
		{"max_completion_tokens", r.MaxCompletionTokens != 0, []string{RunnerOpenAI}},
		{"response_format", r.ResponseFormat != "", []string{RunnerOpenAI}},
	} {
		if field.given && !slices.Contains(field.kinds, r.Kind) {
			wrong["runner."+field.name] = "belongs to runners of the kind " + strings.Join(field.kinds, " or ") + " only"
		}
	}
}

func (r Runner) validate(commandAllowed bool, wrong map[string]string) {
	r.misplaced(wrong)
	switch r.Kind {
	case RunnerHTTP:
		checkURL("runner.url", r.URL, "is required for the runner of kind http", wrong)
		r.checkHeaders("verify the request's signature instead", wrong)
	case RunnerA2A:
		checkURL("runner.url", r.URL, "is required for the runner of kind a2a: the address below which /.well-known/agent-card.json is found", wrong)
		r.checkHeaders("set runner.token instead, which is kept sealed", wrong)
	case RunnerOpenAI:
		checkURL("runner.base_url", r.BaseURL, "is required for the runner of kind openai, such as https://api.openai.com/v1", wrong)
		r.checkHeaders("set runner.api_key instead, which is kept sealed", wrong)
		if strings.ContainsAny(r.BaseURL, "?#") {
			wrong["runner.base_url"] = "must not hold a query or fragment"
		}
		r.checkModel(wrong)
	case RunnerCommand:
		switch {
		case !commandAllowed:
			wrong["runner.kind"] = "command is not allowed by the operator (HOOKTRAIL_ALLOW_COMMAND_RUNNER)"
		case len(r.Command) == 0 || r.Command[0] == "":
			wrong["runner.command"] = "must be the program followed by its arguments"
		case len(r.Command) > 100:
			wrong["runner.command"] = "has more than 100 entries"
		}
		for _, argument := range r.Command {
			if strings.ContainsRune(argument, 0) {
				wrong["runner.command"] = "must not hold a NUL character"
			}
		}
	case RunnerNone, RunnerEcho:
	default:
		wrong["runner.kind"] = "must be one of " + strings.Join(kinds, ", ")
	}
}

func checkURL(field, address, required string, wrong map[string]string) {
	target, err := url.Parse(address)
	switch {
	case address == "":
		wrong[field] = required
	case err != nil || target.Hostname() == "" || (target.Scheme != "http" && target.Scheme != "https"):
		wrong[field] = "must be an absolute http or https URL"
	case target.User != nil:
		wrong[field] = "must not hold a user name or password; send a header instead"
	}
}

func (r Runner) checkHeaders(instead string, wrong map[string]string) {
	if len(r.Headers) > maxHeaders {
		wrong["runner.headers"] = fmt.Sprintf("has more than %d entries", maxHeaders)
	}
	for name, value := range r.Headers {
		if !headerName.MatchString(name) || strings.ContainsAny(value, "\r\n\x00") {
			wrong["runner.headers."+name] = "is not a valid header"
		}
		switch strings.ToLower(name) {
		case "authorization", "proxy-authorization", "cookie", "x-api-key", "api-key":
			wrong["runner.headers."+name] = "would put a secret on record; " + instead
		}
	}
}

// checkModel checks what is particular to openai.
func (r Runner) checkModel(wrong map[string]string) {
	switch {
	case strings.TrimSpace(r.Model) == "":
		wrong["runner.model"] = "is required for the runner of kind openai"
	case utf8.RuneCountInString(r.Model) > maxName:
		wrong["runner.model"] = fmt.Sprintf("is longer than %d characters", maxName)
	}
	for field, text := range map[string]string{"runner.system": r.System, "runner.prompt": r.Prompt} {
		if utf8.RuneCountInString(text) > maxPrompt {
			wrong[field] = fmt.Sprintf("is longer than %d characters", maxPrompt)
		}
	}
	if err := checkPrompt(r.Prompt); err != nil {
		wrong["runner.prompt"] = err.Error()
	}
	if strings.Contains(r.System, "{{") {
		wrong["runner.system"] = "takes no placeholders: the input belongs into runner.prompt"
	}
	if t := r.Temperature; t != nil && (*t < 0 || *t > 2) {
		wrong["runner.temperature"] = "must be from 0 to 2"
	}
	if r.MaxTokens < 0 || r.MaxTokens > maxTokens {
		wrong["runner.max_tokens"] = fmt.Sprintf("must be from 1 to %d; left out, the model decides", maxTokens)
	}
	if r.MaxCompletionTokens < 0 || r.MaxCompletionTokens > maxTokens {
		wrong["runner.max_completion_tokens"] = fmt.Sprintf("must be from 1 to %d; left out, the model decides", maxTokens)
	}
	if r.MaxTokens > 0 && r.MaxCompletionTokens > 0 {
		wrong["runner.max_completion_tokens"] = "is the newer name of runner.max_tokens: give one of them"
	}
	switch r.ResponseFormat {
	case "", FormatText, FormatJSON:
	default:
		wrong["runner.response_format"] = "must be one of " + FormatText + ", " + FormatJSON
	}
}

// CredentialField is the field of a request that gives a runner of that kind its credential;
// "" for kinds that have none.
func CredentialField(kind string) string {
	switch kind {
	case RunnerOpenAI:
		return "runner.api_key"
	case RunnerA2A:
		return "runner.token"
	default:
		return ""
	}
}

// The least and most bytes of a secret of which the end is shown, so that most of it is not.
const (
	hintBytes      = 4
	leastWithHint  = 16
	maxSecretBytes = 4096
)

// NewCredential describes a secret that is kept under an id. The secret must be able to go
// into a header.
func NewCredential(field, id, secret string) (*Credential, error) {
	if len(secret) > maxSecretBytes {
		return nil, fault.Field(field, "is longer than %d bytes", maxSecretBytes)
	}
	for i := range len(secret) {
		if secret[i] <= ' ' || secret[i] > '~' {
			return nil, fault.Field(field, "must be of visible ASCII characters, without spaces")
		}
	}
	c := &Credential{ID: id}
	if len(secret) >= leastWithHint {
		c.Hint = secret[len(secret)-hintBytes:]
	}
	return c, nil
}

// origin is whom a runner's credential is for.
func (r Runner) origin() string {
	address := r.URL
	if r.Kind == RunnerOpenAI {
		address = r.BaseURL
	}
	target, err := url.Parse(address)
	if err != nil {
		return address
	}
	return strings.ToLower(target.Scheme + "://" + target.Host)
}

// nextCredential decides on the credential that goes with new settings. given is nil when the
// request says nothing about it, and has no id when it is to be removed.
func (a Agent) nextCredential(next Runner, given *Credential) (*Credential, error) {
	switch {
	case given != nil && given.ID == "":
		return nil, nil
	case given != nil:
		return given, nil
	case a.Credential == nil || next.Kind != a.Runner.Kind:
		return nil, nil
	case next.origin() != a.Runner.origin():
		// Else whoever may change an agent, but does not know the secret, could have it sent to
		// a server of theirs.
		field := CredentialField(next.Kind)
		return nil, fault.Field(field, `must be given again, since the agent's address changes from %s to %s; "" removes it`, a.Runner.origin(), next.origin())
	}
	return a.Credential, nil
}

func messageOf(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		for _, why := range f.Details {
			return why
		}
		return f.Message
	}
	return err.Error()
}

// Register decides the first event of an agent. credential is nil for one without.
func Register(settings Settings, commandAllowed bool, signingSecretID string, credential *Credential) ([]eventlog.Event, error) {
	if err := settings.Validate(commandAllowed); err != nil {
		return nil, err
	}
	return []eventlog.Event{Registered{Settings: settings, SigningSecretID: signingSecretID, Credential: credential}}, nil
}

// Update decides on new settings; the same settings again change nothing. newSecretID
// names a secret made for an agent that comes to need one. credential replaces the agent's
// credential; one without an id removes it, and nil keeps it where it can be kept. forget is
// the id of a credential that is not needed any more, "" when there is none.
func (a Agent) Update(settings Settings, commandAllowed bool, newSecretID string, credential *Credential) (events []eventlog.Event, forget string, err error) {
	if a.Archived || a.Version == 0 {
		return nil, "", fault.New(fault.NotFound, "there is no such agent")
	}
	if err := settings.Validate(commandAllowed); err != nil {
		return nil, "", err
	}
	next, err := a.nextCredential(settings.Runner, credential)
	if err != nil {
		return nil, "", err
	}
	if a.Credential != nil && (next == nil || next.ID != a.Credential.ID) {
		forget = a.Credential.ID
	}
	same, err := sameStored(settings, a.Settings)
	if err != nil || same && forget == "" && next == a.Credential {
		return nil, "", err
	}
	return []eventlog.Event{Updated{Settings: settings, SigningSecretID: newSecretID, Credential: next}}, forget, nil
}

// sameStored compares what would be stored: space in a schema makes no difference, nor does
// an empty list in place of none.
func sameStored(one, other Settings) (bool, error) {
	first, err := json.Marshal(one)
	if err != nil {
		return false, fmt.Errorf("encode settings: %w", err)
	}
	second, err := json.Marshal(other)
	if err != nil {
		return false, fmt.Errorf("encode settings: %w", err)
	}
	return bytes.Equal(first, second), nil
}

// Archive decides to end an agent. activeTriggers is how many triggers still run it.
func (a Agent) Archive(activeTriggers int) ([]eventlog.Event, error) {
	if a.Archived || a.Version == 0 {
		return nil, fault.New(fault.NotFound, "there is no such agent")
	}
	if activeTriggers > 0 {
		return nil, fault.New(fault.Conflict, "%d triggers still run this agent; delete or rebind them first", activeTriggers)
	}
	return []eventlog.Event{Archived{}}, nil
}
