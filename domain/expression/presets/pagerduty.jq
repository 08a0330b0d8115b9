# PagerDuty, "V3 webhooks".
.event as $e
| ($e.data // {}) as $d
| {
    event: $e.event_type,
    action: ($e.event_type | split(".") | last),
    id: $e.id,
    title: ($d.title? // $d.incident?.summary? // $d.name? // $d.summary?),
    url: ($d.html_url? // $d.incident?.html_url? // $d.self?),
    number: $d.number?,
    actor: ($e.agent? // $e.client? | name_of?),
    service: ($d.service? | name_of?),
    status: $d.status?,
    urgency: $d.urgency?,
    priority: $d.priority?.summary?,
    assignees: ([$d.assignees?[]?.summary?] | if . == [] then null else . end),
    text: ($d.content? // $d.message? // $d.resolve_reason? | if type == "object" then tojson else . end | short),
    occurred_at: $e.occurred_at?
  }
| compact
