# Linear, "Webhooks".
(.data // {}) as $d
| {
    event: .type,
    action: .action,
    title: maybe($d.title? // $d.name? // $d.issue?.title?),
    key: maybe($d.identifier? // $d.issue?.identifier?),
    url: maybe(.url // $d.url?),
    actor: maybe(.actor? // $d.user? // $d.creator? | name_of?),
    team: maybe($d.team?.key? // $d.team?.name?),
    project: maybe($d.project?.name?),
    state: maybe($d.state?.name?),
    priority: maybe($d.priorityLabel? // $d.priority?),
    assignee: maybe($d.assignee? | name_of?),
    text: maybe($d.body? // $d.description? | short),
    labels: maybe([$d.labels?[]?.name?] | if . == [] then null else . end),
    changed: maybe(.updatedFrom? | if type == "object" then keys else null end)
  }
| compact
