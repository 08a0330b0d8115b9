# Prometheus Alertmanager, "webhook_config", version 4.
{
  event: "alert",
  action: .status,
  title: maybe(.commonAnnotations?.summary? // .commonLabels?.alertname? // .groupLabels?.alertname? // .alerts?[0]?.labels?.alertname?),
  url: maybe(.alerts?[0]?.generatorURL? // .externalURL?),
  severity: maybe(.commonLabels?.severity? // .alerts?[0]?.labels?.severity?),
  service: maybe(.commonLabels?.service? // .commonLabels?.job?),
  receiver: maybe(.receiver?),
  group: maybe(.groupKey?),
  text: maybe(.commonAnnotations?.description? // .commonAnnotations?.message? | short),
  labels: maybe(.commonLabels?),
  alerts: maybe([.alerts?[:50][]? | {status, labels, summary: (.annotations?.summary?), description: (.annotations?.description?), starts_at: .startsAt, url: .generatorURL, fingerprint} | compact]),
  truncated: maybe(if (.truncatedAlerts? // 0) > 0 then .truncatedAlerts else null end)
}
| compact
