package hooktrail

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The classes of errors, for errors.Is.
var (
	// ErrValidation: the request is wrong; the error's Details name the fields.
	ErrValidation = errors.New("hooktrail: the request is not valid")
	// ErrAuthentication: no valid key, token or signature.
	ErrAuthentication = errors.New("hooktrail: not authenticated")
	// ErrPermission: the key lacks a scope, or the trigger is inactive or takes no calls from this address.
	ErrPermission = errors.New("hooktrail: not permitted")
	// ErrNotFound: there is no such thing in the key's workspace.
	ErrNotFound = errors.New("hooktrail: not found")
	// ErrConflict: the state of the thing forbids it, or it has changed meanwhile.
	ErrConflict = errors.New("hooktrail: conflict")
	// ErrRateLimited: too many calls; the error's RetryAfter says how long to wait.
	ErrRateLimited = errors.New("hooktrail: rate limited")
	// ErrServer: the server failed, or what answered is no Hooktrail server.
	ErrServer = errors.New("hooktrail: the server failed")
	// ErrConnection: there was no answer.
	ErrConnection = errors.New("hooktrail: no connection")
)

// Codes of errors that this package finds itself.
const (
	codeConnection   = "connection"
	codeUnauthorized = "unauthorized"
	codeUnexpected   = "unexpected_answer"
)

// Error is a call that did not succeed.
type Error struct {
	// Status is the HTTP status; 0 when there was no answer.
	Status int
	// Code says what is wrong: "validation_failed", "not_found" and so on; "connection" when
	// there was no answer, "unexpected_answer" when it is not one of a Hooktrail server.
	Code string
	// Message says it in a sentence.
	Message string
	// Details has a reason for each field that is wrong.
	Details map[string]string
	// RequestID finds the request in the server's log and events; it may be empty.
	RequestID string
	// RetryAfter is how long the server asks to wait; 0 when it does not.
	RetryAfter time.Duration

	cause   error
	unbegun bool // the server has not begun with it, so that it can be sent again
}

// Error gives the message, the details that it leaves out, the status and the request id.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString(e.Message)
	for _, field := range slices.Sorted(maps.Keys(e.Details)) {
		if reason := e.Details[field]; !strings.Contains(e.Message, reason) || !strings.Contains(e.Message, field) {
			fmt.Fprintf(&text, "; %s: %s", field, reason)
		}
	}
	var facts []string
	if e.Code != "" && e.Code != codeConnection {
		facts = append(facts, e.Code)
	}
	if e.Status != 0 {
		facts = append(facts, "HTTP "+strconv.Itoa(e.Status))
	}
	if e.RequestID != "" {
		facts = append(facts, "request "+e.RequestID)
	}
	if len(facts) > 0 {
		fmt.Fprintf(&text, " (%s)", strings.Join(facts, ", "))
	}
	return text.String()
}

// Unwrap gives the cause of a failed connection, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether the error belongs to a class, such as ErrNotFound. Few have none: a path
// that does not take the method (405), a trigger that says it is gone (410).
func (e *Error) Is(target error) bool {
	class := e.class()
	return class != nil && target == class
}

func (e *Error) class() error {
	switch e.Code {
	case codeConnection:
		return ErrConnection
	case codeUnexpected:
		return ErrServer
	case codeUnauthorized:
		return ErrAuthentication
	case "conflict", "precondition_failed": // to clients that know few statuses a conflict is a 400
		return ErrConflict
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, 0:
		return ErrValidation
	case http.StatusUnauthorized:
		return ErrAuthentication
	case http.StatusForbidden:
		return ErrPermission
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusTooManyRequests:
		return ErrRateLimited
	}
	if e.Status >= http.StatusInternalServerError {
		return ErrServer
	}
	return nil
}

// errorOf reads an answer that is no success.
func errorOf(answer *Answer) *Error {
	e := &Error{Status: answer.Status, RequestID: answer.RequestID, RetryAfter: retryAfter(answer.Header)}
	var body struct {
		Error     json.RawMessage `json:"error"`
		Code      string          `json:"code"`
		RequestID string          `json:"request_id"`
	}
	if json.Unmarshal(answer.Body, &body) != nil || len(body.Error) == 0 {
		e.Code, e.Message = codeUnexpected, fmt.Sprintf("the answer %d %s is not one of a Hooktrail server; check the URL, and proxies on the way",
			answer.Status, http.StatusText(answer.Status))
		return e
	}
	e.Code = body.Code
	if body.RequestID != "" {
		e.RequestID = body.RequestID
	}
	var object struct {
		Code    string         `json:"code"`
		Message string         `json:"message"`
		Details map[string]any `json:"details"`
	}
	if json.Unmarshal(body.Error, &object) == nil {
		e.Code, e.Message = object.Code, object.Message
		for field, reason := range object.Details {
			if e.Details == nil {
				e.Details = map[string]string{}
			}
			e.Details[field] = fmt.Sprint(reason)
		}
	} else {
		_ = json.Unmarshal(body.Error, &e.Message) // with a 5xx, error is the message
	}
	if e.Message == "" {
		e.Message = http.StatusText(answer.Status)
	}
	e.unbegun = e.Status == http.StatusTooManyRequests || e.Code == "overloaded"
	return e
}

// retryAfter reads the header's seconds or date.
func retryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
