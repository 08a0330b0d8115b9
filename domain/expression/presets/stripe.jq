# Stripe, "The Event object".
.data.object as $o
| {
    event: .type,
    action: (.type | split(".") | last),
    id: .id,
    title: maybe($o.description? // $o.number? // $o.name? // $o.id?),
    subject: maybe($o.id?),
    object: maybe($o.object?),
    url: maybe($o.hosted_invoice_url? // $o.receipt_url? // $o.url?),
    actor: maybe($o.customer_email? // $o.receipt_email? // $o.billing_details?.email? // $o.customer_details?.email? // $o.email? // $o.customer? | name_of?),
    amount: maybe($o.amount? // $o.amount_total? // $o.amount_due? // $o.total?),
    currency: maybe($o.currency?),
    status: maybe($o.status?),
    text: maybe($o.failure_message? // $o.last_payment_error?.message? // $o.cancellation_details?.comment? | short),
    live: .livemode,
    changed: maybe(.data.previous_attributes? | if type == "object" then keys else null end)
  }
| compact
