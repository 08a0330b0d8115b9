package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"hooktrail/domain/trigger"
)

type fireCommand struct {
	URL            string        `help:"Server to call." default:"http://localhost:8080" env:"HOOKTRAIL_URL"`
	Token          string        `help:"The trigger's token." required:"" env:"HOOKTRAIL_TOKEN" placeholder:"wht_…"`
	Secret         string        `help:"The trigger's signing secret; the call is signed with it." env:"HOOKTRAIL_SECRET" placeholder:"SECRET"`
	Data           string        `short:"d" help:"Body: JSON, @FILE for a file, @- for standard input." default:"{}"`
	IdempotencyKey string        `help:"Key under which the call counts once."`
	Wait           time.Duration `help:"Wait for the result, up to 60s." default:"0s"`
	Timeout        time.Duration `help:"Give up after this time beyond --wait." default:"30s"`
}

// Run sends the call and prints the answer; a refusal ends with exit code 1.
func (c *fireCommand) Run(out io.Writer) error {
	body, err := readData(c.Data)
	if err != nil {
		return err
	}
	ctx, cancel := interruptible()
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, c.Timeout+c.Wait)
	defer stop()
	status, answer, err := c.send(ctx, body)
	if err != nil {
		return err
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, answer, "", "  ") == nil {
		answer = pretty.Bytes()
	}
	fmt.Fprintf(out, "%d %s\n%s\n", status, http.StatusText(status), answer)
	if status >= 300 {
		return exitCode(1)
	}
	return nil
}

func (c *fireCommand) send(ctx context.Context, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(c.URL, "/")+"/api/v1/webhook/trigger", bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.Token)
	request.Header.Set("Content-Type", "application/json")
	if c.Secret != "" {
		request.Header.Set(trigger.SignatureHeaders[0], trigger.Sign([]byte(c.Secret), body))
	}
	if c.IdempotencyKey != "" {
		request.Header.Set("Idempotency-Key", c.IdempotencyKey)
	}
	if c.Wait > 0 {
		request.Header.Set("Prefer", fmt.Sprintf("wait=%d", int(c.Wait.Seconds())))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("send the call: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	}
	return response.StatusCode, answer, nil
}

func readData(data string) ([]byte, error) {
	name, isFile := strings.CutPrefix(data, "@")
	switch {
	case !isFile:
		return []byte(data), nil
	case name == "-":
		return io.ReadAll(os.Stdin)
	default:
		return os.ReadFile(name)
	}
}
