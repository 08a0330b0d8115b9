# Grafana Alerting, "webhook notifier".
{
  event: "alert",
  action: (.status // .state),
  title: (.title // .commonLabels?.alertname? // .ruleName?),
  url: (.alerts?[0]?.panelURL? // .alerts?[0]?.generatorURL? // .externalURL? // .ruleUrl?),
  severity: .commonLabels?.severity?,
  folder: .commonLabels?.grafana_folder?,
  receiver: .receiver?,
  group: .groupKey?,
  organization: .orgId?,
  text: (.message // .commonAnnotations?.summary? // .commonAnnotations?.description? | short),
  labels: .commonLabels?,
  alerts: [.alerts?[:50][]? | {status, labels, values, summary: (.annotations?.summary?), description: (.annotations?.description?), starts_at: .startsAt, url: .generatorURL, dashboard: .dashboardURL?, fingerprint} | compact],
  truncated: (if (.truncatedAlerts? // 0) > 0 then .truncatedAlerts else null end)
}
| compact
