{{/* The configuration files of the three programs, as their config.schema.json has them. */}}

{{- define "config.process" -}}
process:
  logLevel: {{ .Values.process.logLevel }}
  logFormat: {{ .Values.process.logFormat }}
{{- end -}}

{{/* Where the router finds engines: the pods of this release, or a fixed list. */}}
{{- define "router.engines" -}}
engines:
  {{- if eq (.Values.routerSpec.serviceDiscovery | default "k8s") "static" }}
  static:
    {{- range splitList "," (.Values.routerSpec.staticBackends | default "") }}
    - {{ . | trim | quote }}
    {{- end }}
  {{- else }}
  kubernetes:
    namespace: {{ .Release.Namespace }}
    release: {{ .Release.Name }}
  {{- end }}
{{- end -}}

{{- define "router.config" -}}
{{- $spec := .Values.routerSpec -}}
{{ include "config.process" . }}
{{ include "router.engines" . }}
listen: 0.0.0.0:{{ $spec.containerPort | int }}
{{- range $key := list "workers" "maxBodyBytes" "maxInFlightPerEngine" }}
{{- with index $spec $key }}
{{ $key }}: {{ include "engine.number" . }}
{{- end }}
{{- end }}
{{- range $key := list "queue" "retry" "upstream" }}
{{- with index $spec $key }}
{{ $key }}:
  {{- range $name, $value := . }}
  {{ $name }}: {{ include "engine.number" $value }}
  {{- end }}
{{- end }}
{{- end }}
{{- $objectives := include "objective.byserved" . | fromJson }}
{{- $served := dict }}
{{- range $model := (include "engine.models" . | fromJson).models }}
{{- $_ := set $served (include "engine.served" (dict "root" $ "model" $model)) true }}
{{- end }}
{{- with $served }}
# Requests for these are held while there is no engine.
models:
  {{- range $name, $_ := . }}
  {{- $ttft := dig $name "ttft" "" $objectives }}
  {{- $between := dig $name "interTokenLatency" "" $objectives }}
  {{ $name | quote }}: {{ if $ttft }}{objective: {ttft: {{ $ttft }}{{ with $between }}, interTokenLatency: {{ . }}{{ end }}}}{{ else }}{}{{ end }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What the router reads once, at its start; the rest it takes over while it runs. */}}
{{- define "router.restart" -}}
{{ include "config.process" . }} {{ include "router.engines" . }} {{ .Values.routerSpec.workers }}
{{- end -}}

{{/* What the adapter reads once, at its start. */}}
{{- define "adapter.restart" -}}
{{- $name := include "adapter.fullname" . -}}
{{ include "config.process" . }}
server:
  address: 0.0.0.0:6443
  authentication: kubernetes
  certificate:
    {{- if .Values.adapter.certificate.secretName }}
    files: {certificate: /etc/serving-cert/tls.crt, key: /etc/serving-cert/tls.key}
    {{- else }}
    selfManaged: {namespace: {{ .Release.Namespace }}, secret: {{ $name }}-serving-cert, service: {{ $name }}}
    {{- end }}
  {{- if and (include "adapter.apiservice.created" .) (not .Values.adapter.certificate.secretName) }}
  # caBundle of these is the adapter's to fill in
  apiServices: [v1beta1.external.metrics.k8s.io]
  {{- end }}
{{- range $key := list "sources" "direct" }}
{{- with index $.Values.adapter $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "adapter.config" -}}
{{ include "adapter.restart" . }}
{{- if .Values.prometheus.url }}
prometheus:
  {{- toYaml .Values.prometheus | nindent 2 }}
{{- end }}
{{- with .Values.adapter.timing }}
timing:
  {{- toYaml . | nindent 2 }}
{{- end }}
defaultRules: {{ .Values.adapter.defaultRules }}
{{- with .Values.adapter.rules }}
rules:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "autoscaler.config" -}}
{{ include "config.process" . }}
namespace: {{ .Release.Namespace }}
release: {{ .Release.Name }}
leaseName: {{ include "autoscaler.fullname" . }}
{{- range $key := list "controlPeriod" "routerPeriod" "capacityPrior" }}
{{- with index $.Values.autoscaler $key }}
{{ $key }}: {{ include "engine.number" . }}
{{- end }}
{{- end }}
{{- with .Values.autoscaler.pools }}
# GPUs that several models share.
pools:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.autoscaler.decisionLog }}
{{- if .enabled }}
decisionLog:
  folder: {{ include "autoscaler.decisionfolder" . }}
  {{- with .maxMegabytes }}
  maxMegabytes: {{ int . }}
  {{- end }}
{{- end }}
{{- end }}
{{- $history := .Values.autoscaler.history | default dict }}
{{- if and .Values.prometheus.url (dig "enabled" true $history) }}
# What arrived before is read from here at start.
prometheus:
  {{- $read := pick .Values.prometheus "url" "headers" "bearerTokenFile" "caFile" }}
  {{- toYaml (merge (pick $history "window" "arrivals" "timeout") $read) | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Names of the external metrics that are served, as JSON list: the default rules and the user's. */}}
{{- define "adapter.metricnames" -}}
{{- $names := list -}}
{{- if .Values.adapter.defaultRules -}}
{{- $names = list "vllm_num_requests_waiting" "vllm_num_requests_running" "vllm_requests_per_second"
      "vllm_prompt_tokens_per_second" "vllm_generation_tokens_per_second" "router_queue_depth" "vllm_kv_cache_usage_perc"
      "vllm_ttft_seconds_p95" "vllm_inter_token_latency_seconds_p95" "engine_desired_replicas"
      "engine_forecast_requests_per_second" -}}
{{- end -}}
{{- range .Values.adapter.rules }}{{- $names = append $names .name }}{{- end -}}
{{ uniq $names | toJson }}
{{- end -}}

{{- define "autoscaler.decisionfolder" -}}/var/lib/vllm-prod-stack/decisions{{- end -}}

{{- define "autoscaler.restart" -}}{{ include "autoscaler.config" . }}{{- end -}}
