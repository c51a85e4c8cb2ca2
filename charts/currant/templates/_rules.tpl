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
      Workers go on, but pools and definitions are not reconciled. Look at `kubectl -n {{ .Release.Namespace }} get pods`, `kubectl -n {{ include "currant.leaseNamespace" . }} get lease`, and the log: `kubectl -n {{ .Release.Namespace }} logs -l app.kubernetes.io/name=currant-operator --prefix`.
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
- alert: CurrantPoolDegraded
  expr: currant_pool_condition{condition="Degraded"} == 1
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Pods of pool {{ $labels.namespace }}/{{ $labels.pool }} do not work` }}
    description: >-
      {{ `Others may still do the work. The message of the condition Degraded says why: kubectl -n {{ $labels.namespace }} describe workerpool {{ $labels.pool }}` }}
- alert: CurrantRolloutStandsStill
  expr: currant_pool_rolled_out == 0 and currant_pool_desired_replicas > 0
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `The new version of pool {{ $labels.namespace }}/{{ $labels.pool }} has not taken over for a quarter of an hour` }}
    description: >-
      {{ `The pods of the old version are kept until the new ones are ready. What keeps these from it: kubectl -n {{ $labels.namespace }} describe workerpool {{ $labels.pool }}` }}
- alert: CurrantQueueLate
  expr: currant_pool_oldest_ready_seconds > {{ int .Values.monitoring.prometheusRule.oldestReadySeconds }}
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `An execution of pool {{ $labels.namespace }}/{{ $labels.pool }} has waited for {{ $value | humanizeDuration }}` }}
    description: >-
      {{ `The pool has too few workers, or none that serves it: kubectl -n {{ $labels.namespace }} get workerpool {{ $labels.pool }}` }}
- alert: CurrantQueueNotMoving
  expr: currant_pool_ready > 0 and currant_pool_running == 0
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Nothing of what waits for pool {{ $labels.namespace }}/{{ $labels.pool }} is started` }}
    description: >-
      {{ `No worker takes what is ready. Whether there is one, and what it says: kubectl -n {{ $labels.namespace }} get workerpool,pods` }}
- alert: CurrantScalerBlind
  expr: time() - currant_pool_last_look_timestamp_seconds > 60
  for: 2m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `The operator has not seen the queues of pool {{ $labels.namespace }}/{{ $labels.pool }} for {{ $value | humanizeDuration }}` }}
    description: >-
      {{ `It holds the number of pods meanwhile. The conditions say why: kubectl -n {{ $labels.namespace }} describe workerpool {{ $labels.pool }}` }}
- alert: CurrantReconcilesFail
  expr: sum by (kind) (increase(currant_operator_reconciles_total{outcome="error"}[10m])) > 3
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Objects of kind {{ $labels.kind }} cannot be reconciled` }}
    description: >-
      The log of the one that leads says which and why: `kubectl -n {{ .Release.Namespace }} logs -l app.kubernetes.io/name=currant-operator --prefix`
- alert: CurrantWorkersLost
  expr: sum by (namespace, pool) (increase(currant_worker_takeovers_total[10m])) > 0
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `{{ $value | humanize }} workers of or beside pool {{ $labels.namespace }}/{{ $labels.pool }} died without a word` }}
    description: >-
      {{ `Others have taken over what they ran. Whether memory ran out: kubectl -n {{ $labels.namespace }} get pods,events` }}
- alert: CurrantRunsIncompatible
  expr: max by (namespace, pool, function) (currant_pool_incompatible_runs) > 0
  for: 1m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `{{ $value }} runs of {{ $labels.function }} do not fit the code that is deployed, and wait` }}
    description: >-
      They go on when code that fits is deployed. Which step differs: `{{ include "currant.command" . }} list --incompatible`
- alert: CurrantLeasesLost
  expr: sum by (namespace, pool) (rate(currant_worker_leases_lost_total[10m])) > 0.1
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Pool {{ $labels.namespace }}/{{ $labels.pool }} does work that somebody else has taken over` }}
    description: >-
      {{ `A few lost leases follow a dead worker or a cancel; so many mean workers that freeze or cannot reach the database for longer than the heartbeat time-out: kubectl -n {{ $labels.namespace }} top pods` }}
- alert: CurrantWritesStuck
  expr: min_over_time(currant_worker_writes_pending[5m]) > 0 and rate(currant_worker_writes_total[5m]) == 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Worker {{ $labels.namespace }}/{{ $labels.pod }} cannot write to its database` }}
    description: >-
      {{ `What it has done waits to be committed: kubectl -n {{ $labels.namespace }} logs {{ $labels.pod }}` }}
- alert: CurrantFunctionFails
  expr: sum by (namespace, pool, function) (increase(currant_worker_executions_total{outcome="failed"}[15m])) / sum by (namespace, pool, function) (increase(currant_worker_executions_total{outcome=~"completed|failed"}[15m])) > {{ .Values.monitoring.prometheusRule.failureRatio }} and sum by (namespace, pool, function) (increase(currant_worker_executions_total{outcome="failed"}[15m])) >= 5
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `{{ $value | humanizePercentage }} of the executions of {{ $labels.function }} fail` }}
    description: >-
      Which, and then `currant show ID` for the error: `{{ include "currant.command" . }} list --state failed --function {{ `{{ $labels.function }}` }}`
- alert: CurrantScheduleLate
  expr: time() - currant_schedule_next_timestamp_seconds > 300
  for: 2m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `The schedule {{ $labels.schedule }} of {{ $labels.function }} should have started a run {{ $value | humanizeDuration }} ago` }}
    description: >-
      {{ `Any live worker fires schedules, and none did. Whether there are workers: kubectl -n {{ $labels.namespace }} get workerpools,pods` }}
- alert: CurrantScheduleMissed
  expr: delta(currant_schedule_missed[1h]) > 0
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `The schedule {{ $labels.schedule }} of {{ $labels.function }} has missed {{ $value | humanize }} of its times in the last hour` }}
    description: >-
      {{ `No worker was there in time, and these runs were not caught up. The schedule's last outcome: kubectl -n {{ $labels.namespace }} describe cwf {{ $labels.workflow }}` }}
{{- end }}

{{/* The same, each with the page that says what it means and what to do. */}}
{{- define "currant.rulesWithPages" -}}
{{- $rules := list }}
{{- range include "currant.rules" . | fromYamlArray }}
{{- $page := printf "%s/operate/alerts.md#%s" (trimSuffix "/" $.Values.monitoring.docsUrl) (lower .alert) }}
{{- $rules = append $rules (merge (dict "annotations" (merge (dict "runbook_url" $page) .annotations)) .) }}
{{- end }}
{{- toYaml $rules }}
{{- end }}

{{/* How to call the command line: in the chart's own pod, else in one of the pool's. */}}
{{- define "currant.command" -}}
{{- if include "currant.hasCli" . -}}
kubectl -n {{ .Release.Namespace }} exec deployment/{{ include "currant.cli" . }} -- currant
{{- else -}}
{{ `kubectl -n {{ $labels.namespace }} exec deployment/{{ $labels.pool }} -- currant` }}
{{- end }}
{{- end }}
