# Slack: Events API, slash commands (a form), and interactivity (a form whose field payload is JSON).
(if (.payload? | type) == "string" then .payload | fromjson else . end) as $p
| ($p.event? // {}) as $e
| {
    event: maybe($e.type? // (if $p.command? then "slash_command" else $p.type? end)),
    action: maybe($e.subtype? // $p.actions?[0]?.action_id? // $p.callback_id? // $p.command?),
    title: maybe($p.command? // $p.view?.title?.text? // $e.item?.name?),
    actor: maybe($e.user? // $p.user_name? // $p.user_id? // $p.user? | name_of?),
    channel: maybe($e.channel? // $p.channel_name? // $p.channel_id? // $p.channel? // $e.item?.channel? | name_of?),
    team: maybe($p.team_id? // $p.team?.id? // $p.team_domain?),
    text: maybe($e.text? // $p.text? // $p.message?.text? // $p.actions?[0]?.value? | short),
    thread: maybe($e.thread_ts? // $p.container?.thread_ts?),
    ts: maybe($e.ts? // $e.event_ts? // $p.container?.message_ts?),
    reaction: maybe($e.reaction?),
    url: maybe($p.response_url?),
    id: maybe($p.event_id? // $p.trigger_id?)
  }
| compact
