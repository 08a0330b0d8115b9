# GitHub, "Webhook events and payloads".
(.pull_request // .issue // .discussion // .release // .workflow_run // .check_run // .check_suite // .deployment // .alert
  // .milestone // .project_card // .project // .package // .registry_package // .workflow_job // .security_advisory // {}) as $s
| (.comment // .review // .commit_comment // {}) as $c
| (if $event != "" then $event
   elif has("zen") then "ping"
   elif has("pull_request") and has("review") then "pull_request_review"
   elif has("pull_request") and has("comment") then "pull_request_review_comment"
   elif has("pull_request") then "pull_request"
   elif has("issue") and has("comment") then "issue_comment"
   elif has("issue") then "issues"
   elif has("commits") and has("ref") then "push"
   else null end) as $kind
| {
    event: $kind,
    action: .action,
    title: maybe($s.title? // $s.name? // $s.tag_name? // $s.display_title? // $s.summary? // $s.rule?.description? // $s.security_advisory?.summary? // .head_commit.message? // .ref? // .zen? // .label?.name? // $s.environment? // .context? // null | if type == "string" then split("\n")[0] else . end),
    url: maybe($c.html_url? // $s.html_url? // .compare? // .target_url? // .repository.html_url? // .organization.url? // null),
    number: maybe($s.number? // .number?),
    state: maybe($s.conclusion? // $s.state? // .deployment_status?.state? // .state? // $s.status?),
    ref: maybe(.ref? // $s.head?.ref? // $s.head_branch?),
    actor: maybe(.sender? // .pusher? | name_of?),
    repository: maybe(.repository?.full_name?),
    organization: maybe(.organization?.login?),
    text: maybe($c.body? // $s.body? // $s.description? // .head_commit?.message? // .description? | short),
    labels: maybe([$s.labels?[]?.name?] | if . == [] then null else . end)
  }
| compact
