package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	hooktrail "hooktrail/sdk/go"
)

// Fire signs and sends a webhook call.
type Fire struct {
	URL            string        `help:"Server to call." env:"HOOKTRAIL_URL" placeholder:"URL"`
	Profile        string        `help:"Profile whose server to call." env:"HOOKTRAIL_PROFILE" placeholder:"NAME"`
	Token          string        `help:"The trigger's token." env:"HOOKTRAIL_TOKEN" placeholder:"wht_…"`
	TriggerURL     string        `help:"The trigger's hook_url; in place of --token." name:"trigger-url" env:"HOOKTRAIL_TRIGGER_URL" placeholder:"URL"`
	Secret         string        `help:"The trigger's signing secret." env:"HOOKTRAIL_SECRET" placeholder:"SECRET"`
	Scheme         string        `help:"How to sign: hooktrail, github or standard-webhooks." enum:"hooktrail,github,standard-webhooks" default:"hooktrail" placeholder:"NAME"`
	Data           string        `short:"d" help:"Body: JSON, @FILE, or @- for standard input." default:"{}" placeholder:"JSON"`
	IdempotencyKey string        `help:"Key under which the call counts once." placeholder:"KEY"`
	Wait           time.Duration `help:"Wait for the result, up to 60s." default:"0s" placeholder:"30s"`
	Timeout        time.Duration `help:"Give up after this time beyond --wait." default:"30s"`
	Format
}

// Help is shown with --help.
func (Fire) Help() string {
	return "Whatever is not accepted, and an execution that was waited for and failed,\nends with code 1.\n\n" +
		example(`hooktrail fire --token $TOKEN -d '{"message": "Hello"}' --wait 30s`)
}

// Run sends the call and prints the answer.
func (c *Fire) Run(s *Session) error {
	if c.Token == "" && c.TriggerURL == "" {
		return usage("missing flags: --token=wht_… (HOOKTRAIL_TOKEN), or --trigger-url=URL (HOOKTRAIL_TRIGGER_URL)")
	}
	body, err := s.read(c.Data)
	if err != nil {
		return err
	}
	ctx, cancel := interruptible()
	defer cancel()
	server := Server{URL: c.URL, Profile: c.Profile}
	if c.TriggerURL != "" {
		server = Server{URL: hooktrail.DefaultURL} // which is not called
	}
	connected, err := s.open(server, hooktrail.Options{MaxRetries: -1, Timeout: c.Timeout}, false) // what is answered is shown as it is
	if err != nil {
		return err
	}
	var answer hooktrail.Answer
	begun, err := connected.Fire(ctx, hooktrail.Call{
		Token: hooktrail.Secret(c.Token), URL: hooktrail.Secret(c.TriggerURL), Secret: hooktrail.Secret(c.Secret), Scheme: hooktrail.Scheme(c.Scheme),
		Body: body, IdempotencyKey: c.IdempotencyKey, Wait: c.Wait,
	}, hooktrail.WithAnswer(&answer))
	if c.TriggerURL != "" {
		s.urlFrom = "from " + s.source("trigger-url", "HOOKTRAIL_TRIGGER_URL")
	}
	if answer.Status == 0 {
		text, code := s.Explain(err)
		fmt.Fprintln(s.Err, "hooktrail:", text)
		if code != exitInterrupted {
			code = exitRefused
		}
		return ExitCode(code)
	}
	if err := s.printCall(c.Format, answer); err != nil {
		return err
	}
	if err != nil || begun.Ended() && begun.Status != hooktrail.StatusCompleted {
		return ExitCode(exitRefused)
	}
	return nil
}

func (s *Session) printCall(f Format, answer hooktrail.Answer) error {
	if f.json() {
		return s.printAnswer(answer)
	}
	body := answer.Body
	var pretty bytes.Buffer
	if json.Indent(&pretty, body, "", "  ") == nil {
		body = pretty.Bytes()
	}
	_, err := fmt.Fprintf(s.Out, "%d %s\n%s\n", answer.Status, http.StatusText(answer.Status), cleanText(string(body)))
	return err
}
