{{/* Alerts; each says what to do. Templates of Prometheus are quoted, so that Helm leaves them alone. */}}
{{- define "currant.rules" -}}
{{- $operator := include "currant.operator" . -}}
- alert: CurrantNobodyLeads
  expr: absent(currant_operator_leading{job="{{ $operator }}"} == 1)
  for: 5m
  labels: {severity: critical}
  annotations:
    summary: >-
      No pod of Currant's operator leads
    description: >-
      Workers go on, but nobody reconciles pools and definitions. Look at `kubectl -n {{ .Release.Namespace }} get pods`, `kubectl -n {{ include "currant.leaseNamespace" . }} get lease`, and the log: `kubectl -n {{ .Release.Namespace }} logs -l app.kubernetes.io/name=currant-operator --prefix`.
- alert: CurrantDatabaseUnreachable
  expr: currant_pool_condition{condition="DatabaseReachable"} == 0
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: >-
      {{ `The database of pool {{ $labels.namespace }}/{{ $labels.pool }} cannot be reached` }}
    description: >-
      {{ `No work is lost, but none is done. The message of the condition says why: kubectl -n {{ $labels.namespace }} describe workerpool {{ $labels.pool }}` }}
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
      {{ `Other pods may still do the work. The message of the condition Degraded says why: kubectl -n {{ $labels.namespace }} describe workerpool {{ $labels.pool }}` }}
- alert: CurrantRolloutStandsStill
  expr: currant_pool_rolled_out == 0 and currant_pool_desired_replicas > 0
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `The new version of pool {{ $labels.namespace }}/{{ $labels.pool }} has not taken over for a quarter of an hour` }}
    description: >-
      {{ `The pods of the old version are kept until the new ones are ready. The reason why the new pods are not ready: kubectl -n {{ $labels.namespace }} describe workerpool {{ $labels.pool }}` }}
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
      {{ `No ready execution of pool {{ $labels.namespace }}/{{ $labels.pool }} starts` }}
    description: >-
      {{ `No worker claims what is ready. Whether the pool has a worker, and in which state: kubectl -n {{ $labels.namespace }} get workerpool,pods` }}
- alert: CurrantScalerBlind
  expr: time() - currant_pool_last_look_timestamp_seconds > 60
  for: 2m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `The operator has not seen the queues of pool {{ $labels.namespace }}/{{ $labels.pool }} for {{ $value | humanizeDuration }}` }}
    description: >-
      {{ `It keeps the number of pods until it sees them again. The conditions say why: kubectl -n {{ $labels.namespace }} describe workerpool {{ $labels.pool }}` }}
- alert: CurrantReconcilesFail
  expr: sum by (kind) (increase(currant_operator_reconciles_total{outcome="error"}[10m])) > 3
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Objects of kind {{ $labels.kind }} cannot be reconciled` }}
    description: >-
      The log of the pod that leads says which objects, and why: `kubectl -n {{ .Release.Namespace }} logs -l app.kubernetes.io/name=currant-operator --prefix`
- alert: CurrantWorkersLost
  expr: sum by (namespace, pool) (increase(currant_worker_takeovers_total[10m])) > 0
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Pool {{ $labels.namespace }}/{{ $labels.pool }} took over from {{ $value | humanize }} workers that died without notice` }}
    description: >-
      {{ `Their executions go on in other workers. Whether they ran out of memory: kubectl -n {{ $labels.namespace }} get pods,events` }}
- alert: CurrantRunsIncompatible
  expr: max by (namespace, pool, function) (currant_pool_incompatible_runs) > 0
  for: 1m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `{{ $value }} runs of {{ $labels.function }} are incompatible with the deployed code, and wait` }}
    description: >-
      They go on when code that fits is deployed. The step that differs: `{{ include "currant.command" . }} list --incompatible`
- alert: CurrantLeasesLost
  expr: sum by (namespace, pool) (rate(currant_worker_leases_lost_total[10m])) > 0.1
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Workers of pool {{ $labels.namespace }}/{{ $labels.pool }} finish work that others have taken over` }}
    description: >-
      {{ `A few lost leases follow a dead worker or a cancel; this many mean workers that freeze or cannot reach the database for longer than the heartbeat time-out: kubectl -n {{ $labels.namespace }} top pods` }}
- alert: CurrantWritesStuck
  expr: min_over_time(currant_worker_writes_pending[5m]) > 0 and rate(currant_worker_writes_total[5m]) == 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `Worker {{ $labels.namespace }}/{{ $labels.pod }} cannot write to its database` }}
    description: >-
      {{ `Its results wait to be committed. Why: kubectl -n {{ $labels.namespace }} logs {{ $labels.pod }}` }}
- alert: CurrantFunctionFails
  expr: sum by (namespace, pool, function) (increase(currant_worker_executions_total{outcome="failed"}[15m])) / sum by (namespace, pool, function) (increase(currant_worker_executions_total{outcome=~"completed|failed"}[15m])) > {{ .Values.monitoring.prometheusRule.failureRatio }} and sum by (namespace, pool, function) (increase(currant_worker_executions_total{outcome="failed"}[15m])) >= 5
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `{{ $value | humanizePercentage }} of the executions of {{ $labels.function }} fail` }}
    description: >-
      The failed executions, of which `currant show ID` shows the error: `{{ include "currant.command" . }} list --state failed --function {{ `{{ $labels.function }}` }}`
- alert: CurrantScheduleLate
  expr: time() - currant_schedule_next_timestamp_seconds > 300
  for: 2m
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `The schedule {{ $labels.schedule }} of {{ $labels.function }} should have started a run {{ $value | humanizeDuration }} ago` }}
    description: >-
      {{ `Any live worker fires schedules, and none did. Whether there are any: kubectl -n {{ $labels.namespace }} get workerpools,pods` }}
- alert: CurrantScheduleMissed
  expr: delta(currant_schedule_missed[1h]) > 0
  labels: {severity: warning}
  annotations:
    summary: >-
      {{ `The schedule {{ $labels.schedule }} of {{ $labels.function }} has missed {{ $value | humanize }} of its times in the last hour` }}
    description: >-
      {{ `No worker fired them in time, and these runs were not caught up. The schedule's last outcome: kubectl -n {{ $labels.namespace }} describe cwf {{ $labels.workflow }}` }}
{{- end }}

{{/* The alerts, each with a link to the page that says what it means and what to do, if that page has an address. */}}
{{- define "currant.rulesWithPages" -}}
{{- $rules := list }}
{{- range include "currant.rules" . | fromYamlArray }}
{{- if $.Values.monitoring.docsUrl }}
{{- $page := printf "%s#%s" (include "currant.page" (dict "root" $ "name" "alerts")) (lower .alert) }}
{{- $rules = append $rules (merge (dict "annotations" (merge (dict "runbook_url" $page) .annotations)) .) }}
{{- else }}
{{- $rules = append $rules . }}
{{- end }}
{{- end }}
{{- toYaml $rules }}
{{- end }}

{{/* The dashboard, with links to pages if they have an address. */}}
{{- define "currant.dashboard" -}}
{{- $dashboard := .Files.Get "files/dashboards/currant.json" }}
{{- if .Values.monitoring.docsUrl }}
{{- $links := list }}
{{- range list (list "Alerts" "alerts") (list "Metrics" "observability") (list "Conditions of pools" "kubernetes") }}
{{- $url := include "currant.page" (dict "root" $ "name" (last .)) }}
{{- $links = append $links (dict "type" "link" "title" (first .) "url" $url "targetBlank" true "icon" "doc" "tags" list) }}
{{- end }}
{{- $dashboard = set (fromJson $dashboard) "links" $links | toPrettyJson }}
{{- end }}
{{- $dashboard }}
{{- end }}

{{/* The address of a page of docs/operate on the site. */}}
{{- define "currant.page" -}}
{{ trimSuffix "/" .root.Values.monitoring.docsUrl }}/operate/{{ .name }}.html
{{- end }}

{{/* How to call the command line: in the chart's own pod, otherwise in a pod of the pool. */}}
{{- define "currant.command" -}}
{{- if include "currant.hasCli" . -}}
kubectl -n {{ .Release.Namespace }} exec deployment/{{ include "currant.cli" . }} -- currant
{{- else -}}
{{ `kubectl -n {{ $labels.namespace }} exec deployment/{{ $labels.pool }} -- currant` }}
{{- end }}
{{- end }}
