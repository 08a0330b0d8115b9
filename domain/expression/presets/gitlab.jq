# GitLab, "Webhook events".
(.object_attributes // {}) as $o
| {
    event: (.object_kind // .event_name // $event),
    action: maybe($o.action? // .action? // $o.status?),
    title: maybe($o.title? // .merge_request?.title? // .issue?.title? // .commit?.message? // ([.commits?[]?.message?] | last) // $o.ref? // .build_name? // .ref? // .name? | if type == "string" then split("\n")[0] else . end),
    url: maybe($o.url? // .url? // .compare? // .project?.web_url?),
    number: maybe($o.iid? // .merge_request?.iid? // .issue?.iid?),
    state: maybe($o.state? // $o.detailed_status? // .build_status?),
    ref: maybe($o.source_branch? // .ref? // $o.ref?),
    actor: maybe(.user? // .user_username? // .user_name? | name_of?),
    project: maybe(.project?.path_with_namespace? // .project_name? // .repository?.name?),
    text: maybe($o.note? // $o.description? // ([.commits?[]?.message?] | last) | short),
    labels: maybe([.labels?[]?.title?] | if . == [] then null else . end)
  }
| compact
