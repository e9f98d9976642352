{{/*
One model of servingEngineSpec.modelSpec[]: its names, command line, environment and storage.
Every template here takes (dict "root" $ "model" <entry>).
*/}}

{{/* The models that are to be installed, as JSON {"models": [...]}. Takes the root context. */}}
{{- define "engine.models" -}}
{{- $models := list -}}
{{- if .Values.servingEngineSpec.enableEngine -}}
{{- range .Values.servingEngineSpec.modelSpec -}}
{{- if ne (dig "enabled" true .) false -}}{{- $models = append $models . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{ dict "models" $models | toJson }}
{{- end -}}

{{/* HPA | EngineAutoscaler | none */}}
{{- define "engine.autoscaling" -}}
{{ dig "autoscaling" "kind" "none" .model }}
{{- end -}}

{{- define "engine.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: serving-engine
model: {{ .model.name | quote }}
{{- end -}}

{{/* The command line's arguments besides the program, as JSON {"extra": [...]}: users may write numbers. */}}
{{- define "engine.extraargs" -}}
{{- $extra := list -}}
{{- range dig "vllmConfig" "extraArgs" list .model -}}{{- $extra = append $extra (toString .) -}}{{- end -}}
{{ dict "extra" $extra | toJson }}
{{- end -}}

{{/* The value of a flag in extraArgs, written --flag=value or --flag value. Takes root, model, flag. */}}
{{- define "engine.flag" -}}
{{- $extra := (include "engine.extraargs" . | fromJson).extra -}}
{{- $found := "" -}}
{{- range $i, $argument := $extra -}}
{{- if hasPrefix (printf "%s=" $.flag) $argument -}}
{{- $found = trimPrefix (printf "%s=" $.flag) $argument -}}
{{- else if and (eq $argument $.flag) (lt (add1 $i | int) (len $extra)) -}}
{{- $found = index $extra (add1 $i | int) -}}
{{- end -}}
{{- end -}}
{{ $found }}
{{- end -}}

{{/* The name clients send, and engines put into model_name: the first served name, else the model itself. */}}
{{- define "engine.served" -}}
{{- $flag := include "engine.flag" (merge (dict "flag" "--served-model-name") .) -}}
{{ .model.servedModelName | default $flag | default .model.modelURL }}
{{- end -}}

{{- define "engine.command" -}}
{{- if .model.command -}}
{{ .model.command | toJson }}
{{- else if eq .model.repository "lmcache/vllm-openai" -}}
["/opt/venv/bin/vllm", "serve"]
{{- else -}}
["vllm", "serve"]
{{- end -}}
{{- end -}}

{{/* Arguments after the command, one a line as YAML list, in production-stack's order. */}}
{{- define "engine.args" -}}
{{- $spec := .root.Values.servingEngineSpec -}}
{{- $vllm := .model.vllmConfig | default dict -}}
{{- $args := list .model.modelURL "--host" "0.0.0.0" "--port" ($spec.containerPort | toString) -}}
{{- with .model.servedModelName }}{{- $args = concat $args (list "--served-model-name" .) }}{{- end -}}
{{- if .model.enableTool }}{{- $args = append $args "--enable-auto-tool-choice" }}{{- end -}}
{{- with .model.toolCallParser }}{{- $args = concat $args (list "--tool-call-parser" .) }}{{- end -}}
{{- range $key, $flag := dict "enableChunkedPrefill" "enable-chunked-prefill" "enablePrefixCaching" "enable-prefix-caching" -}}
{{- if hasKey $vllm $key -}}
{{- $args = append $args (printf "--%s%s" (ternary "" "no-" (index $vllm $key)) $flag) -}}
{{- end -}}
{{- end -}}
{{- range $pair := list
      (list "maxModelLen" "--max-model-len") (list "dtype" "--dtype") (list "tensorParallelSize" "--tensor-parallel-size")
      (list "pipelineParallelSize" "--pipeline-parallel-size") (list "maxNumSeqs" "--max-num-seqs")
      (list "gpuMemoryUtilization" "--gpu-memory-utilization") (list "maxLoras" "--max-loras")
      (list "runner" "--runner") (list "convert" "--convert") -}}
{{- if hasKey $vllm (first $pair) -}}
{{- $args = concat $args (list (last $pair) (include "engine.number" (index $vllm (first $pair)))) -}}
{{- end -}}
{{- end -}}
{{- $extra := (include "engine.extraargs" . | fromJson).extra -}}
{{- $args = concat $args $extra -}}
{{- with .model.modelRevision }}{{- $args = concat $args (list "--revision" .) }}{{- end -}}
{{- if and $spec.drain.passShutdownTimeout (not (include "engine.flag" (merge (dict "flag" "--shutdown-timeout") .))) -}}
{{- $args = concat $args (list "--shutdown-timeout" (sub (include "engine.grace" . | int) 15 | toString)) -}}
{{- end -}}
{{- range $args }}
- {{ . | quote }}
{{- end -}}
{{- end -}}

{{/* Numbers as a command line wants them: Helm reads 131072 as 1.31072e+05. */}}
{{- define "engine.number" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ . | int64 }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{- define "engine.grace" -}}
{{ .model.terminationGracePeriodSeconds | default .root.Values.servingEngineSpec.drain.gracePeriodSeconds | int }}
{{- end -}}

{{/* true when models are kept on a volume mounted at /data */}}
{{- define "engine.storage" -}}
{{- if or .model.pvcStorage .model.pvcExistingClaimName -}}true{{- end -}}
{{- end -}}

{{- define "engine.claim" -}}
{{ .model.pvcExistingClaimName | default (printf "%s-%s-storage-claim" .root.Release.Name .model.name) }}
{{- end -}}

{{- define "engine.env" -}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- if include "engine.storage" . }}
- {name: HF_HOME, value: /data}
{{- end }}
{{- with .model.hf_token }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      {{- if kindIs "string" . }}
      name: {{ $.root.Release.Name }}-secrets
      key: hf_token_{{ $.model.name }}
      {{- else }}
      name: {{ .secretName }}
      key: {{ .secretKey }}
      {{- end }}
{{- end }}
{{- with .root.Values.servingEngineSpec.env }}
{{ toYaml . }}
{{- end }}
{{- with .model.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "engine.resources" -}}
{{- $model := .model -}}
{{- if $model.resources -}}
{{ toYaml $model.resources }}
{{- else -}}
{{- $gpu := $model.requestGPUType | default "nvidia.com/gpu" -}}
{{- $requests := dict -}}
{{- $limits := dict -}}
{{- if hasKey $model "requestCPU" }}{{- $_ := set $requests "cpu" (include "engine.number" $model.requestCPU) }}{{- end -}}
{{- with $model.requestMemory }}{{- $_ := set $requests "memory" (toString .) }}{{- end -}}
{{- if hasKey $model "limitCPU" }}{{- $_ := set $limits "cpu" (include "engine.number" $model.limitCPU) }}{{- end -}}
{{- with $model.limitMemory }}{{- $_ := set $limits "memory" (toString .) }}{{- end -}}
{{- $count := include "engine.number" ($model.requestGPU | default 0) -}}
{{- if ne $count "0" }}{{- $_ := set $requests $gpu $count }}{{- $_ := set $limits $gpu $count }}{{- end -}}
{{- $resources := dict -}}
{{- if $requests }}{{- $_ := set $resources "requests" $requests }}{{- end -}}
{{- if $limits }}{{- $_ := set $resources "limits" $limits }}{{- end -}}
{{ toYaml $resources }}
{{- end -}}
{{- end -}}

{{/* A probe: the model's over the common one; another handler than httpGet replaces it. Takes root, model, probe. */}}
{{- define "engine.probe" -}}
{{- $probe := mergeOverwrite (deepCopy (index .root.Values.servingEngineSpec .probe)) (index .model .probe | default dict) -}}
{{- if or $probe.exec $probe.tcpSocket $probe.grpc }}{{- $probe = omit $probe "httpGet" }}{{- end -}}
{{ toYaml $probe }}
{{- end -}}
