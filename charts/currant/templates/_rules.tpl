{{/* Alerts; each says what to do. What Prometheus is to fill in is quoted for Helm. */}}
{{- define "currant.rules" -}}
{{- $operator := include "currant.operator" . -}}
- alert: CurrantNobodyLeads
  expr: absent(currant_operator_leading{job="{{ $operator }}"} == 1)
  for: 5m
  labels: {severity: critical}
  annotations:
    summary: >-
      No operator of Currant leads
    description: >-
      Workers go on, but pools and definitions are not reconciled. Look at `kubectl -n {{ .Release.Namespace }} get pods,lease` and the logs of deployment/{{ $operator }}.
- alert: CurrantDatabaseUnreachable
  expr: currant_pool_condition{condition="DatabaseReachable"} == 0
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: >-
      {{ `The database of pool {{ $labels.namespace }}/{{ $labels.pool }} cannot be reached` }}
    description: >-
      {{ `Nothing is lost, but nothing goes on. The message of the condition says why: kubectl -n {{ $labels.namespace }} describe workerpool {{ $labels.pool }}` }}
- alert: CurrantPoolNotReady
  expr: currant_pool_condition{condition="Ready"} != 1
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Pool {{ $labels.namespace }}/{{ $labels.pool }} is not ready` }}
    description: >-
      {{ `The message of the condition says why: kubectl -n {{ $labels.namespace }} describe workerpool {{ $labels.pool }}` }}
- alert: CurrantQueueLate
  expr: currant_pool_oldest_ready_seconds > {{ int .Values.monitoring.prometheusRule.oldestReadySeconds }}
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `An execution of pool {{ $labels.namespace }}/{{ $labels.pool }} has waited for {{ $value | humanizeDuration }}` }}
    description: >-
      {{ `The pool has too few workers, or none that serves it: kubectl -n {{ $labels.namespace }} get workerpool {{ $labels.pool }}` }}
- alert: CurrantWritesStuck
  expr: min_over_time(currant_worker_writes_pending[5m]) > 0 and rate(currant_worker_commits_total[5m]) == 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Worker {{ $labels.namespace }}/{{ $labels.pod }} cannot write to its database` }}
    description: >-
      {{ `What it has done waits to be committed: kubectl -n {{ $labels.namespace }} logs {{ $labels.pod }}` }}
{{- end }}
