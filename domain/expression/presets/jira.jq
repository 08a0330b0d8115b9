# Jira Cloud, "Webhooks".
(.issue?.fields? // {}) as $f
| def plain: if type == "object" then [.. | objects | .text? // empty] | join(" ") else . end;
  {
    event: .webhookEvent,
    action: maybe(.issue_event_type_name? // (.webhookEvent | split("_") | last)),
    title: maybe($f.summary? // .version?.name? // .sprint?.name? // .project?.name?),
    key: maybe(.issue?.key?),
    url: maybe(.issue?.self? // .comment?.self? // .version?.self? // .sprint?.self? // .project?.self?),
    actor: maybe(.comment?.author? // .user? // .worklog?.author? | name_of?),
    project: maybe($f.project?.key? // .project?.key?),
    status: maybe($f.status?.name?),
    priority: maybe($f.priority?.name?),
    type: maybe($f.issuetype?.name?),
    assignee: maybe($f.assignee? | name_of?),
    text: maybe(.comment?.body? // $f.description? | plain | short),
    labels: maybe($f.labels?),
    changes: maybe([.changelog?.items?[]? | {field, from: .fromString, to: .toString}] | if . == [] then null else . end)
  }
| compact
