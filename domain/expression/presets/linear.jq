# Linear, "Webhooks".
(.data // {}) as $d
| {
    event: .type,
    action: .action,
    title: ($d.title? // $d.name? // $d.issue?.title?),
    key: ($d.identifier? // $d.issue?.identifier?),
    url: (.url // $d.url?),
    actor: (.actor? // $d.user? // $d.creator? | name_of?),
    team: ($d.team?.key? // $d.team?.name?),
    project: $d.project?.name?,
    state: $d.state?.name?,
    priority: ($d.priorityLabel? // $d.priority?),
    assignee: ($d.assignee? | name_of?),
    text: ($d.body? // $d.description? | short),
    labels: ([$d.labels?[]?.name?] | if . == [] then null else . end),
    changed: (.updatedFrom? | if type == "object" then keys else null end)
  }
| compact
