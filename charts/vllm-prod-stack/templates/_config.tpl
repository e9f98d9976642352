{{/* The configuration files of the three programs, as their config.schema.json has them. */}}

{{- define "config.process" -}}
process:
  logLevel: {{ .Values.process.logLevel }}
  logFormat: {{ .Values.process.logFormat }}
{{- end -}}

{{- define "router.config" -}}
{{ include "config.process" . }}
{{- end -}}

{{- define "adapter.config" -}}
{{ include "config.process" . }}
{{- end -}}

{{- define "autoscaler.config" -}}
{{ include "config.process" . }}
{{- end -}}

{{/* Names of the external metrics that are served. */}}
{{- define "adapter.metricnames" -}}
vllm_num_requests_waiting, vllm_num_requests_running, vllm_requests_per_second, vllm_prompt_tokens_per_second, vllm_generation_tokens_per_second, router_queue_depth, vllm_kv_cache_usage_perc, vllm_ttft_seconds_p95, vllm_inter_token_latency_seconds_p95, engine_desired_replicas, engine_forecast_requests_per_second
{{- end -}}
