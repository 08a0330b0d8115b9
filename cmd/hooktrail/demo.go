package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"hooktrail/cmd/hooktrail/serve"
	"hooktrail/domain/trigger"
)

type demoCommand struct {
	serve.Logging
	Addr    string `help:"Address to listen on. When the default is taken, a free port is." default:"127.0.0.1:8080" env:"HOOKTRAIL_ADDR" placeholder:"HOST:PORT"`
	DataDir string `help:"Keep the demo's data here; by default it is thrown away at the end." placeholder:"DIR"`
}

const demoAddr = "127.0.0.1:8080"

// Help is shown with --help.
func (*demoCommand) Help() string { return example("hooktrail demo") }

// Run shows the main job and goes on serving.
func (c *demoCommand) Run(out io.Writer) error {
	config := serve.Config{
		Storage: serve.Storage{DataDir: c.DataDir}, Logging: c.Logging, Addr: c.Addr, RateLimit: 30, MaxBodyBytes: 1 << 20,
		DefaultRunner: "echo", Roles: []string{serve.RoleAPI, serve.RoleWorker}, WorkerConcurrency: 16, QueueLength: 4096,
		WorkerLease: 15 * time.Second, ShutdownTimeout: 10 * time.Second,
	}
	if config.LogLevel == "info" {
		config.LogLevel = "warn" // the demo's own lines are what is to be read
	}
	if config.DataDir == "" {
		dir, err := os.MkdirTemp("", "hooktrail-demo-")
		if err != nil {
			return fmt.Errorf("make a directory for the demo: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		config.DataDir = dir
	}
	if c.Addr == demoAddr && taken(demoAddr) {
		fmt.Fprintf(out, "%s is taken; the demo takes a free port instead.\n", demoAddr)
		config.Addr = "127.0.0.1:0"
	}
	if err := config.Validate(); err != nil {
		return err
	}
	var started serve.Started
	return runService(config, func(s serve.Started) { started = s }, func(ctx context.Context) error {
		d := &demo{out: out, base: started.URL, key: started.NewAPIKey}
		if d.key == "" {
			return errors.New("the data directory holds an earlier demo; name an empty one")
		}
		return d.show(ctx)
	})
}

func taken(addr string) bool {
	probe, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Is(err, syscall.EADDRINUSE)
	}
	_ = probe.Close()
	return false
}

// demo drives the service as any client does: over HTTP.
type demo struct {
	out  io.Writer
	base string
	key  string
}

const demoBody = `{"message": "Review this PR", "pr_number": 42}`

func (d *demo) show(ctx context.Context) error {
	var agent struct{ ID, Name string }
	if err := d.call(ctx, http.MethodPost, "/api/v1/agents", nil, `{"name": "Echo", "runner": {"kind": "echo"}}`, &agent); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n1. Agent %q registered: %s\n", agent.Name, agent.ID)

	var made struct {
		ID, Name, Token, Secret string
		HookURL                 string `json:"hook_url"`
	}
	if err := d.call(ctx, http.MethodPost, "/api/v1/webhook-triggers", nil,
		fmt.Sprintf(`{"agent_id": %q, "name": "GitHub PR Review", "generate_secret": true}`, agent.ID), &made); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "2. Trigger %q created: %s\n   token  %s\n   secret %s\n", made.Name, made.ID, made.Token, made.Secret)

	signature := trigger.Sign([]byte(made.Secret), []byte(demoBody))
	var execution struct {
		ID, Status string
		Output     json.RawMessage
	}
	if err := d.call(ctx, http.MethodPost, "/api/v1/webhook/trigger", map[string]string{
		"Authorization": "Bearer " + made.Token, "X-Webhook-Signature": signature, "Prefer": "wait=10",
	}, demoBody, &execution); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "3. Signed webhook sent: %s\n4. Execution %s is %s, with the output\n   %s\n", demoBody, execution.ID, execution.Status, execution.Output)

	var events []struct {
		Position int64
		Time     time.Time
		Type     string
		Stream   string
		Actor    string
	}
	if err := d.call(ctx, http.MethodGet, "/api/v1/events?after=0&limit=100", nil, "", &events); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "5. The trail:")
	for _, e := range events {
		fmt.Fprintf(d.out, "   %3d  %s  %-22s %-38s by %s\n", e.Position, e.Time.Format("15:04:05.000"), e.Type, e.Stream, e.Actor)
	}
	fmt.Fprintf(d.out, `
Try it from another terminal:

# fire the trigger again, signed
curl -sS -X POST %[1]s/api/v1/webhook/trigger -H 'Authorization: Bearer %[2]s' -H 'X-Webhook-Signature: %[3]s' -H 'Content-Type: application/json' -d '%[4]s'

# and wait for the result
curl -sS -X POST %[1]s/api/v1/webhook/trigger -H 'Authorization: Bearer %[2]s' -H 'X-Webhook-Signature: %[3]s' -H 'Content-Type: application/json' -H 'Prefer: wait=10' -d '%[4]s'

# the executions, and the trail of the trigger
curl -sS %[1]s/api/v1/executions -H 'X-API-Key: %[5]s'
curl -sS %[1]s/api/v1/webhook-triggers/%[6]s/events -H 'X-API-Key: %[5]s'

# switch the trigger off: calls get a 403 from then on
curl -sS -X PATCH %[1]s/api/v1/webhook-triggers/%[6]s -H 'X-API-Key: %[5]s' -H 'Content-Type: application/json' -d '{"is_active": false}'

The demo is ready and goes on serving at %[1]s (API reference: %[1]s/docs). Press Ctrl-C to end it.
`, d.base, made.Token, signature, demoBody, d.key, made.ID)
	return nil
}

// call sends one request and reads the data of the answer.
func (d *demo) call(ctx context.Context, method, path string, headers map[string]string, body string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, d.base+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if headers == nil {
		request.Header.Set("X-API-Key", d.key)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("call the service: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s was answered %s: %s", method, path, response.Status, answer)
	}
	if err := json.Unmarshal(answer, &struct{ Data any }{into}); err != nil {
		return fmt.Errorf("read the answer of %s %s: %w", method, path, err)
	}
	return nil
}
