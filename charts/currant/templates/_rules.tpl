{{/* Alerts; each says what to do. Prometheus's own {{ }} are quoted for Helm. */}}
{{- define "currant.rules" -}}
{{- $job := include "currant.operator" . -}}
- alert: CurrantOperatorDown
  expr: absent(up{job="{{ $job }}"} == 1)
  for: 5m
  labels: {severity: critical}
  annotations:
    summary: Currant's operator does not answer
    description: Workers go on, but pools and definitions are not reconciled. Look at `kubectl -n {{ .Release.Namespace }} get pods -l app.kubernetes.io/name=currant-operator`.
- alert: CurrantWorkerWritesStuck
  expr: min_over_time(currant_worker_writes_pending[5m]) > 0 and rate(currant_worker_commits_total[5m]) == 0
  for: 5m
  labels: {severity: critical}
  annotations:
    summary: {{ `The worker {{ $labels.namespace }}/{{ $labels.pod }} cannot write to its database` }}
    description: Its outcomes wait and nothing is lost, but nothing goes on. Look at the pool's condition DatabaseReachable.
{{- end }}
