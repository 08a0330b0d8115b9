package hooktrail_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	hooktrail "hooktrail/sdk/go"
)

// ExampleEvents_Tail follows the log, also over a restart of the server: the second connection says by
// Last-Event-ID where the first has ended.
func ExampleEvents_Tail() {
	server := restartingServer()
	defer server.Close()
	client, err := hooktrail.New(hooktrail.Options{BaseURL: server.URL, APIKey: "htk_example"})
	if err != nil {
		log.Fatal(err)
	}
	after := int64(0) // the last event that was dealt with: keep it, to resume when the program itself ends
	for event, err := range client.Events.Tail(context.Background(), hooktrail.TailEvents{After: &after}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Position, event.Type)
		if event.Position == 3 {
			break
		}
	}
	// Output:
	// 1 trigger.created
	// 2 trigger.invoked
	// 3 execution.completed
}

// restartingServer gives two events and breaks off; who comes back from behind them gets the third.
func restartingServer() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		give := func(position int, event string) {
			_, _ = fmt.Fprintf(w, "id: %d\nevent: %s\ndata: {\"position\": %d, \"type\": %q}\n\n", position, event, position, event)
		}
		if r.Header.Get("Last-Event-ID") == "2" {
			give(3, "execution.completed")
			return
		}
		give(1, "trigger.created")
		give(2, "trigger.invoked")
	}))
}
