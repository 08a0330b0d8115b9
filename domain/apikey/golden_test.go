package apikey_test

import (
	"testing"
	"time"

	"hooktrail/domain/apikey"
	"hooktrail/domain/eventlog"
	"hooktrail/internal/eventlogtest"
)

func TestGoldenEvents(t *testing.T) {
	end := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	eventlogtest.Golden(t, apikey.Codec, map[string]eventlog.Event{
		"api_key.created.v1": apikey.Created{
			Name: "deploy", Prefix: "htk_abcdef", Scopes: []apikey.Scope{apikey.TriggersRead, apikey.AgentsExecute}, ExpiresAt: &end,
		},
		"api_key.revoked.v1": apikey.Revoked{},
	})
}
