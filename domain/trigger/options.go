package trigger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"hooktrail/domain/fault"
)

// MaxBodyBytes is the most that a trigger may be set to take.
const MaxBodyBytes = 25 << 20

// Options narrow or widen what a trigger takes. An absent one means the server's default.
type Options struct {
	// RateLimit is calls per minute and client IP, in place of the server's; 0 switches it off.
	RateLimit *int `json:"rate_limit,omitempty"`
	// AllowedIPs are addresses or CIDR ranges that may call; empty means any.
	AllowedIPs []string `json:"allowed_ips,omitempty"`
	// InactiveStatus answers calls while the trigger is off: 403, or 200 or 410 for senders
	// that disable hooks on other statuses.
	InactiveStatus int `json:"inactive_status,omitempty"`
	// ExpiresAt switches the trigger off at that time.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// MaxBodyBytes bounds the body in place of the server's limit.
	MaxBodyBytes int `json:"max_body_bytes,omitempty"`
	// Schedule makes the trigger fire by itself.
	Schedule *Schedule `json:"schedule,omitempty"`
	// Signature is how calls are signed; nil is the scheme hooktrail.
	Signature *Signature `json:"signature,omitempty"`
	// Filter is a CEL expression: calls for which it is false are recorded and not run.
	Filter string `json:"filter,omitempty"`
	// InputMapping makes the agent's input of a call; nil passes the body through.
	InputMapping *Mapping `json:"input_mapping,omitempty"`
}

var optionNames = []string{
	"rate_limit", "allowed_ips", "inactive_status", "expires_at", "max_body_bytes", "schedule", "signature", "filter", "input_mapping",
}

// Merge changes the options key by key; a null removes one. A key that no version of an
// option has is refused, because a typo there would quietly weaken a trigger.
func (o Options) Merge(patch json.RawMessage) (Options, error) {
	if len(patch) == 0 || bytes.Equal(bytes.TrimSpace(patch), []byte("null")) {
		return o, nil
	}
	var changes map[string]json.RawMessage
	if err := json.Unmarshal(patch, &changes); err != nil {
		return o, fault.Field("options", "must be an object")
	}
	current, err := json.Marshal(o)
	if err != nil {
		return o, fmt.Errorf("encode options: %w", err)
	}
	merged := map[string]json.RawMessage{}
	if err := json.Unmarshal(current, &merged); err != nil {
		return o, fmt.Errorf("decode options: %w", err)
	}
	wrong := map[string]string{}
	for name, value := range changes {
		switch {
		case !slices.Contains(optionNames, name):
			wrong["options."+name] = "is not an option"
		case bytes.Equal(bytes.TrimSpace(value), []byte("null")):
			delete(merged, name)
		default:
			if name == "signature" {
				checkFields(value, wrong)
			}
			merged[name] = value
		}
	}
	if err := fault.Fields(wrong); err != nil {
		return o, err
	}
	var next Options
	for _, name := range optionNames {
		value, given := merged[name]
		if !given {
			continue
		}
		one, err := json.Marshal(map[string]json.RawMessage{name: value})
		if err == nil {
			strict := json.NewDecoder(bytes.NewReader(one))
			strict.DisallowUnknownFields()
			err = strict.Decode(&next)
		}
		if err != nil {
			wrong["options."+name] = "has " + wrongType(err)
		}
	}
	// In the struct 0 means absent; one that was sent is not taken for that.
	if _, given := merged["inactive_status"]; given && next.InactiveStatus == 0 && wrong["options.inactive_status"] == "" {
		wrong["options.inactive_status"] = inactiveStatusRule
	}
	if _, given := merged["max_body_bytes"]; given && next.MaxBodyBytes == 0 && wrong["options.max_body_bytes"] == "" {
		wrong["options.max_body_bytes"] = maxBodyBytesRule()
	}
	if id := next.VerifyTokenID(); id != "" && id != o.VerifyTokenID() {
		wrong["options.signature.verify_token_id"] = "is given by the server; send verify_token to set one"
	}
	if err := fault.Fields(wrong); err != nil {
		return o, err
	}
	return next.normal(), next.Validate()
}

// normal gives the options the form in which they are stored, so that what means the same
// is the same.
func (o Options) normal() Options {
	if len(o.AllowedIPs) == 0 {
		o.AllowedIPs = nil
	}
	if o.ExpiresAt != nil {
		utc := o.ExpiresAt.UTC()
		o.ExpiresAt = &utc
	}
	return o
}

const inactiveStatusRule = "must be 200, 403 or 410"

func maxBodyBytesRule() string { return fmt.Sprintf("must be from 1 to %d", MaxBodyBytes) }

func wrongType(err error) string {
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return "the wrong type: " + mismatch.Value + " instead of " + mismatch.Type.String()
	}
	var wrong malformed
	if errors.As(err, &wrong) {
		return wrong.Error()
	}
	if _, field, unknown := strings.Cut(err.Error(), "unknown field "); unknown {
		return "a field that it does not know: " + field
	}
	return "a value that cannot be read"
}

// Validate names every option that is out of range.
func (o Options) Validate() error {
	wrong := map[string]string{}
	if o.RateLimit != nil && (*o.RateLimit < 0 || *o.RateLimit > 1_000_000) {
		wrong["options.rate_limit"] = "must be from 0 (off) to 1000000 calls per minute"
	}
	if len(o.AllowedIPs) > 1000 {
		wrong["options.allowed_ips"] = "has more than 1000 entries"
	}
	for _, entry := range o.AllowedIPs {
		if _, err := parsePrefix(entry); err != nil {
			wrong["options.allowed_ips"] = fmt.Sprintf("has an entry that is neither an address nor a CIDR range: %.60q", entry)
		}
	}
	if !slices.Contains([]int{0, 200, 403, 410}, o.InactiveStatus) {
		wrong["options.inactive_status"] = inactiveStatusRule
	}
	if o.Schedule != nil {
		o.Schedule.validate("options.schedule", wrong)
	}
	if o.MaxBodyBytes < 0 || o.MaxBodyBytes > MaxBodyBytes {
		wrong["options.max_body_bytes"] = maxBodyBytesRule()
	}
	o.Signature.validate(wrong)
	o.checkMapping(wrong)
	return fault.Fields(wrong)
}

// Allows reports whether a client of that address may call.
func (o Options) Allows(client netip.Addr) bool {
	if len(o.AllowedIPs) == 0 {
		return true
	}
	client = client.Unmap()
	for _, entry := range o.AllowedIPs {
		if prefix, err := parsePrefix(entry); err == nil && prefix.Contains(client) {
			return true
		}
	}
	return false
}

// parsePrefix reads an address or a CIDR range. IPv4 mapped into IPv6 is read as IPv4,
// because clients' addresses are compared so.
func parsePrefix(s string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(s); err == nil {
		if prefix.Addr().Is4In6() && prefix.Bits() >= mappedBits {
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mappedBits)
		}
		return prefix.Masked(), nil
	}
	address, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("parse address: %w", err)
	}
	address = address.Unmap()
	return address.Prefix(address.BitLen())
}

// mappedBits is the length of ::ffff:0:0/96, under which IPv4 is mapped into IPv6 (RFC 4291 §2.5.5.2).
const mappedBits = 96
