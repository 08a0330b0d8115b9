//go:build unix

package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/trigger"
)

// TestSetUpByPOST sends what sets a hook up or tests it among its calls: nothing runs, and it is
// on the trail.
func TestSetUpByPOST(t *testing.T) {
	const secret = "0123456789abcdef"
	eachDialect(t, func(t *testing.T, a *api) {
		agent := a.agent(t, `{"name": "Strict", "runner": {"kind": "echo"}, "input_schema": {"type": "object", "required": ["n"]}}`)
		made := func(scheme string) issued {
			return a.trigger(t, agent, `{"secret": "`+secret+`", "options": {"signature": {"scheme": "`+scheme+`"}}}`)
		}
		before := a.head(t)
		github := made("github")
		ping := `{"zen": "Design for failure."}`
		answer := a.hook(t, github.Token, ping, "X-GitHub-Event", "ping", "X-Hub-Signature-256", trigger.Sign([]byte(secret), []byte(ping)))
		require.Equal(t, 200, answer.Status, answer.Body)
		require.JSONEq(t, `{"data": {"status": "pong"}}`, answer.Body)
		require.Equal(t, 401, a.hook(t, github.Token, ping, "X-GitHub-Event", "ping").Status)

		graph := made("microsoft-graph")
		for _, path := range []string{hook, "/hooks/" + graph.Token} {
			var headers []string
			if path == hook {
				headers = []string{"Authorization", "Bearer " + graph.Token}
			}
			request := a.oddly().do(t, "POST", path+"?validationToken=Validation%3A+a%3Cb", "", append(headers, "Content-Type", "text/plain")...)
			require.Equal(t, 200, request.Status, request.Body)
			require.Equal(t, "Validation: a<b", request.Body)
			require.Equal(t, "text/plain; charset=utf-8", request.Header.Get("Content-Type"))
		}
		require.Equal(t, 401, a.oddly().do(t, "POST", "/hooks/"+strings.ToUpper(graph.Token)+"?validationToken=a", "").Status, "nothing is given back before the token is proven")

		var handshakes []string
		for _, e := range a.eventsAfter(t, before) {
			require.NotEqual(t, "trigger.invoked", e.Type)
			if e.Type == "trigger.handshaken" {
				require.Equal(t, "trigger:"+strings.TrimPrefix(e.Stream, "trigger-"), e.Actor)
				handshakes = append(handshakes, e.Data["scheme"].(string)+" "+e.Data["kind"].(string))
			}
		}
		require.Equal(t, []string{"github ping", "microsoft-graph validation", "microsoft-graph validation"}, handshakes)
		used := a.trigger(t, agent, "")
		a.accepted(t, used.Token, `{"n": 1}`)
		require.Eventually(t, func() bool { // the statistics follow the log in its order
			var shown issued
			a.must(t, 200, &shown, "GET", triggers+"/"+used.ID, "")
			return shown.LastUsedAt != ""
		}, time.Minute, 10*time.Millisecond)
		var shown issued
		a.must(t, 200, &shown, "GET", triggers+"/"+github.ID, "")
		require.Empty(t, shown.LastUsedAt, "a test is no use")
		require.Equal(t, map[string]any{"signature": map[string]any{"scheme": "github"}}, shown.Options)

		head := a.do(t, "HEAD", "/hooks/"+github.Token, "")
		require.Equal(t, 405, head.Status)
		require.Equal(t, "POST", head.Header.Get("Allow"))
	})
}
