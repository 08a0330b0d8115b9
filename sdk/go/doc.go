// Package hooktrail is the Go client of Hooktrail: triggers, agents, executions, the event log,
// refused calls, API keys, subscriptions, receipts of the signed log, and webhook calls.
//
//	client, err := hooktrail.New(hooktrail.Options{}) // HOOKTRAIL_URL, HOOKTRAIL_API_KEY
//	trigger, err := client.WebhookTriggers.Create(ctx, hooktrail.CreateTrigger{
//		AgentID: agent.ID, Name: "GitHub PR Review", GenerateSecret: true,
//	})
//	fmt.Println(string(trigger.Token)) // shown only now
//
// Methods return what the answer holds under "data". The whole answer, with its headers and
// warnings, is there for who asks by WithAnswer. Lists have a method All beside List, which
// follows them to their end:
//
//	for execution, err := range client.Executions.All(ctx, hooktrail.ListExecutions{Status: "failed"}) {
//		…
//	}
//
// The log is followed as it grows, and from where one was, by a stream that is opened again when
// it breaks:
//
//	for event, err := range client.Events.Tail(ctx, hooktrail.TailEvents{After: &position}) {
//		…
//	}
//
// Every refusal is an *Error and answers errors.Is:
//
//	if errors.Is(err, hooktrail.ErrNotFound) { … }
//
// What fails for a moment is tried again where that is safe: reads, webhook calls (which carry
// an idempotency key), and whatever the server is known not to have begun. Retry-After is
// honoured. A Client may be used by many goroutines at once.
//
// Tokens, secrets and keys have the type Secret, which no verb of fmt shows.
package hooktrail
