# Sentry, "Integration platform: webhooks": the resource is in the header Sentry-Hook-Resource.
(.data // {}) as $d
| ($d.issue? // $d.event? // $d.error? // $d.metric_alert? // $d.comment? // {}) as $s
| {
    event: ($headers["sentry-hook-resource"] // (if $d.issue? then "issue" elif $d.event? then "event_alert" elif $d.error? then "error" elif $d.metric_alert? then "metric_alert" else null end)),
    action: .action,
    title: ($s.title? // $d.description_title? // $s.alert_rule?.name?),
    url: ($s.web_url? // $s.permalink? // $d.web_url? // $s.issue_url? // $s.url?),
    actor: (.actor? | name_of?),
    project: ($s.project?.slug? // $d.project_slug? // $s.project_name? // $s.project? | if type == "object" then (.slug? // .name?) else . end),
    level: $s.level?,
    status: $s.status?,
    culprit: $s.culprit?,
    environment: ($s.environment? // ([$s.tags?[]? | select(type == "array" and .[0] == "environment") | .[1]] | first)),
    rule: $d.triggered_rule?,
    times_seen: $s.count?,
    text: ($s.metadata?.value? // $s.message? // $d.description_text? // $d.comment? | if type == "string" then . else null end | short)
  }
| compact
