# Slack: Events API, slash commands (a form), and interactivity (a form whose field payload is JSON).
(if (.payload? | type) == "string" then .payload | fromjson else . end) as $p
| ($p.event? // {}) as $e
| {
    event: ($e.type? // (if $p.command? then "slash_command" else $p.type? end)),
    action: ($e.subtype? // $p.actions?[0]?.action_id? // $p.callback_id? // $p.command?),
    title: ($p.command? // $p.view?.title?.text? // $e.item?.name?),
    actor: ($e.user? // $p.user_name? // $p.user_id? // $p.user? | name_of?),
    channel: ($e.channel? // $p.channel_name? // $p.channel_id? // $p.channel? // $e.item?.channel? | name_of?),
    team: ($p.team_id? // $p.team?.id? // $p.team_domain?),
    text: ($e.text? // $p.text? // $p.message?.text? // $p.actions?[0]?.value? | short),
    thread: ($e.thread_ts? // $p.container?.thread_ts?),
    ts: ($e.ts? // $e.event_ts? // $p.container?.message_ts?),
    reaction: $e.reaction?,
    url: $p.response_url?,
    id: ($p.event_id? // $p.trigger_id?)
  }
| compact
