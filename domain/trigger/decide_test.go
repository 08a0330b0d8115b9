package trigger_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

var (
	created   = trigger.Created{AgentID: "agent-1", Name: "orders", Active: true, TokenID: "token-1", TokenPrefix: "wht_aaaaaa"}
	signed    = trigger.Created{AgentID: "agent-1", Name: "orders", Active: true, TokenID: "token-1", TokenPrefix: "wht_aaaaaa", SecretID: "secret-1"}
	draft     = trigger.Draft{AgentID: "agent-1", Name: "orders", Active: true, TokenID: "token-1", TokenPrefix: "wht_aaaaaa"}
	noTrigger = refusal{code: fault.NotFound}
)

func TestCreate(t *testing.T) {
	change := func(edit func(*trigger.Draft)) trigger.Draft {
		d := draft
		edit(&d)
		return d
	}
	configured := created
	configured.Options, configured.SecretID, configured.Active = trigger.Options{InactiveStatus: 410}, "secret-1", false
	for name, c := range map[string]struct {
		when    trigger.Draft
		then    []eventlog.Event
		refused refusal
	}{
		"active, unsigned": {when: draft, then: list(created)},
		"with all there is": {
			when: change(func(d *trigger.Draft) {
				d.Options, d.SecretID, d.Active = trigger.Options{InactiveStatus: 410}, "secret-1", false
			}),
			then: list(configured),
		},
		"the longest name": {
			when: change(func(d *trigger.Draft) { d.Name = strings.Repeat("ü", 200) }),
			then: list(trigger.Created{AgentID: "agent-1", Name: strings.Repeat("ü", 200), Active: true, TokenID: "token-1", TokenPrefix: "wht_aaaaaa"}),
		},
		"no name":           {when: change(func(d *trigger.Draft) { d.Name = "" }), refused: invalid("name", "is required")},
		"a name of spaces":  {when: change(func(d *trigger.Draft) { d.Name = " \t " }), refused: invalid("name", "is required")},
		"too long a name":   {when: change(func(d *trigger.Draft) { d.Name = strings.Repeat("ü", 201) }), refused: invalid("name", "is longer than 200 characters")},
		"NUL in the name":   {when: change(func(d *trigger.Draft) { d.Name = "a\x00b" }), refused: invalid("name", "has control characters")},
		"lines in the name": {when: change(func(d *trigger.Draft) { d.Name = "a\nb" }), refused: invalid("name", "has control characters")},
		"no agent":          {when: change(func(d *trigger.Draft) { d.AgentID = "" }), refused: invalid("agent_id", "is required")},
		"nothing at all": {
			refused: refusal{fault.Validation, map[string]string{"name": "is required", "agent_id": "is required"}},
		},
		"a bad option": {
			when:    change(func(d *trigger.Draft) { d.Options.InactiveStatus = 404 }),
			refused: invalid("options.inactive_status", "must be 200, 403 or 410"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := trigger.Create(c.when)
			requireRefusal(t, c.refused, err)
			require.Equal(t, c.then, events)
		})
	}
}

func TestUpdate(t *testing.T) {
	options := trigger.Options{RateLimit: new(5)}
	for name, c := range map[string]struct {
		given   []eventlog.Event
		when    trigger.Change
		then    []eventlog.Event
		refused refusal
	}{
		"rename":               {given: list(created), when: trigger.Change{Name: new("bills")}, then: list(trigger.Renamed{Name: "bills"})},
		"rename to the same":   {given: list(created), when: trigger.Change{Name: new("orders")}},
		"rename to nothing":    {given: list(created), when: trigger.Change{Name: new("")}, refused: invalid("name", "is required")},
		"switch off":           {given: list(created), when: trigger.Change{Active: new(false)}, then: list(trigger.Deactivated{})},
		"switch off twice":     {given: list(created, trigger.Deactivated{}), when: trigger.Change{Active: new(false)}},
		"switch on again":      {given: list(created, trigger.Deactivated{}), when: trigger.Change{Active: new(true)}, then: list(trigger.Activated{})},
		"rebind":               {given: list(created), when: trigger.Change{AgentID: new("agent-2")}, then: list(trigger.Rebound{AgentID: "agent-2"})},
		"rebind to the same":   {given: list(created), when: trigger.Change{AgentID: new("agent-1")}},
		"rebind to none":       {given: list(created), when: trigger.Change{AgentID: new("")}, refused: invalid("agent_id", "must not be empty")},
		"configure":            {given: list(created), when: trigger.Change{Options: &options}, then: list(trigger.Configured{Options: options})},
		"configure alike":      {given: list(created, trigger.Configured{Options: trigger.Options{RateLimit: new(5)}}), when: trigger.Change{Options: &options}},
		"configure to none":    {given: list(created, trigger.Configured{Options: options}), when: trigger.Change{Options: &trigger.Options{}}, then: list(trigger.Configured{})},
		"configure badly":      {given: list(created), when: trigger.Change{Options: &trigger.Options{MaxBodyBytes: -1}}, refused: invalid("options.max_body_bytes", "must be from 1 to 26214400")},
		"nothing":              {given: list(created)},
		"nothing of a deleted": {given: list(created, trigger.Deleted{}), refused: noTrigger},
		"nothing of none":      {refused: noTrigger},
		"all at once": {
			given: list(created), when: trigger.Change{Name: new("bills"), Active: new(false), AgentID: new("agent-2"), Options: &options},
			then: list(trigger.Renamed{Name: "bills"}, trigger.Configured{Options: options}, trigger.Rebound{AgentID: "agent-2"}, trigger.Deactivated{}),
		},
		"one bad field changes none": {
			given: list(created), when: trigger.Change{Name: new("bills"), AgentID: new("")}, refused: invalid("agent_id", "must not be empty"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := given(t, c.given...).Update(c.when)
			requireRefusal(t, c.refused, err)
			require.Equal(t, c.then, events)
		})
	}
}

const badGrace = "must be from 0 to 2592000 seconds"

func TestRotateToken(t *testing.T) {
	hour, day := noon.Add(time.Hour), noon.Add(24*time.Hour)
	rotated := func(id string, until *time.Time) trigger.TokenRotated {
		return trigger.TokenRotated{TokenID: id, TokenPrefix: "wht_" + id, PreviousUntil: until}
	}
	six := list(created, rotated("b", &day), rotated("c", &day), rotated("d", &day), rotated("e", &day), rotated("f", &day))
	for name, c := range map[string]struct {
		given   []eventlog.Event
		grace   time.Duration
		now     time.Time
		then    []eventlog.Event
		forgets []string
		refused refusal
	}{
		"at once":          {given: list(created), now: noon, then: list(rotated("new", nil)), forgets: []string{"token-1"}},
		"with grace":       {given: list(created), grace: time.Hour, now: noon, then: list(rotated("new", &hour)), forgets: []string{}},
		"the longest":      {given: list(created), grace: 30 * 24 * time.Hour, now: noon, then: list(rotated("new", new(noon.Add(30*24*time.Hour)))), forgets: []string{}},
		"too long":         {given: list(created), grace: 30*24*time.Hour + 1, now: noon, refused: invalid("grace_period", badGrace)},
		"negative":         {given: list(created), grace: -1, now: noon, refused: invalid("grace_period", badGrace)},
		"in the past zone": {given: list(created), grace: time.Hour, now: noon.In(time.FixedZone("", 7200)), then: list(rotated("new", &hour)), forgets: []string{}},
		"grace at once ends all": {
			given: list(created, rotated("b", &day)), now: noon, then: list(rotated("new", nil)), forgets: []string{"b", "token-1"},
		},
		"what has run out is forgotten": {
			given: list(created, rotated("b", &hour)), grace: time.Hour, now: hour, then: list(rotated("new", new(hour.Add(time.Hour)))), forgets: []string{"token-1"},
		},
		"the sixth old one is forgotten": {
			given: six, grace: time.Hour, now: noon, then: list(rotated("new", &hour)), forgets: []string{"token-1"},
		},
		"of a deleted": {given: list(created, trigger.Deleted{}), now: noon, refused: noTrigger},
		"of none":      {now: noon, refused: noTrigger},
	} {
		t.Run(name, func(t *testing.T) {
			events, forgets, err := given(t, c.given...).RotateToken("new", "wht_new", c.grace, c.now)
			requireRefusal(t, c.refused, err)
			require.Equal(t, c.then, events)
			require.Equal(t, c.forgets, forgets)
		})
	}
}

func TestSecrets(t *testing.T) {
	hour := noon.Add(time.Hour)
	set := func(id string, until *time.Time) trigger.SecretSet {
		return trigger.SecretSet{SecretID: id, PreviousUntil: until}
	}
	setNew := func(grace time.Duration) func(trigger.Trigger) ([]eventlog.Event, []string, error) {
		return func(t trigger.Trigger) ([]eventlog.Event, []string, error) { return t.SetSecret("new", grace, noon) }
	}
	for name, c := range map[string]struct {
		given   []eventlog.Event
		when    func(trigger.Trigger) ([]eventlog.Event, []string, error)
		then    []eventlog.Event
		forgets []string
		refused refusal
	}{
		"the first has nothing before it": {given: list(created), when: setNew(time.Hour), then: list(set("new", nil)), forgets: []string{}},
		"another at once":                 {given: list(signed), when: setNew(0), then: list(set("new", nil)), forgets: []string{"secret-1"}},
		"another with grace":              {given: list(signed), when: setNew(time.Hour), then: list(set("new", &hour)), forgets: []string{}},
		"again after it was removed":      {given: list(signed, trigger.SecretRemoved{}), when: setNew(time.Hour), then: list(set("new", nil)), forgets: []string{}},
		"too long":                        {given: list(signed), when: setNew(31 * 24 * time.Hour), refused: invalid("grace_period", badGrace)},
		"of a deleted":                    {given: list(signed, trigger.Deleted{}), when: setNew(0), refused: noTrigger},
		"remove":                          {given: list(signed, set("b", &hour)), when: trigger.Trigger.RemoveSecret, then: list(trigger.SecretRemoved{}), forgets: []string{"b", "secret-1"}},
		"remove none":                     {given: list(created), when: trigger.Trigger.RemoveSecret, refused: noTrigger},
		"remove twice":                    {given: list(signed, trigger.SecretRemoved{}), when: trigger.Trigger.RemoveSecret, refused: noTrigger},
		"remove of a deleted":             {given: list(signed, trigger.Deleted{}), when: trigger.Trigger.RemoveSecret, refused: noTrigger},
	} {
		t.Run(name, func(t *testing.T) {
			events, forgets, err := c.when(given(t, c.given...))
			requireRefusal(t, c.refused, err)
			require.Equal(t, c.then, events)
			require.Equal(t, c.forgets, forgets)
		})
	}
}

func TestDelete(t *testing.T) {
	events, forgets, err := given(t, signed, trigger.TokenRotated{TokenID: "token-2", PreviousUntil: new(noon.Add(time.Hour))}).Delete()
	require.NoError(t, err)
	require.Equal(t, list(trigger.Deleted{}), events)
	require.Equal(t, []string{"token-2", "token-1", "secret-1"}, forgets, "no credential is left behind")

	_, _, err = given(t, signed, trigger.Deleted{}).Delete()
	requireRefusal(t, noTrigger, err)
	_, _, err = given(t).Delete()
	requireRefusal(t, noTrigger, err)
}

func TestOpen(t *testing.T) {
	client := netip.MustParseAddr("192.0.2.7")
	with := func(o trigger.Options) trigger.Configured { return trigger.Configured{Options: o} }
	for name, c := range map[string]struct {
		given []eventlog.Event
		code  fault.Code
	}{
		"active":                {list(created), ""},
		"switched off":          {list(created, trigger.Deactivated{}), fault.TriggerInactive},
		"on again":              {list(created, trigger.Deactivated{}, trigger.Activated{}), ""},
		"expires later":         {list(created, with(trigger.Options{ExpiresAt: new(noon.Add(1))})), ""},
		"expires now":           {list(created, with(trigger.Options{ExpiresAt: new(noon)})), fault.TriggerInactive},
		"an address allowed":    {list(created, with(trigger.Options{AllowedIPs: []string{"192.0.2.0/24"}})), ""},
		"an address refused":    {list(created, with(trigger.Options{AllowedIPs: []string{"192.0.3.0/24"}})), fault.Forbidden},
		"refused, whatever off": {list(created, trigger.Deactivated{}, with(trigger.Options{AllowedIPs: []string{"::1"}})), fault.Forbidden},
	} {
		require.Equal(t, c.code, fault.CodeOf(given(t, c.given...).Open(client, noon)), name)
	}
}
