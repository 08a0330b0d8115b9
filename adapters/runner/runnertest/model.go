package runnertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"github.com/tiktoken-go/tokenizer"
)

// The models of a ModelServer. ModelEcho answers with the data that it finds between the marks
// in the prompt; the others do what a provider does at times.
const (
	ModelEcho     = "echo-1"
	ModelBusy     = "busy-1"     // 429 with Retry-After: 7
	ModelBroken   = "broken-1"   // 500
	ModelFiltered = "filtered-1" // finish_reason content_filter
	ModelRefusing = "refusing-1" // a refusal
	ModelTools    = "tools-1"    // asks for a tool call
	ModelChatty   = "chatty-1"   // never answers with JSON
	ModelUncount  = "uncount-1"  // reports no usage, as some compatible servers do not
	ModelStuck    = "stuck-1"    // never answers
)

// ModelServer speaks the chat completions API of OpenAI as far as its reference goes for a
// request without tools, files and streaming. It holds every request against that reference,
// and computes its answers from the request. It is no language model.
type ModelServer struct {
	// URL is the base URL, with the version.
	URL string
	// Started is sent to when ModelStuck has taken a request.
	Started chan struct{}

	key      string
	schema   *jsonschema.Schema
	tokens   tokenizer.Codec
	mu       sync.Mutex
	requests []ModelRequest
}

// ModelRequest is a request that the server has answered.
type ModelRequest struct {
	Header       http.Header
	System, User string
	// Data is what stood between marks, in order.
	Data []string
	Body json.RawMessage
}

// NewModelServer starts a server that takes one API key; "" takes requests without one.
func NewModelServer(t testing.TB, key string) *ModelServer {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(chatCompletionRequest))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("request.json", document))
	s := &ModelServer{key: key, Started: make(chan struct{}, 8)}
	s.schema, err = compiler.Compile("request.json")
	require.NoError(t, err)
	s.tokens, err = tokenizer.Get(tokenizer.O200kBase)
	require.NoError(t, err)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL + "/v1"
	return s
}

// Requests gives the requests that were valid, in order.
func (s *ModelServer) Requests() []ModelRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]ModelRequest(nil), s.requests...)
}

// chatCompletionRequest has the rules of POST /chat/completions in OpenAI's API reference for
// what the server knows. Other fields are refused, as the API refuses arguments that it does
// not know.
const chatCompletionRequest = `{
	"type": "object",
	"required": ["model", "messages"],
	"additionalProperties": false,
	"properties": {
		"model": {"type": "string", "minLength": 1},
		"messages": {
			"type": "array", "minItems": 1,
			"items": {
				"type": "object", "required": ["role", "content"], "additionalProperties": false,
				"properties": {
					"role": {"enum": ["developer", "system", "user", "assistant"]},
					"content": {"type": "string", "minLength": 1},
					"name": {"type": "string"}
				}
			}
		},
		"temperature": {"type": "number", "minimum": 0, "maximum": 2},
		"max_tokens": {"type": "integer", "minimum": 1},
		"max_completion_tokens": {"type": "integer", "minimum": 1},
		"stream": {"const": false},
		"n": {"const": 1},
		"response_format": {
			"type": "object", "required": ["type"], "additionalProperties": false,
			"properties": {"type": {"enum": ["text", "json_object"]}}
		}
	},
	"not": {"required": ["max_tokens", "max_completion_tokens"]}
}`

type modelError struct {
	status        int
	message, kind string
	code          string
}

func (e modelError) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": e.message, "type": e.kind, "param": nil, "code": e.code}})
}

var mark = regexp.MustCompile(`<data-([0-9a-f]{32})>`)

// ServeHTTP answers a request.
func (s *ModelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/chat/completions" || r.Method != http.MethodPost {
		modelError{http.StatusNotFound, "Unknown request URL: " + r.Method + " " + r.URL.Path, "invalid_request_error", "unknown_url"}.write(w)
		return
	}
	if given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); given != s.key {
		// OpenAI shows parts of the key; others all of it.
		modelError{http.StatusUnauthorized, "Incorrect API key provided: " + given + ".", "invalid_request_error", "invalid_api_key"}.write(w)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has gone away
	}
	request, err := s.read(r.Header, body)
	if err != nil {
		modelError{http.StatusBadRequest, err.Error(), "invalid_request_error", ""}.write(w)
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, request.ModelRequest)
	s.mu.Unlock()
	s.answer(w, r, request)
}

type readRequest struct {
	ModelRequest

	model  string
	most   int // tokens of an answer; 0 is no bound
	asJSON bool
	tokens int // of the prompt
}

func (s *ModelServer) read(header http.Header, body []byte) (readRequest, error) {
	read := readRequest{ModelRequest: ModelRequest{Header: header, Body: body}}
	if header.Get("Content-Type") != "application/json" {
		return read, fmt.Errorf("unsupported Content-Type %q", header.Get("Content-Type"))
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
	if err != nil {
		return read, fmt.Errorf("the body is not JSON: %w", err)
	}
	if err := s.schema.Validate(value); err != nil {
		return read, err
	}
	var request struct {
		Model     string
		Messages  []struct{ Role, Content string }
		Most      int `json:"max_tokens"`
		MostNewer int `json:"max_completion_tokens"`
		Format    struct {
			Type string
		} `json:"response_format"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return read, err
	}
	read.model, read.most, read.asJSON = request.Model, max(request.Most, request.MostNewer), request.Format.Type == "json_object"
	read.tokens = 3 // the answer is primed with three
	for _, message := range request.Messages {
		count, err := s.tokens.Count(message.Content)
		if err != nil {
			return read, err
		}
		read.tokens += count + 4 // its frame and role
		if message.Role == "user" {
			read.User += message.Content
		} else {
			read.System += message.Content
		}
	}
	if read.asJSON && !strings.Contains(read.System+read.User, "JSON") {
		return read, errors.New("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'")
	}
	if found := mark.FindStringSubmatch(read.System); found != nil {
		begin, end := "\n<data-"+found[1]+">\n", "\n</data-"+found[1]+">\n"
		for rest := "\n" + read.User + "\n"; ; {
			_, after, has := strings.Cut(rest, begin)
			if !has {
				break
			}
			data, after, has := strings.Cut(after, end)
			if !has {
				return read, errors.New("the data has no end")
			}
			read.Data, rest = append(read.Data, data), "\n"+after
		}
	}
	return read, nil
}

func (s *ModelServer) answer(w http.ResponseWriter, r *http.Request, request readRequest) {
	content := strings.Join(request.Data, "\n")
	if request.asJSON {
		encoded, _ := json.Marshal(map[string]any{"data": request.Data}) // strings always encode
		content = string(encoded)
	}
	message := map[string]any{"role": "assistant", "content": content, "refusal": nil}
	reason := "stop"
	switch request.model {
	case ModelEcho, ModelUncount:
	case ModelBusy:
		w.Header().Set("Retry-After", "7")
		modelError{http.StatusTooManyRequests, "Rate limit reached for requests", "requests", "rate_limit_exceeded"}.write(w)
		return
	case ModelBroken:
		modelError{http.StatusInternalServerError, "The server had an error while processing your request", "server_error", ""}.write(w)
		return
	case ModelFiltered:
		message["content"], reason = "", "content_filter"
	case ModelRefusing:
		message["content"], message["refusal"] = nil, "I cannot help with "+content
	case ModelTools:
		message["content"], reason = nil, "tool_calls"
	case ModelChatty:
		message["content"] = "Sure! Here is your JSON: " + content
	case ModelStuck:
		s.Started <- struct{}{}
		<-r.Context().Done()
		return
	default:
		modelError{http.StatusNotFound, "The model `" + request.model + "` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"}.write(w)
		return
	}
	used := 0
	if text, _ := message["content"].(string); text != "" {
		ids, _, err := s.tokens.Encode(text)
		if err != nil {
			modelError{http.StatusInternalServerError, err.Error(), "server_error", ""}.write(w)
			return
		}
		used = len(ids)
		if request.most > 0 && used > request.most {
			text, err = s.tokens.Decode(ids[:request.most])
			if err != nil {
				modelError{http.StatusInternalServerError, err.Error(), "server_error", ""}.write(w)
				return
			}
			message["content"], reason, used = strings.ToValidUTF8(text, "\uFFFD"), "length", request.most
		}
	}
	completion := map[string]any{
		"id": "chatcmpl-" + request.Header.Get("Idempotency-Key"), "object": "chat.completion", "created": 1764000000, "model": request.model + "-2026-01-01",
		"choices": []any{map[string]any{"index": 0, "message": message, "logprobs": nil, "finish_reason": reason}},
	}
	if request.model != ModelUncount {
		completion["usage"] = map[string]any{"prompt_tokens": request.tokens, "completion_tokens": used, "total_tokens": request.tokens + used}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(completion)
}
