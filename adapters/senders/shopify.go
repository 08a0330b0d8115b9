package senders

import (
	"hooktrail/application"
	"hooktrail/domain/trigger"
)

// shopify: shopify.dev, "Deliver webhooks through HTTPS" and "Ignore duplicate webhooks". The
// event's id is the same for several subscriptions of one topic, and not signed.
type shopify struct{ bodyMAC }

func newShopify(trigger.Signature) application.Sender {
	return shopify{bodyMAC{header: "X-Shopify-Hmac-SHA256", encoding: inBase64}}
}

func (shopify) Delivery(m *application.Message) application.Delivery {
	return delivery(m, "X-Shopify-Event-Id", "X-Shopify-Topic")
}
