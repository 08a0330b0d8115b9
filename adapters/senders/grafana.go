package senders

import (
	"crypto/sha256"
	"time"

	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// grafana: grafana.com/docs, "Configure webhook notifications", HMAC signature. Notifications
// have no id: one that is sent again after repeat_interval is meant to count again.
type grafana struct {
	usual

	header, timeHeader string
	tolerance          time.Duration
}

func newGrafana(s trigger.Signature) application.Sender {
	header := s.Header
	if header == "" {
		header = "X-Grafana-Alerting-Signature"
	}
	return grafana{header: header, timeHeader: s.TimestampHeader, tolerance: toleranceOf(s, usualTolerance)}
}

func (g grafana) Verify(m *application.Message) error {
	if g.timeHeader == "" {
		return bodyMAC{header: g.header, encoding: inHex}.Verify(m)
	}
	value, err := one(m, g.header)
	if err != nil {
		return err
	}
	timestamp, err := one(m, g.timeHeader)
	if err != nil {
		return err
	}
	at, isTime := unixTime(timestamp)
	if !isTime {
		return unreadable(g.timeHeader)
	}
	signature, readable := inHex(value)
	if !readable || !matches(sha256.New, m.Secrets, [][]byte{signature}, []byte(timestamp+":"), m.Signed) {
		return bad("the header %s is not the signature of the time and the exact body by the trigger's secret: <hex HMAC-SHA256>", g.header)
	}
	return checkTime(g.timeHeader, at, m.Now, g.tolerance)
}
