# Shopify, "Webhooks": the topic is in the header X-Shopify-Topic.
($headers["x-shopify-topic"] // (if $event == "" then null else $event end)) as $topic
| {
    event: $topic,
    action: ($topic | if . == null then null else split("/") | last end),
    id: .id,
    title: (.name? // .title? // .handle?),
    url: (.order_status_url? // .admin_graphql_api_id?),
    actor: (.email? // .customer?.email? // .contact_email? // .customer?.phone?),
    shop: ($headers["x-shopify-shop-domain"] // .myshopify_domain? // null),
    status: (.financial_status? // .status?),
    fulfillment: .fulfillment_status?,
    amount: (.total_price? // .amount?),
    currency: .currency?,
    text: (.note? // .body_html? | short),
    items: ([.line_items?[:100][]? | {title, quantity, price, sku} | compact] | if . == [] then null else . end)
  }
| compact
