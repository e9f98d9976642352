{{/* What scales one model: an HPA on external metrics, or an EngineAutoscaler. All take root, model. */}}

{{- define "autoscaling.metadata" -}}
metadata:
  name: {{ include "engine.fullname" . }}
  labels:
    {{- include "stack.labels" .root | nindent 4 }}
    app.kubernetes.io/component: serving-engine
    model: {{ .model.name | quote }}
{{- end -}}

{{- define "autoscaling.target" -}}
scaleTargetRef:
  apiVersion: apps/v1
  kind: Deployment
  name: {{ include "engine.deployment" . }}
{{- end -}}

{{/* Sequences an engine works on at once: maxNumSeqs, or a number for want of a better one. */}}
{{- define "autoscaling.sequences" -}}
{{- $flag := include "engine.flag" (merge (dict "flag" "--max-num-seqs") .) -}}
{{ dig "vllmConfig" "maxNumSeqs" ($flag | default 64 | int) .model | int }}
{{- end -}}

{{/*
An HPA on requests waiting and running. Both are sums over the model's engines divided by the replicas
(AverageValue): waiting alone would let go of engines that are full but do not queue.
*/}}
{{- define "autoscaling.hpa" -}}
{{- $scaling := .model.autoscaling -}}
{{- $hpa := $scaling.hpa | default dict -}}
{{- $sequences := include "autoscaling.sequences" . | int -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
{{ include "autoscaling.metadata" . }}
spec:
  {{- include "autoscaling.target" . | nindent 2 }}
  minReplicas: {{ dig "minReplicas" 1 $scaling | int }}
  maxReplicas: {{ $scaling.maxReplicas | int }}
  metrics:
    - type: External
      external:
        metric:
          name: vllm_num_requests_waiting
          selector: {matchLabels: {model: {{ .model.name | quote }}}}
        target:
          type: AverageValue
          averageValue: {{ $hpa.waitingPerReplica | default (max 1 (div $sequences 4)) | toString | quote }}
    - type: External
      external:
        metric:
          name: vllm_num_requests_running
          selector: {matchLabels: {model: {{ .model.name | quote }}}}
        target:
          type: AverageValue
          averageValue: {{ $hpa.runningPerReplica | default (max 1 (div (mul $sequences 3) 4)) | toString | quote }}
    {{- with $hpa.extraMetrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $hpa.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/*
The HPA that carries out what an EngineAutoscaler in mode ThroughHPA decides: one metric, its sum is the number of
replicas. Tolerance 0, since the usual 10 % swallows one replica of ten; stabilisation is the autoscaler's.
*/}}
{{- define "autoscaling.throughhpa" -}}
{{- $scaling := .model.autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
{{ include "autoscaling.metadata" . }}
spec:
  {{- include "autoscaling.target" . | nindent 2 }}
  minReplicas: {{ dig "minReplicas" 1 $scaling | int | max 1 }}
  maxReplicas: {{ $scaling.maxReplicas | int }}
  metrics:
    - type: External
      external:
        metric:
          name: engine_desired_replicas
          selector: {matchLabels: {model: {{ .model.name | quote }}}}
        target: {type: AverageValue, averageValue: "1"}
  behavior:
    {{- $behavior := dict }}
    {{- range $direction := list "scaleUp" "scaleDown" }}
    {{- $policy := dict "type" "Pods" "value" (int $scaling.maxReplicas) "periodSeconds" 15 }}
    {{- $rules := dict "tolerance" "0" "stabilizationWindowSeconds" 0 "selectPolicy" "Max" "policies" (list $policy) }}
    {{- $_ := set $behavior $direction $rules }}
    {{- end }}
    {{- toYaml (mergeOverwrite $behavior (dig "hpa" "behavior" dict $scaling)) | nindent 4 }}
{{- end -}}

{{- define "autoscaling.engineautoscaler" -}}
{{- $scaling := .model.autoscaling -}}
{{- $own := $scaling.engineAutoscaler | default dict -}}
{{- $objectives := include "objective.byserved" .root | fromJson -}}
{{- $objective := index $objectives (include "engine.served" .) | default dict -}}
apiVersion: autoscaling.vllm-prod-stack.io/v1alpha1
kind: EngineAutoscaler
{{ include "autoscaling.metadata" . }}
spec:
  {{- include "autoscaling.target" . | nindent 2 }}
  servedModelName: {{ include "engine.served" . | quote }}
  minReplicas: {{ dig "minReplicas" 1 $scaling | int }}
  maxReplicas: {{ $scaling.maxReplicas | int }}
  {{- with $objective }}
  objective:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
