{{- define "currant.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{/* The release's name, with the chart's name in it. Other names append to it, so it has at most 44 of a label's 63 letters. */}}
{{- define "currant.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 44 | trimSuffix "-" }}
{{- else if contains (include "currant.name" .) .Release.Name }}
{{- .Release.Name | trunc 44 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "currant.name" .) | trunc 44 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "currant.operator" -}}{{ include "currant.fullname" . }}-operator{{- end }}
{{- define "currant.postgres" -}}{{ include "currant.fullname" . }}-demo-postgres{{- end }}
{{- define "currant.cli" -}}{{ include "currant.fullname" . }}-cli{{- end }}
{{- define "currant.test" -}}{{ include "currant.fullname" . }}-test{{- end }}
{{- define "currant.cleanup" -}}{{ include "currant.fullname" . }}-cleanup{{- end }}

{{/* Cluster-wide objects have the namespace in their name: two releases may differ in nothing else. */}}
{{- define "currant.clusterName" -}}
{{ include "currant.operator" . }}-{{ .Release.Namespace }}
{{- end }}

{{- define "currant.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "currant.operator" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.create is false: give serviceAccount.name, the account that the operator runs as" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The labels that select pods never change; `component` tells the operator from the demo's Postgres. */}}
{{- define "currant.selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "currant.labels" -}}
{{ include "currant.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: currant
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* `metadata` of an object in the release's namespace: (dict "root" $ "name" ... "component"? "namespace"? "labels"? "annotations"?) */}}
{{- define "currant.metadata" -}}
{{- $component := default "currant-operator" .component -}}
name: {{ .name }}
{{- if not .cluster }}
namespace: {{ default .root.Release.Namespace .namespace }}
{{- end }}
labels:
  {{- include "currant.labels" (dict "root" .root "component" $component) | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "currant.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Whether a part of `monitoring` is enabled, "true" or "": auto means that the cluster has the Prometheus operator's API. */}}
{{- define "currant.monitoring" -}}
{{- if eq (toString .enabled) "true" -}}
true
{{- else if and (eq (toString .enabled) "auto") (.root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") -}}
true
{{- end }}
{{- end }}

{{/* The namespaces that get the database's Secret, as a YAML list: the release's and others. */}}
{{- define "currant.databaseNamespaces" -}}
{{- $others := .Values.database.namespaces }}
{{- if not $others }}
{{- $others = ternary (list "default") (list) .Values.demoPostgres.enabled }}
{{- with .Values.watchNamespace }}
{{- $others = list . }}
{{- end }}
{{- end }}
{{- prepend $others .Release.Namespace | uniq | toYaml }}
{{- end }}

{{/* "true" or "": whether there is a pod with the command line. */}}
{{- define "currant.hasCli" -}}
{{- $known := or .Values.cli.existingSecret .Values.database.existingSecret (include "currant.makesSecret" .) }}
{{- if or (eq (toString .Values.cli.enabled) "true") (and (eq (toString .Values.cli.enabled) "auto") $known) -}}
true
{{- end }}
{{- end }}

{{/* The ports of a URL of Postgres, which may name several hosts: a YAML list. */}}
{{- define "currant.portsOf" -}}
{{- $ports := list }}
{{- $asked := regexFind "[?&]port=[0-9,]+" . | regexFind "[0-9,]+$" }}
{{- if $asked }}
{{- $ports = splitList "," $asked }}
{{- else }}
{{- range splitList "," (regexReplaceAll "^postgres(?:ql)?://(?:[^/?#]*@)?([^/?#]*).*$" . "${1}") }}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "5432") }}
{{- end }}
{{- end }}
{{- without $ports "" | uniq | toYaml }}
{{- end }}

{{/* The ports of databases that the release's pods may reach: those given, otherwise those of the URLs, otherwise 5432. */}}
{{- define "currant.databasePorts" -}}
{{- $ports := .Values.networkPolicy.databasePorts }}
{{- if not $ports }}
{{- range without (list .Values.database.url .Values.database.adminUrl) "" }}
{{- $ports = concat $ports (include "currant.portsOf" . | fromYamlArray) }}
{{- end }}
{{- end }}
{{- default (list 5432) $ports | uniq | toYaml }}
{{- end }}

{{/* "true" when the chart makes the database's Secret. */}}
{{- define "currant.makesSecret" -}}
{{- if or .Values.database.url .Values.demoPostgres.enabled }}true{{ end }}
{{- end }}

{{/* The demo's password: the one given, otherwise that of the last release, otherwise a new one. It is the same in every template. */}}
{{- define "currant.demoPassword" -}}
{{- if not .Values.demoPostgres.password }}
{{- $found := lookup "v1" "Secret" .Release.Namespace (include "currant.postgres" .) }}
{{- $password := randAlphaNum 32 }}
{{- with $found }}
{{- $password = index .data "password" | b64dec }}
{{- end }}
{{- $_ := set .Values.demoPostgres "password" $password }}
{{- end }}
{{- .Values.demoPostgres.password }}
{{- end }}

{{/* The URL for workers. */}}
{{- define "currant.databaseUrl" -}}
{{- if .Values.database.url }}
{{- .Values.database.url }}
{{- else }}
{{- include "currant.demoUrl" (dict "root" . "user" "demo_worker") }}
{{- end }}
{{- end }}

{{/* The URL for the operator; empty if the workers' URL is the only one. */}}
{{- define "currant.adminUrl" -}}
{{- if .Values.demoPostgres.enabled }}
{{- include "currant.demoUrl" (dict "root" . "user" "currant") }}
{{- else }}
{{- .Values.database.adminUrl }}
{{- end }}
{{- end }}

{{/* The demo's URL for one of its roles. Each role's password is a hash of the owner's, so it does not give the owner's away. */}}
{{- define "currant.demoUrl" -}}
{{- $password := include "currant.demoPassword" .root }}
{{- if ne .user "currant" }}
{{- $password = include "currant.demoRolePassword" . }}
{{- end -}}
postgresql://{{ .user }}:{{ $password | urlquery | replace "+" "%20" }}@{{ include "currant.postgres" .root }}.{{ .root.Release.Namespace }}.svc:5432/currant
{{- end }}

{{- define "currant.demoRolePassword" -}}
{{- printf "%s of %s" .user (include "currant.demoPassword" .root) | sha256sum | trunc 32 }}
{{- end }}

{{/* One-off pods of the chart: the operator's image with a script of files/scripts. (dict "root" $ "script" ...) */}}
{{- define "currant.scriptContainer" -}}
image: {{ include "currant.image" (dict "root" .root "image" .root.Values.image) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [python, -c]
args:
  - {{ .root.Files.Get (printf "files/scripts/%s" .script) | quote }}
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
resources:
  requests: {cpu: 10m, memory: 64Mi}
  limits: {memory: 256Mi}
{{- end }}

{{- define "currant.scriptPod" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
restartPolicy: Never
{{- end }}

{{/*
The Lease that says which of the operator's pods leads. With `watchNamespace` it is in that namespace, under the same name for
every release: Helm refuses a second release there, and of operators that were installed in another way one leads.
*/}}
{{- define "currant.lease" -}}{{ ternary "currant-operator" (include "currant.operator" .) (not (empty .Values.watchNamespace)) }}{{- end }}
{{- define "currant.leaseNamespace" -}}{{ default .Release.Namespace .Values.watchNamespace }}{{- end }}

{{/* The operator's settings (operator/currant_operator/settings.py). */}}
{{- define "currant.operatorEnv" -}}
- {name: WATCH_NAMESPACE, value: {{ .Values.watchNamespace | quote }}}
- name: POD_NAME
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef: {fieldPath: metadata.namespace}
- {name: CURRANT_OPERATOR_LEASE_NAME, value: {{ include "currant.lease" . }}}
- {name: CURRANT_OPERATOR_LEASE_NAMESPACE, value: {{ include "currant.leaseNamespace" . }}}
- {name: CURRANT_OPERATOR_HTTP_PORT, value: "8080"}
- {name: CURRANT_OPERATOR_LOG_LEVEL, value: {{ .Values.logging.level }}}
- {name: CURRANT_OPERATOR_LOG_FORMAT, value: {{ .Values.logging.format }}}
{{- end }}
