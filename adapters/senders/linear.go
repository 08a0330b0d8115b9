package senders

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// linear: linear.app/developers/webhooks. The time is a member of the body.
type linear struct {
	bodyMAC

	tolerance time.Duration
}

const linearTime = "webhookTimestamp"

func newLinear(s trigger.Signature) application.Sender {
	return linear{bodyMAC{header: "Linear-Signature", encoding: inHex}, toleranceOf(s, linearTolerance)}
}

func (l linear) Verify(m *application.Message) error {
	if err := l.bodyMAC.Verify(m); err != nil {
		return err
	}
	var body map[string]jsontext.Value
	read(m.Body, &body)
	at, isTime := unixTime(string(body[linearTime]))
	if !isTime {
		return bad("the body has no %s in milliseconds since 1970", strconv.Quote(linearTime))
	}
	return checkTime(linearTime, at, m.Now, l.tolerance)
}

// Delivery is by a header that is not signed. What is signed beside it is the body but for the
// time, which is a new one when Linear tries again.
func (linear) Delivery(m *application.Message) application.Delivery {
	d := delivery(m, "Linear-Delivery", "Linear-Event")
	var body map[string]jsontext.Value
	if read(m.Body, &body) {
		delete(body, linearTime)
		if material, err := json.Marshal(body, json.Deterministic(true)); err == nil {
			d.Material = material
		}
	}
	return d
}
