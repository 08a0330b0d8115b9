# Shopify, "Webhooks": the topic is in the header X-Shopify-Topic.
($headers["x-shopify-topic"] // (if $event == "" then null else $event end)) as $topic
| {
    event: $topic,
    action: ($topic | if . == null then null else split("/") | last end),
    id: .id,
    title: maybe(.name? // .title? // .handle?),
    url: maybe(.order_status_url? // .admin_graphql_api_id?),
    actor: maybe(.email? // .customer?.email? // .contact_email? // .customer?.phone?),
    shop: maybe($headers["x-shopify-shop-domain"] // .myshopify_domain? // null),
    status: maybe(.financial_status? // .status?),
    fulfillment: maybe(.fulfillment_status?),
    amount: maybe(.total_price? // .amount?),
    currency: maybe(.currency?),
    text: maybe(.note? // .body_html? | short),
    items: maybe([.line_items?[:100][]? | {title, quantity, price, sku} | compact] | if . == [] then null else . end)
  }
| compact
