# Prometheus Alertmanager, "webhook_config", version 4.
{
  event: "alert",
  action: .status,
  title: (.commonAnnotations?.summary? // .commonLabels?.alertname? // .groupLabels?.alertname? // .alerts?[0]?.labels?.alertname?),
  url: (.alerts?[0]?.generatorURL? // .externalURL?),
  severity: (.commonLabels?.severity? // .alerts?[0]?.labels?.severity?),
  service: (.commonLabels?.service? // .commonLabels?.job?),
  receiver: .receiver?,
  group: .groupKey?,
  text: (.commonAnnotations?.description? // .commonAnnotations?.message? | short),
  labels: .commonLabels?,
  alerts: [.alerts?[:50][]? | {status, labels, summary: (.annotations?.summary?), description: (.annotations?.description?), starts_at: .startsAt, url: .generatorURL, fingerprint} | compact],
  truncated: (if (.truncatedAlerts? // 0) > 0 then .truncatedAlerts else null end)
}
| compact
