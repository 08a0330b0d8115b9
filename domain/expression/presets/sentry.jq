# Sentry, "Integration platform: webhooks": the resource is in the header Sentry-Hook-Resource.
(.data // {}) as $d
| ($d.issue? // $d.event? // $d.error? // $d.metric_alert? // $d.comment? // {}) as $s
| {
    event: maybe($headers["sentry-hook-resource"] // (if $d.issue? then "issue" elif $d.event? then "event_alert" elif $d.error? then "error" elif $d.metric_alert? then "metric_alert" else null end)),
    action: .action,
    title: maybe($s.title? // $d.description_title? // $s.alert_rule?.name?),
    url: maybe($s.web_url? // $s.permalink? // $d.web_url? // $s.issue_url? // $s.url?),
    actor: maybe(.actor? | name_of?),
    project: maybe($s.project?.slug? // $d.project_slug? // $s.project_name? // $s.project? | if type == "object" then (.slug? // .name?) else . end),
    level: maybe($s.level?),
    status: maybe($s.status?),
    culprit: maybe($s.culprit?),
    environment: maybe($s.environment? // ([$s.tags?[]? | select(type == "array" and .[0] == "environment") | .[1]] | first)),
    rule: maybe($d.triggered_rule?),
    times_seen: maybe($s.count?),
    text: maybe(given($s.metadata?.value?, $s.message?, $d.description_text?, $d.comment?) | if type == "string" then . else null end | short)
  }
| compact
