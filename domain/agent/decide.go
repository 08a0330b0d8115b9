package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/payload"
)

// Limits of an agent's settings.
const (
	maxName        = 200
	maxDescription = 10_000
	maxHeaders     = 50
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
	switch {
	case strings.TrimSpace(s.Name) == "":
		wrong["name"] = "is required"
	case utf8.RuneCountInString(s.Name) > maxName:
		wrong["name"] = fmt.Sprintf("is longer than %d characters", maxName)
	case strings.ContainsFunc(s.Name, unicode.IsControl):
		wrong["name"] = "has control characters"
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

func (r Runner) validate(commandAllowed bool, wrong map[string]string) {
	if r.Kind != RunnerHTTP && (r.URL != "" || len(r.Headers) > 0) {
		wrong["runner.url"] = "and runner.headers belong to the runner of kind http only"
	}
	if r.Kind != RunnerCommand && len(r.Command) > 0 {
		wrong["runner.command"] = "belongs to the runner of kind command only"
	}
	switch r.Kind {
	case RunnerHTTP:
		target, err := url.Parse(r.URL)
		switch {
		case r.URL == "":
			wrong["runner.url"] = "is required for the runner of kind http"
		case err != nil || target.Hostname() == "" || (target.Scheme != "http" && target.Scheme != "https"):
			wrong["runner.url"] = "must be an absolute http or https URL"
		case target.User != nil:
			wrong["runner.url"] = "must not hold a user name or password; send a header instead"
		}
		if len(r.Headers) > maxHeaders {
			wrong["runner.headers"] = fmt.Sprintf("has more than %d entries", maxHeaders)
		}
		for name, value := range r.Headers {
			if !headerName.MatchString(name) || strings.ContainsAny(value, "\r\n\x00") {
				wrong["runner.headers."+name] = "is not a valid header"
			}
			switch strings.ToLower(name) {
			case "authorization", "proxy-authorization", "cookie", "x-api-key":
				wrong["runner.headers."+name] = "would put a secret on record; verify the request's signature instead"
			}
		}
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
		wrong["runner.kind"] = "must be one of http, command, none, echo"
	}
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

// Register decides the first event of an agent.
func Register(settings Settings, commandAllowed bool, signingSecretID string) ([]eventlog.Event, error) {
	if err := settings.Validate(commandAllowed); err != nil {
		return nil, err
	}
	return []eventlog.Event{Registered{Settings: settings, SigningSecretID: signingSecretID}}, nil
}

// Update decides on new settings; the same settings again change nothing. newSecretID
// names a secret made for an agent that comes to need one.
func (a Agent) Update(settings Settings, commandAllowed bool, newSecretID string) ([]eventlog.Event, error) {
	if a.Archived || a.Version == 0 {
		return nil, fault.New(fault.NotFound, "there is no such agent")
	}
	if err := settings.Validate(commandAllowed); err != nil {
		return nil, err
	}
	same, err := sameStored(settings, a.Settings)
	if err != nil || same {
		return nil, err
	}
	return []eventlog.Event{Updated{Settings: settings, SigningSecretID: newSecretID}}, nil
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
