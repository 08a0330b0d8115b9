// Package fault holds the one error type that crosses rooms on purpose: a code that
// callers branch on, a sentence for a person and, where a request is at fault, the
// fields that are. Ports map codes to status lines in one table; every other error is
// an internal one and its text never leaves the process.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Code names a kind of failure. Its text is part of the HTTP contract.
type Code string

// The codes of the HTTP contract.
const (
	Validation           Code = "validation_failed"      // a field of the request is wrong; Details name it
	InvalidJSON          Code = "invalid_json"           // the body is not the JSON we accept
	Unauthorized         Code = "unauthorized"           // no key or token, or one we do not know
	InvalidSignature     Code = "invalid_signature"      // the token is right, the signature is not
	Forbidden            Code = "forbidden"              // the key lacks a scope, the address is not allowed
	TriggerInactive      Code = "trigger_inactive"       // the trigger is switched off or expired
	NotFound             Code = "not_found"              // nothing of that id in this workspace
	ExpressionFailed     Code = "expression_failed"      // a filter or mapping could not be evaluated
	MethodNotAllowed     Code = "method_not_allowed"     // the path exists, the method does not
	Conflict             Code = "conflict"               // the thing changed, or is in a state that forbids this
	PreconditionFailed   Code = "precondition_failed"    // If-Match names another version
	PayloadTooLarge      Code = "payload_too_large"      // the body exceeds the limit
	UnsupportedMediaType Code = "unsupported_media_type" // neither JSON nor a form
	SchemaMismatch       Code = "schema_mismatch"        // the input does not fit the agent's schema
	IdempotencyMismatch  Code = "idempotency_key_reused" // the key was used with another body
	RateLimited          Code = "rate_limited"           // too many calls; RetryAfter says when
	Overloaded           Code = "overloaded"             // the queue is full; RetryAfter says when
	Unavailable          Code = "unavailable"            // the database does not answer
	Internal             Code = "internal"               // our fault; details are in the log only
)

// Error is a failure that its reader can act on.
type Error struct {
	Code    Code
	Message string
	// Details maps a field's path ("options.rate_limit") to what is wrong with it.
	Details map[string]string
	// RetryAfter is how long to wait before trying again; zero when waiting does not help.
	RetryAfter time.Duration
	cause      error
}

// Error gives the message, and for the log the cause behind it.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap gives the cause, which is for logs and never for a caller outside.
func (e *Error) Unwrap() error { return e.cause }

// New makes a fault from a code and a sentence.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes a fault that remembers the error that caused it.
func Wrap(cause error, code Code, format string, args ...any) *Error {
	e := New(code, format, args...)
	e.cause = cause
	return e
}

// Field makes a validation fault about one field.
func Field(path, format string, args ...any) *Error {
	why := fmt.Sprintf(format, args...)
	return &Error{Code: Validation, Message: path + " " + why, Details: map[string]string{path: why}}
}

// Fields makes a validation fault about several fields, or nil when there is none.
func Fields(details map[string]string) error {
	switch len(details) {
	case 0:
		return nil
	case 1:
		for path, why := range details {
			return Field(path, "%s", why)
		}
	}
	return &Error{Code: Validation, Message: "several fields are not valid", Details: details}
}

// Retry gives the same fault with the time after which to try again.
func (e *Error) Retry(after time.Duration) *Error {
	e.RetryAfter = after
	return e
}

// CodeOf gives the code of err: Internal for an error that is no fault, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var f *Error
	if errors.As(err, &f) {
		return f.Code
	}
	return Internal
}

// MessageOf gives what err says to its reader; "" for an error that is no fault.
func MessageOf(err error) string {
	var f *Error
	if errors.As(err, &f) {
		return f.Message
	}
	return ""
}
