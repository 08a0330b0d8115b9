# Stripe, "The Event object".
.data.object as $o
| {
    event: .type,
    action: (.type | split(".") | last),
    id: .id,
    title: ($o.description? // $o.number? // $o.name? // $o.id?),
    subject: $o.id?,
    object: $o.object?,
    url: ($o.hosted_invoice_url? // $o.receipt_url? // $o.url?),
    actor: ($o.customer_email? // $o.receipt_email? // $o.billing_details?.email? // $o.customer_details?.email? // $o.email? // $o.customer? | name_of?),
    amount: ($o.amount? // $o.amount_total? // $o.amount_due? // $o.total?),
    currency: $o.currency?,
    status: $o.status?,
    text: ($o.failure_message? // $o.last_payment_error?.message? // $o.cancellation_details?.comment? | short),
    live: .livemode,
    changed: (.data.previous_attributes? | if type == "object" then keys else null end)
  }
| compact
