package senders

import (
	"crypto/sha1" //nolint:gosec // for senders that sign by it; an HMAC does not need a hash without collisions
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"slices"
	"strings"

	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// custom is a sender whose scheme is declared by its parts.
type custom struct {
	usual

	declared  trigger.Signature
	algorithm func() hash.Hash
	encoding  encoding
}

func newCustom(s trigger.Signature) application.Sender {
	c := custom{declared: s, algorithm: sha256.New, encoding: inHex}
	switch s.Algorithm {
	case "sha1":
		c.algorithm = sha1.New
	case "sha512":
		c.algorithm = sha512.New
	}
	if s.Encoding == "base64" {
		c.encoding = inBase64
	}
	if len(c.declared.SigningString) == 0 {
		c.declared.SigningString = []string{trigger.PartBody}
	}
	return c
}

func (c custom) Verify(m *application.Message) error {
	value, err := one(m, c.declared.Header)
	if err != nil {
		return err
	}
	var signatures [][]byte
	for item := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		if text, found := strings.CutPrefix(item, c.declared.Prefix); found {
			if signature, readable := c.encoding(text); readable {
				signatures = append(signatures, signature)
			}
		}
	}
	header := c.declared.TimestampHeader
	timestamp := ""
	if header != "" {
		if timestamp, err = one(m, header); err != nil {
			return err
		}
	}
	at, isTime := unixTime(timestamp)
	if header != "" && !isTime {
		return unreadable(header)
	}
	if !c.matches(m, signatures, timestamp) {
		return bad("the header %s has no signature of what the trigger's options.signature says, by its secret", c.declared.Header)
	}
	if header == "" {
		return nil
	}
	return checkTime(header, at, m.Now, toleranceOf(c.declared, usualTolerance))
}

func (c custom) matches(m *application.Message, signatures [][]byte, timestamp string) bool {
	urls := m.URLs
	if !slices.Contains(c.declared.SigningString, trigger.PartURL) {
		urls = []string{""}
	}
	good := false
	for _, url := range urls {
		var parts [][]byte
		for _, part := range c.declared.SigningString {
			switch part {
			case trigger.PartBody:
				parts = append(parts, m.Signed)
			case trigger.PartTimestamp:
				parts = append(parts, []byte(timestamp))
			case trigger.PartID:
				parts = append(parts, []byte(first(m, c.declared.DeliveryHeader)))
			case trigger.PartURL:
				parts = append(parts, []byte(url))
			case trigger.PartMethod:
				parts = append(parts, []byte(m.Method()))
			default:
				parts = append(parts, []byte(part))
			}
		}
		good = matches(c.algorithm, m.Secrets, signatures, parts...) || good
	}
	return good
}

func (c custom) Delivery(m *application.Message) application.Delivery {
	if c.declared.DeliveryHeader == "" {
		return application.Delivery{}
	}
	d := delivery(m, c.declared.DeliveryHeader, "")
	d.Proven = slices.Contains(c.declared.SigningString, trigger.PartID)
	return d
}
