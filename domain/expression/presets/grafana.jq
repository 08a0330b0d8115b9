# Grafana Alerting, "webhook notifier".
{
  event: "alert",
  action: (.status // .state),
  title: maybe(.title // .commonLabels?.alertname? // .ruleName?),
  url: given(.alerts?[0]?.panelURL?, .alerts?[0]?.generatorURL?, .externalURL?, .ruleUrl?),
  severity: maybe(.commonLabels?.severity?),
  folder: maybe(.commonLabels?.grafana_folder?),
  receiver: maybe(.receiver?),
  group: maybe(.groupKey?),
  organization: maybe(.orgId?),
  text: (given(.message, .commonAnnotations?.summary?, .commonAnnotations?.description?) | short),
  labels: maybe(.commonLabels?),
  alerts: maybe([.alerts?[:50][]? | {status, labels, values, summary: (.annotations?.summary?), description: (.annotations?.description?), starts_at: .startsAt, url: .generatorURL, dashboard: .dashboardURL?, fingerprint} | compact]),
  truncated: maybe(if (.truncatedAlerts? // 0) > 0 then .truncatedAlerts else null end)
}
| compact
