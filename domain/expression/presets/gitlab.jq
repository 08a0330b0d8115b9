# GitLab, "Webhook events".
(.object_attributes // {}) as $o
| {
    event: (.object_kind // .event_name // $event),
    action: ($o.action? // .action? // $o.status?),
    title: ($o.title? // .merge_request?.title? // .issue?.title? // .commit?.message? // ([.commits?[]?.message?] | last) // $o.ref? // .build_name? // .ref? // .name? | if type == "string" then split("\n")[0] else . end),
    url: ($o.url? // .url? // .compare? // .project?.web_url?),
    number: ($o.iid? // .merge_request?.iid? // .issue?.iid?),
    state: ($o.state? // $o.detailed_status? // .build_status?),
    ref: ($o.source_branch? // .ref? // $o.ref?),
    actor: (.user? // .user_username? // .user_name? | name_of?),
    project: (.project?.path_with_namespace? // .project_name? // .repository?.name?),
    text: ($o.note? // $o.description? // ([.commits?[]?.message?] | last) | short),
    labels: ([.labels?[]?.title?] | if . == [] then null else . end)
  }
| compact
