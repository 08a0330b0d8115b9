package trigger_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

func TestMerge(t *testing.T) {
	end := noon.Add(time.Hour)
	full := trigger.Options{
		RateLimit: new(5), AllowedIPs: []string{"192.0.2.7"}, InactiveStatus: 200, ExpiresAt: &end, MaxBodyBytes: 100,
	}
	without := func(edit func(*trigger.Options)) trigger.Options {
		o := full
		edit(&o)
		return o
	}
	for patch, c := range map[string]struct{ given, want trigger.Options }{
		``:                                       {full, full},
		`null`:                                   {full, full},
		` {} `:                                   {full, full},
		`{"rate_limit":0}`:                       {full, without(func(o *trigger.Options) { o.RateLimit = new(0) })},
		`{"rate_limit":null}`:                    {full, without(func(o *trigger.Options) { o.RateLimit = nil })},
		`{"allowed_ips":null}`:                   {full, without(func(o *trigger.Options) { o.AllowedIPs = nil })},
		`{"allowed_ips":[]}`:                     {full, without(func(o *trigger.Options) { o.AllowedIPs = nil })},
		`{"inactive_status":null}`:               {full, without(func(o *trigger.Options) { o.InactiveStatus = 0 })},
		`{"expires_at": null }`:                  {full, without(func(o *trigger.Options) { o.ExpiresAt = nil })},
		`{"max_body_bytes":null}`:                {full, without(func(o *trigger.Options) { o.MaxBodyBytes = 0 })},
		`{"rate_limit":9,"max_body_bytes":null}`: {full, without(func(o *trigger.Options) { o.RateLimit, o.MaxBodyBytes = new(9), 0 })},
		`{"allowed_ips":["2001:db8::/32"]}`:      {full, without(func(o *trigger.Options) { o.AllowedIPs = []string{"2001:db8::/32"} })},
		`{"expires_at":"2026-03-01T15:00:00+02:00"}`:   {trigger.Options{}, trigger.Options{ExpiresAt: &end}},
		`{"rate_limit":null,"expires_at":null}`:        {trigger.Options{}, trigger.Options{}},
		`{"filter":"true","input_mapping":{"jq":"."}}`: {trigger.Options{}, trigger.Options{Filter: "true", InputMapping: &trigger.Mapping{JQ: "."}}},
		`{"input_mapping":{"preset":"github"}}`: {
			trigger.Options{InputMapping: &trigger.Mapping{JQ: "."}}, trigger.Options{InputMapping: &trigger.Mapping{Preset: "github"}},
		},
		`{"filter":null,"input_mapping":null}`: {trigger.Options{Filter: "true", InputMapping: &trigger.Mapping{JQ: "."}}, trigger.Options{}},
	} {
		t.Run(patch, func(t *testing.T) {
			merged, err := c.given.Merge(json.RawMessage(patch))
			require.NoError(t, err)
			require.Equal(t, c.want, merged)
			again, err := merged.Merge(json.RawMessage(patch))
			require.NoError(t, err)
			require.Equal(t, merged, again, "the same patch again changes nothing")
		})
	}
}

func TestMergeRefuses(t *testing.T) {
	const (
		rateLimit = "must be from 0 (off) to 1000000 calls per minute"
		inactive  = "must be 200, 403 or 410"
		maxBody   = "must be from 1 to 26214400"
	)
	thousandAndOne, _ := json.Marshal(slices.Repeat([]string{"192.0.2.7"}, 1001))
	for patch, want := range map[string]map[string]string{
		`[]`:                                                 {"options": "must be an object"},
		`"x"`:                                                {"options": "must be an object"},
		`{"rate_limits":1}`:                                  {"options.rate_limits": "is not an option"},
		`{"Rate_Limit":1}`:                                   {"options.Rate_Limit": "is not an option"},
		`{"signatur":null,"x":1}`:                            {"options.signatur": "is not an option", "options.x": "is not an option"},
		`{"rate_limit":"5"}`:                                 {"options.rate_limit": "has the wrong type: string instead of int"},
		`{"rate_limit":1.5}`:                                 {"options.rate_limit": "has the wrong type: number 1.5 instead of int"},
		`{"rate_limit":-1}`:                                  {"options.rate_limit": rateLimit},
		`{"rate_limit":1000001}`:                             {"options.rate_limit": rateLimit},
		`{"rate_limit":1e99}`:                                {"options.rate_limit": "has the wrong type: number 1e99 instead of int"},
		`{"allowed_ips":"192.0.2.7"}`:                        {"options.allowed_ips": "has the wrong type: string instead of []string"},
		`{"allowed_ips":[1]}`:                                {"options.allowed_ips": "has the wrong type: number instead of string"},
		`{"allowed_ips":[null]}`:                             {"options.allowed_ips": `has an entry that is neither an address nor a CIDR range: ""`},
		`{"allowed_ips":["example.com"]}`:                    {"options.allowed_ips": `has an entry that is neither an address nor a CIDR range: "example.com"`},
		`{"allowed_ips":["192.0.2.7/33"]}`:                   {"options.allowed_ips": `has an entry that is neither an address nor a CIDR range: "192.0.2.7/33"`},
		`{"inactive_status":404}`:                            {"options.inactive_status": inactive},
		`{"inactive_status":0}`:                              {"options.inactive_status": inactive},
		`{"inactive_status":true}`:                           {"options.inactive_status": "has the wrong type: bool instead of int"},
		`{"expires_at":5}`:                                   {"options.expires_at": "has a value that cannot be read"},
		`{"expires_at":"tomorrow"}`:                          {"options.expires_at": "has a value that cannot be read"},
		`{"max_body_bytes":0}`:                               {"options.max_body_bytes": maxBody},
		`{"max_body_bytes":-1}`:                              {"options.max_body_bytes": maxBody},
		`{"max_body_bytes":26214401}`:                        {"options.max_body_bytes": maxBody},
		`{"max_body_bytes":{}}`:                              {"options.max_body_bytes": "has the wrong type: object instead of int"},
		`{"max_body_bytes":0,"rate_limit":[]}`:               {"options.max_body_bytes": maxBody, "options.rate_limit": "has the wrong type: array instead of int"},
		`{"rate_limit":-1,"inactive_status":1}`:              {"options.rate_limit": rateLimit, "options.inactive_status": inactive},
		`{"filter":true}`:                                    {"options.filter": "has the wrong type: bool instead of string"},
		`{"filter":"` + longText(16385) + `"}`:               {"options.filter": "is longer than 16384 bytes"},
		`{"input_mapping":"."}`:                              {"options.input_mapping": "has the wrong type: it must be an object with one of jq, cel, template, preset"},
		`{"input_mapping":{"jq":1}}`:                         {"options.input_mapping": "has the wrong type: number instead of string"},
		`{"input_mapping":{"jqq":"."}}`:                      {"options.input_mapping": `has the unknown field "jqq": a mapping has one of jq, cel, template, preset`},
		`{"input_mapping":{}}`:                               {"options.input_mapping": "must have exactly one of jq, cel, template, preset"},
		`{"input_mapping":{"jq":"."," x":1}}`:                {"options.input_mapping": `has the unknown field " x": a mapping has one of jq, cel, template, preset`},
		`{"input_mapping":{"jq":".","preset":"github"}}`:     {"options.input_mapping": "must have exactly one of jq, cel, template, preset"},
		`{"input_mapping":{"jq":"` + longText(65537) + `"}}`: {"options.input_mapping": "is longer than 65536 bytes"},
		`{"input_mapping":{"cel":{}}}`:                       {"options.input_mapping.cel": "must have at least one field of the input"},
		`{"input_mapping":{"template":{}}}`:                  {"options.input_mapping.template": "must have at least one field of the input"},
		fmt.Sprintf(`{"input_mapping":{"template":%s}}`, hundredAndOne()): {"options.input_mapping.template": "has more than 100 fields"},
		fmt.Sprintf(`{"allowed_ips":%s}`, thousandAndOne):                 {"options.allowed_ips": "has more than 1000 entries"},
		`{"allowed_ips":["` + strings.Repeat("x", 500) + `"]}`:            {"options.allowed_ips": `has an entry that is neither an address nor a CIDR range: "` + strings.Repeat("x", 60) + `"`},
	} {
		t.Run(fmt.Sprintf("%.80s", patch), func(t *testing.T) {
			given := trigger.Options{RateLimit: new(7)}
			_, err := given.Merge(json.RawMessage(patch))
			requireRefusal(t, refusal{fault.Validation, want}, err)
		})
	}
}

func TestBoundsOfOptions(t *testing.T) {
	for name, o := range map[string]trigger.Options{
		"nothing":                 {},
		"rate limit, off":         {RateLimit: new(0)},
		"rate limit, highest":     {RateLimit: new(1_000_000)},
		"addresses, most":         {AllowedIPs: slices.Repeat([]string{"192.0.2.7"}, 1000)},
		"inactive status 200":     {InactiveStatus: 200},
		"inactive status 403":     {InactiveStatus: 403},
		"inactive status 410":     {InactiveStatus: 410},
		"smallest and largest":    {MaxBodyBytes: 1},
		"body, largest":           {MaxBodyBytes: trigger.MaxBodyBytes},
		"expired, which is legal": {ExpiresAt: &noon},
	} {
		require.NoError(t, o.Validate(), name)
	}
}

func TestAllows(t *testing.T) {
	for _, c := range []struct {
		allowed []string
		client  string
		want    bool
	}{
		{nil, "192.0.2.7", true},
		{nil, "2001:db8::1", true},
		{[]string{"192.0.2.7"}, "192.0.2.7", true},
		{[]string{"192.0.2.7"}, "192.0.2.8", false},
		{[]string{"192.0.2.7"}, "::ffff:192.0.2.7", true},
		{[]string{"::ffff:192.0.2.7"}, "192.0.2.7", true},
		{[]string{"::ffff:192.0.2.0/120"}, "192.0.2.7", true},
		{[]string{"::ffff:192.0.2.0/120"}, "192.0.3.7", false},
		{[]string{"192.0.2.99/24"}, "192.0.2.7", true}, // the bits behind the length do not count
		{[]string{"0.0.0.0/0"}, "192.0.2.7", true},
		{[]string{"0.0.0.0/0"}, "2001:db8::1", false},
		{[]string{"::/0"}, "192.0.2.7", false},
		{[]string{"::/0"}, "2001:db8::1", true},
		{[]string{"198.51.100.0/24", "2001:db8::/64"}, "2001:db8::42", true},
		{[]string{"198.51.100.0/24", "2001:db8::/64"}, "2001:db8:0:1::42", false},
	} {
		o := trigger.Options{AllowedIPs: c.allowed}
		require.NoError(t, o.Validate())
		require.Equal(t, c.want, o.Allows(netip.MustParseAddr(c.client)), "%v %s", c.allowed, c.client)
	}
	require.False(t, trigger.Options{AllowedIPs: []string{"0.0.0.0/0", "::/0"}}.Allows(netip.Addr{}), "a client of no address")
}

func longText(n int) string { return strings.Repeat("a", n) }

// hundredAndOne is an object of that many fields.
func hundredAndOne() string {
	fields := map[string]string{}
	for i := range 101 {
		fields[fmt.Sprint(i)] = ""
	}
	text, _ := json.Marshal(fields) // strings are always encoded
	return string(text)
}
