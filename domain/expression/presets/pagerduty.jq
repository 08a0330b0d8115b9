# PagerDuty, "V3 webhooks".
.event as $e
| ($e.data // {}) as $d
| {
    event: $e.event_type,
    action: ($e.event_type | split(".") | last),
    id: $e.id,
    title: maybe($d.title? // $d.incident?.summary? // $d.name? // $d.summary?),
    url: maybe($d.html_url? // $d.incident?.html_url? // $d.self?),
    number: maybe($d.number?),
    actor: maybe($e.agent? // $e.client? | name_of?),
    service: maybe($d.service? | name_of?),
    status: maybe($d.status?),
    urgency: maybe($d.urgency?),
    priority: maybe($d.priority?.summary?),
    assignees: maybe([$d.assignees?[]?.summary?] | if . == [] then null else . end),
    text: maybe($d.content? // $d.message? // $d.resolve_reason? | if type == "object" then tojson else . end | short),
    occurred_at: maybe($e.occurred_at?)
  }
| compact
