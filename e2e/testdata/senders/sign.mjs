// Signs a delivery with each sender's own library: reads {secrets, body, url, form, id, now} from
// standard input and writes the headers by sender. It runs beside the libraries.
import { readFileSync } from "node:fs";
import { sign } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import twilio from "twilio/lib/webhooks/webhooks.js";

const { secrets, body, url, form, id, now } = JSON.parse(readFileSync(0, "utf8"));

process.stdout.write(JSON.stringify({
  github: { "X-GitHub-Delivery": id, "X-Hub-Signature-256": await sign(secrets.github, body) },
  "standard-webhooks": {
    "webhook-id": id,
    "webhook-timestamp": String(now),
    "webhook-signature": new Webhook(secrets["standard-webhooks"]).sign(id, new Date(now * 1000), body),
  },
  stripe: {
    "Stripe-Signature": new Stripe("sk_test_1").webhooks.generateTestHeaderString({ payload: body, secret: secrets.stripe, timestamp: now }),
  },
  twilio: {
    "I-Twilio-Idempotency-Token": id,
    "Content-Type": "application/x-www-form-urlencoded",
    "X-Twilio-Signature": twilio.getExpectedTwilioSignature(secrets.twilio, url, form),
  },
}));
