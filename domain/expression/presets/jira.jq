# Jira Cloud, "Webhooks".
(.issue?.fields? // {}) as $f
| def plain: if type == "object" then [.. | objects | .text? // empty] | join(" ") else . end;
  {
    event: .webhookEvent,
    action: (.issue_event_type_name? // (.webhookEvent | split("_") | last)),
    title: ($f.summary? // .version?.name? // .sprint?.name? // .project?.name?),
    key: .issue?.key?,
    url: (.issue?.self? // .comment?.self? // .version?.self? // .sprint?.self? // .project?.self?),
    actor: (.comment?.author? // .user? // .worklog?.author? | name_of?),
    project: ($f.project?.key? // .project?.key?),
    status: $f.status?.name?,
    priority: $f.priority?.name?,
    type: $f.issuetype?.name?,
    assignee: ($f.assignee? | name_of?),
    text: (.comment?.body? // $f.description? | plain | short),
    labels: $f.labels?,
    changes: ([.changelog?.items?[]? | {field, from: .fromString, to: .toString}] | if . == [] then null else . end)
  }
| compact
