package trigger_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/credential"
	"hooktrail/domain/fault"
	"hooktrail/domain/trigger"
)

func TestMergeSignature(t *testing.T) {
	kept := trigger.Options{Signature: &trigger.Signature{Scheme: trigger.Meta, VerifyTokenID: "token-1"}}
	for patch, c := range map[string]struct {
		given trigger.Options
		want  *trigger.Signature
	}{
		`{"signature":{"scheme":"github"}}`:                              {trigger.Options{}, &trigger.Signature{Scheme: trigger.GitHub}},
		`{"signature":{"scheme":"github"},"rate_limit":5}`:               {kept, &trigger.Signature{Scheme: trigger.GitHub}},
		`{"signature":null}`:                                             {kept, nil},
		`{"rate_limit":5}`:                                               {kept, kept.Signature},
		`{"signature":{"scheme":"meta","verify_token_id":"token-1"}}`:    {kept, kept.Signature},
		`{"signature":{"scheme":"meta"}}`:                                {kept, &trigger.Signature{Scheme: trigger.Meta}},
		`{"signature":{"scheme":"slack","tolerance_seconds":86400}}`:     {kept, &trigger.Signature{Scheme: trigger.Slack, ToleranceSeconds: new(86400)}},
		`{"signature":{"scheme":"hooktrail","header":"X-Mine"}}`:         {kept, &trigger.Signature{Scheme: trigger.Hooktrail, Header: "X-Mine"}},
		`{"signature":{"scheme":"custom","header":"X-Sig"}}`:             {kept, &trigger.Signature{Scheme: trigger.Custom, Header: "X-Sig"}},
		`{"signature":{"scheme":"github","header":null,"prefix": null}}`: {kept, &trigger.Signature{Scheme: trigger.GitHub}},
		`{"signature":{"scheme":"custom","header":"X-Sig","algorithm":"sha512","encoding":"base64","prefix":"v1=","timestamp_header":"X-T","tolerance_seconds":1,` +
			`"delivery_header":"X-Id","signing_string":["id",".","timestamp",".","body"]}}`: {kept, &trigger.Signature{
			Scheme: trigger.Custom, Header: "X-Sig", Algorithm: "sha512", Encoding: "base64", Prefix: "v1=", TimestampHeader: "X-T", ToleranceSeconds: new(1),
			DeliveryHeader: "X-Id", SigningString: []string{"id", ".", "timestamp", ".", "body"},
		}},
	} {
		merged, err := c.given.Merge(json.RawMessage(patch))
		require.NoError(t, err, patch)
		require.Equal(t, c.want, merged.Signature, patch)
		again, err := merged.Merge(json.RawMessage(patch))
		require.NoError(t, err, patch)
		require.Equal(t, merged, again, "the same patch again changes nothing")
	}
}

func TestMergeRefusesSignatures(t *testing.T) {
	const custom = `"scheme":"custom","header":"X-Sig",`
	at := func(field, why string) map[string]string { return map[string]string{"options.signature." + field: why} }
	const (
		header    = "must be the name of a header: up to 64 letters, digits and hyphens"
		tolerance = "must be from 1 to 86400 seconds"
		body      = `must have the part "body" once: what is not signed proves nothing`
	)
	for signature, want := range map[string]map[string]string{
		`"github"`:                                                                    {"options.signature": "has the wrong type: string instead of trigger.Signature"},
		`{"scheme":7}`:                                                                {"options.signature": "has the wrong type: number instead of trigger.Scheme"},
		`{"scheme":"github","heder":"X"}`:                                             at("heder", "is not a field of signature"),
		`{"Scheme":"github"}`:                                                         at("Scheme", "is not a field of signature"),
		`{"scheme":"github","header":"X-Sig"}`:                                        at("header", "is not taken by the scheme github, but by hooktrail, grafana and custom"),
		`{"scheme":"shopify","tolerance_seconds":5}`:                                  at("tolerance_seconds", "is not taken by the scheme shopify, but by gitlab, slack, stripe, standard-webhooks, linear, grafana and custom"),
		`{"scheme":"slack","signing_string":[]}`:                                      at("signing_string", "is not taken by the scheme slack, but by custom"),
		`{"scheme":"slack","verify_token_id":"x"}`:                                    at("verify_token_id", "is not taken by the scheme slack, but by meta"),
		`{"scheme":"meta","verify_token_id":"x"}`:                                     at("verify_token_id", "is given by the server; send verify_token to set one"),
		`{"scheme":"slack","tolerance_seconds":0}`:                                    at("tolerance_seconds", tolerance),
		`{"scheme":"slack","tolerance_seconds":-1}`:                                   at("tolerance_seconds", tolerance),
		`{"scheme":"slack","tolerance_seconds":86401}`:                                at("tolerance_seconds", tolerance),
		`{"scheme":"hooktrail","header":"X Sig"}`:                                     at("header", header),
		`{"scheme":"hooktrail","header":"X\r\nSig"}`:                                  at("header", header),
		`{"scheme":"hooktrail","header":"` + strings.Repeat("x", 65) + `"}`:           at("header", header),
		`{"scheme":"grafana","tolerance_seconds":5}`:                                  at("tolerance_seconds", "needs timestamp_header, the one that is set in Grafana: without it no time is signed"),
		`{"scheme":"custom"}`:                                                         at("header", "is required by the scheme custom"),
		`{` + custom + `"algorithm":"md5"}`:                                           at("algorithm", "must be sha1, sha256 or sha512"),
		`{` + custom + `"encoding":"hexadecimal"}`:                                    at("encoding", "must be hex or base64"),
		`{` + custom + `"prefix":"a,b"}`:                                              at("prefix", "must be up to 64 visible ASCII characters without commas"),
		`{` + custom + `"signing_string":["timestamp"]}`:                              at("signing_string", body),
		`{` + custom + `"signing_string":["body","body"]}`:                            at("signing_string", body),
		`{` + custom + `"signing_string":["body",""]}`:                                at("signing_string", "has a part that is empty or longer than 64 bytes"),
		`{` + custom + `"signing_string":["body"` + strings.Repeat(`,"."`, 16) + `]}`: at("signing_string", "has more than 16 parts"),
		`{` + custom + `"signing_string":["timestamp","body"]}`:                       at("timestamp_header", `is required by the part "timestamp" of signing_string`),
		`{` + custom + `"timestamp_header":"X-T"}`:                                    at("signing_string", `must have the part "timestamp": a time that is not signed proves nothing`),
		`{` + custom + `"tolerance_seconds":5}`:                                       at("tolerance_seconds", `needs timestamp_header and the part "timestamp" in signing_string`),
		`{` + custom + `"signing_string":["id","body"]}`:                              at("delivery_header", `is required by the part "id" of signing_string`),
	} {
		t.Run(fmt.Sprintf("%.80s", signature), func(t *testing.T) {
			_, err := trigger.Options{}.Merge(json.RawMessage(`{"signature":` + signature + `}`))
			requireRefusal(t, refusal{fault.Validation, want}, err)
		})
	}
	for _, scheme := range []string{`{}`, `{"scheme":""}`, `{"scheme":"GitHub"}`, `{"scheme":"carrier-pigeon","header":"X"}`} {
		_, err := trigger.Options{}.Merge(json.RawMessage(`{"signature":` + scheme + `}`))
		require.ErrorContains(t, err, "options.signature.scheme must be one of hooktrail, github, ")
	}
}

func TestSchemesThatNeedASecret(t *testing.T) {
	github := trigger.Options{Signature: &trigger.Signature{Scheme: trigger.GitHub}}
	d := draft
	d.Options, d.SecretID = github, ""
	const path = "options.signature.scheme"
	_, err := trigger.Create(d)
	requireRefusal(t, refusal{fault.Validation, map[string]string{path: "github needs a secret: send generate_secret or your own as secret as well"}}, err)
	d.SecretID = "secret-1"
	_, err = trigger.Create(d)
	require.NoError(t, err)

	bare := trigger.Trigger{Version: 1, Name: "orders"}
	_, err = bare.Update(trigger.Change{Options: &github})
	requireRefusal(t, refusal{fault.Validation, map[string]string{path: "github needs a secret: set it by rotate-secret first"}}, err)
	for _, scheme := range []trigger.Scheme{trigger.Hooktrail, trigger.Custom, trigger.Okta, trigger.CloudEvents, trigger.MicrosoftGraph} {
		_, err = bare.Update(trigger.Change{Options: &trigger.Options{Signature: &trigger.Signature{Scheme: scheme, Header: "X"}}})
		require.NoError(t, err, scheme)
	}
	signed := bare
	signed.Secrets, signed.Options = []credential.Credential{{ID: "secret-1"}}, github
	_, _, err = signed.RemoveSecret()
	requireRefusal(t, refusal{fault.Validation, map[string]string{path: "github needs a secret: set options.signature to null, or to a scheme that needs none, first"}}, err)
	signed.Options = trigger.Options{}
	_, _, err = signed.RemoveSecret()
	require.NoError(t, err)
}

func TestDeleteForgetsTheVerifyToken(t *testing.T) {
	_, forget, err := trigger.Trigger{
		Version: 1, Tokens: []credential.Credential{{ID: "token-1"}}, Secrets: []credential.Credential{{ID: "secret-1"}},
		Options: trigger.Options{Signature: &trigger.Signature{Scheme: trigger.Meta, VerifyTokenID: "verify-1"}},
	}.Delete()
	require.NoError(t, err)
	require.Equal(t, []string{"token-1", "secret-1", "verify-1"}, forget)
}

func TestTakeVerifyToken(t *testing.T) {
	patch, token, err := trigger.TakeVerifyToken(json.RawMessage(`{"rate_limit":5,"signature":{"scheme":"meta","verify_token":"a low secret?no"}}`))
	require.ErrorContains(t, err, "options.signature.verify_token must be")
	require.Empty(t, token)
	require.NotEmpty(t, patch)
	patch, token, err = trigger.TakeVerifyToken(json.RawMessage(`{"rate_limit":5,"signature":{"scheme":"meta","verify_token":"a-low-secret","verify_token_id":"old"}}`))
	require.NoError(t, err)
	require.Equal(t, "a-low-secret", token)
	require.JSONEq(t, `{"rate_limit":5,"signature":{"scheme":"meta"}}`, string(patch))
	for _, same := range []string{``, `null`, `{}`, `[]`, `{"signature":null}`, `{"signature":7}`, `{"signature":{"scheme":"meta"}}`} {
		patch, token, err := trigger.TakeVerifyToken(json.RawMessage(same))
		require.NoError(t, err)
		require.Empty(t, token)
		require.Equal(t, same, string(patch))
	}
	for _, wrong := range []string{`{"scheme":"slack","verify_token":"a-low-secret"}`, `{"scheme":"meta","verify_token":7}`, `{"scheme":"meta","verify_token":"short"}`, `{"scheme":"meta","verify_token":null}`} {
		_, _, err := trigger.TakeVerifyToken(json.RawMessage(`{"signature":` + wrong + `}`))
		require.ErrorContains(t, err, "options.signature.verify_token", wrong)
	}
}
