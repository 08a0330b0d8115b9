package subscription

import (
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"hooktrail/domain/credential"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/label"
)

// Limits of a subscription's settings.
const (
	maxURL      = 2000
	maxPatterns = 50
)

var (
	typePattern   = regexp.MustCompile(`^(\*|[a-z_]+(\.[a-z_]*)?\*?)$`)
	streamPattern = regexp.MustCompile(`^(\*|[a-z_]+(-[0-9A-Za-z]*)?\*?)$`)
)

// Fits reports whether a name is a pattern, or begins as a pattern that ends in * says.
func Fits(pattern, name string) bool {
	if begin, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(name, begin)
	}
	return pattern == name
}

// Defaults fills in what was left open.
func (s Settings) Defaults() Settings {
	if s.Format == "" {
		s.Format = CloudEvents
	}
	if len(s.Types) == 0 || slices.Contains(s.Types, "*") {
		s.Types = nil
	}
	if len(s.Streams) == 0 || slices.Contains(s.Streams, "*") {
		s.Streams = nil
	}
	return s
}

// Validate names every field that is wrong. known are all types of events that there are.
func (s Settings) Validate(known []string) error {
	wrong := map[string]string{}
	if why := label.CheckName(s.Name); why != "" {
		wrong["name"] = why
	}
	target, err := url.Parse(s.URL)
	switch {
	case s.URL == "":
		wrong["url"] = "is required"
	case len(s.URL) > maxURL:
		wrong["url"] = fmt.Sprintf("is longer than %d bytes", maxURL)
	case err != nil || target.Hostname() == "" || (target.Scheme != "http" && target.Scheme != "https"):
		wrong["url"] = "must be an absolute http or https URL"
	case target.User != nil:
		wrong["url"] = "must not hold a user name or password; verify the signature of deliveries instead"
	case target.Fragment != "":
		wrong["url"] = "must not have a fragment, which is never sent"
	}
	for i, pattern := range s.Types {
		path := fmt.Sprintf("types[%d]", i)
		if !typePattern.MatchString(pattern) {
			wrong[path] = `must be a type of event such as "execution.failed", or its beginning and *, such as "execution.*"`
		} else if !slices.ContainsFunc(known, func(name string) bool { return Fits(pattern, name) }) {
			wrong[path] = fmt.Sprintf("%q fits no type of event; the types are %s", pattern, strings.Join(known, ", "))
		}
	}
	for i, pattern := range s.Streams {
		if len(pattern) > 100 || !streamPattern.MatchString(pattern) {
			wrong[fmt.Sprintf("streams[%d]", i)] = `must be the stream of an event such as "trigger-2nJvP0dXhTQ9W5mC3kR7sYbA1fE", or its beginning and *, such as "trigger-*"`
		}
	}
	for field, patterns := range map[string][]string{"types": s.Types, "streams": s.Streams} {
		if len(patterns) > maxPatterns {
			wrong[field] = fmt.Sprintf("has more than %d entries", maxPatterns)
		}
	}
	for field, id := range map[string]string{"trigger_id": s.TriggerID, "agent_id": s.AgentID} {
		if len(id) > 100 || strings.ContainsFunc(id, unicode.IsControl) {
			wrong[field] = "is no id"
		}
	}
	if s.Format != CloudEvents {
		wrong["format"] = "must be " + CloudEvents
	}
	return fault.Fields(wrong)
}

// Create decides the first event of a subscription.
func Create(settings Settings, known []string, startAfter eventlog.Position, secretID string) ([]eventlog.Event, error) {
	if err := settings.Validate(known); err != nil {
		return nil, err
	}
	return []eventlog.Event{Created{Settings: settings, StartAfter: startAfter, SecretID: secretID}}, nil
}

func (s Subscription) exists() error {
	if s.Version == 0 || s.Deleted {
		return fault.New(fault.NotFound, "there is no such subscription")
	}
	return nil
}

// Update decides on new settings, and on whether events are delivered; nil leaves that as it
// is, and what is so already changes nothing.
func (s Subscription) Update(settings Settings, known []string, active *bool) ([]eventlog.Event, error) {
	if err := s.exists(); err != nil {
		return nil, err
	}
	if err := settings.Validate(known); err != nil {
		return nil, err
	}
	var events []eventlog.Event
	if !reflect.DeepEqual(settings, s.Settings) {
		events = append(events, Updated{Settings: settings})
	}
	switch {
	case active == nil || *active == s.Active():
	case *active:
		events = append(events, Enabled{})
	default:
		events = append(events, Disabled{Code: Requested, Reason: "disabled by request"})
	}
	return events, nil
}

// SetSecret decides on a new secret; the one before signs too while the grace period lasts. It
// also gives the ids of the secrets that are used no more.
func (s Subscription) SetSecret(id string, grace time.Duration, now time.Time) ([]eventlog.Event, []string, error) {
	if err := s.exists(); err != nil {
		return nil, nil, err
	}
	until, err := credential.GraceEnd(grace, now)
	if err != nil {
		return nil, nil, err
	}
	kept := credential.Replace(s.Secrets, credential.Credential{ID: id}, until, now, maxGrace)
	return []eventlog.Event{SecretSet{SecretID: id, PreviousUntil: until}}, credential.Dropped(s.Secrets, kept), nil
}

// GiveUp decides that deliveries have failed for long enough.
func (s Subscription) GiveUp(why Disabled) ([]eventlog.Event, error) {
	if !s.Active() {
		return nil, nil
	}
	return []eventlog.Event{why}, nil
}

// Delete decides the end of a subscription, and gives the ids of its secrets.
func (s Subscription) Delete() ([]eventlog.Event, []string, error) {
	if err := s.exists(); err != nil {
		return nil, nil, err
	}
	return []eventlog.Event{Deleted{}}, credential.IDs(s.Secrets), nil
}
