{{/* checks.values fails the render on values that a schema cannot judge; the text names the key and the fix. */}}
{{- define "checks.values" -}}
{{- $names := dict -}}
{{- range $i, $model := .Values.servingEngineSpec.modelSpec -}}
{{- if ne (dig "enabled" true $model) false -}}
{{- if hasKey $names $model.name -}}
{{- fail (printf "servingEngineSpec.modelSpec[%d].name: %q is used twice; give every entry a name of its own (several may share one servedModelName)" $i $model.name) -}}
{{- end -}}
{{- $_ := set $names $model.name true -}}
{{- include "checks.model" (dict "root" $ "model" $model "at" (printf "servingEngineSpec.modelSpec[%d]" $i)) -}}
{{- end -}}
{{- end -}}
{{- include "checks.labels" (dict "labels" .Values.servingEngineSpec.labels "at" "servingEngineSpec.labels") -}}
{{- $drain := .Values.servingEngineSpec.drain -}}
{{- if lt (int $drain.gracePeriodSeconds) (add 30 $drain.preStopSeconds | int) -}}
{{- fail (printf "servingEngineSpec.drain.gracePeriodSeconds: %d leaves no time to finish requests; use at least preStopSeconds + 30 = %d" (int $drain.gracePeriodSeconds) (add 30 $drain.preStopSeconds)) -}}
{{- end -}}
{{- if not .Values.prometheus.url -}}
{{- range $i, $rule := .Values.adapter.rules -}}
{{- if $rule.promql -}}
{{- fail (printf "adapter.rules[%d].promql: rule %q needs prometheus.url; set it, or write the rule as measure" $i $rule.name) -}}
{{- end -}}
{{- end -}}
{{- if or (eq .Values.adapter.sources.primary "prometheus") .Values.adapter.sources.backup -}}
{{- fail "adapter.sources: names Prometheus, and prometheus.url is empty; set it, or use {primary: auto, backup: false}" -}}
{{- end -}}
{{- end -}}
{{- if and (eq (.Values.routerSpec.serviceDiscovery | default "k8s") "static") (not .Values.routerSpec.staticBackends) -}}
{{- fail "routerSpec.staticBackends: serviceDiscovery static needs the engines' URLs, e.g. http://10.0.0.7:8000,http://10.0.0.8:8000" -}}
{{- end -}}
{{- include "checks.notimplemented" . -}}
{{- end -}}

{{/* Takes root, model, at. */}}
{{- define "checks.model" -}}
{{- $scaling := .model.autoscaling | default dict -}}
{{- $kind := $scaling.kind | default "none" -}}
{{- if ne $kind "none" -}}
{{- if hasKey .model "replicaCount" -}}
{{- if not (hasKey $scaling "minReplicas") -}}
{{- fail (printf "%s.replicaCount: autoscaling.kind %s decides the number of replicas; write it as %s.autoscaling.minReplicas" .at $kind .at) -}}
{{- end -}}
{{- end -}}
{{- if lt (int $scaling.maxReplicas) (int (dig "minReplicas" 1 $scaling)) -}}
{{- fail (printf "%s.autoscaling.maxReplicas: %d is below minReplicas %d; raise maxReplicas" .at (int $scaling.maxReplicas) (int (dig "minReplicas" 1 $scaling))) -}}
{{- end -}}
{{- if and (eq $kind "HPA") (eq (int (dig "minReplicas" 1 $scaling)) 0) -}}
{{- fail (printf "%s.autoscaling.minReplicas: an HPA cannot go to 0; use at least 1, or kind EngineAutoscaler" .at) -}}
{{- end -}}
{{- if and (eq $kind "EngineAutoscaler") (not .root.Values.autoscaler.enabled) -}}
{{- fail (printf "%s.autoscaling.kind: EngineAutoscaler needs autoscaler.enabled: true" .at) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "labels" "podLabels" -}}
{{- include "checks.labels" (dict "labels" (index $.model $key) "at" (printf "%s.%s" $.at $key)) -}}
{{- end -}}
{{- if and .model.extraVolumeMounts (include "engine.storage" .) -}}
{{- range .model.extraVolumeMounts -}}
{{- if eq .mountPath "/data" -}}
{{- fail (printf "%s.extraVolumeMounts: /data is where pvcStorage is mounted; mount %q elsewhere or drop pvcStorage" $.at .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels by which router, adapter and PodDisruptionBudgets find engines are not the user's. Takes labels, at. */}}
{{- define "checks.labels" -}}
{{- range $key, $_ := .labels | default dict -}}
{{- if or (eq $key "model") (hasPrefix "app.kubernetes.io/" $key) -}}
{{- fail (printf "%s: the label %q is how router and autoscaler find engines and is set by the chart; use another key" $.at $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Keys of production-stack that would change what runs and are not implemented: refuse rather than ignore. */}}
{{- define "checks.notimplemented" -}}
{{- $v := .Values -}}
{{- $refused := list -}}
{{- if dig "cacheserverSpec" "enabled" false $v.AsMap -}}{{- $refused = append $refused "cacheserverSpec.enabled (set false: there is no cache server yet)" -}}{{- end -}}
{{- if dig "sharedPvcStorage" "enabled" false $v.AsMap -}}{{- $refused = append $refused "sharedPvcStorage.enabled (use modelSpec[].pvcExistingClaimName with a ReadWriteMany claim)" -}}{{- end -}}
{{- if dig "loraController" "enableLoraController" false $v.AsMap -}}{{- $refused = append $refused "loraController.enableLoraController (set false)" -}}{{- end -}}
{{- range $v.loraAdapters -}}
{{- if ne (dig "enabled" true .) false -}}{{- $refused = append $refused (printf "loraAdapters (%s: load it with --lora-modules in vllmConfig.extraArgs)" .name) -}}{{- end -}}
{{- end -}}
{{- range $chart := list "kube-prometheus-stack" "prometheus-adapter" -}}
{{- if dig $chart "enabled" false $v.AsMap -}}{{- $refused = append $refused (printf "%s.enabled (install that chart by itself; this one has no sub-charts)" $chart) -}}{{- end -}}
{{- end -}}
{{- if $v.servingEngineSpec.vllmApiKey -}}{{- $refused = append $refused "servingEngineSpec.vllmApiKey (router and autoscaler cannot read /v1/models of engines behind a key yet)" -}}{{- end -}}
{{- if dig "ingress" "enabled" false $v.routerSpec -}}{{- $refused = append $refused "routerSpec.ingress.enabled (write the Ingress under extraObjects)" -}}{{- end -}}
{{- range $name, $route := $v.routerSpec.route -}}
{{- if dig "enabled" true $route -}}{{- $refused = append $refused (printf "routerSpec.route.%s.enabled (write the HTTPRoute under extraObjects)" $name) -}}{{- end -}}
{{- end -}}
{{- range $part := list "servingEngineSpec" "routerSpec" -}}
{{- if dig "serviceMonitor" "enabled" false (index $v $part) -}}{{- $refused = append $refused (printf "%s.serviceMonitor.enabled (use metrics.podMonitor.enabled)" $part) -}}{{- end -}}
{{- end -}}
{{- if dig "autoscaling" "enabled" false $v.routerSpec -}}{{- $refused = append $refused "routerSpec.autoscaling.enabled (set routerSpec.replicaCount)" -}}{{- end -}}
{{- range $i, $model := $v.servingEngineSpec.modelSpec -}}
{{- if ne (dig "enabled" true $model) false -}}
{{- $at := printf "servingEngineSpec.modelSpec[%d]" $i -}}
{{- if dig "keda" "enabled" false $model -}}{{- $refused = append $refused (printf "%s.keda.enabled (use %s.autoscaling: {kind: HPA, maxReplicas: N})" $at $at) -}}{{- end -}}
{{- if dig "raySpec" "enabled" false $model -}}{{- $refused = append $refused (printf "%s.raySpec.enabled (only engines within one pod yet)" $at) -}}{{- end -}}
{{- if dig "lmcacheConfig" "enabled" false $model -}}{{- $refused = append $refused (printf "%s.lmcacheConfig.enabled (set its environment by %s.env)" $at $at) -}}{{- end -}}
{{- if $model.enableLoRA -}}{{- $refused = append $refused (printf "%s.enableLoRA (put --enable-lora into vllmConfig.extraArgs)" $at) -}}{{- end -}}
{{- range $key := list "chatTemplate" "chatTemplateConfigMap" -}}
{{- if index $model $key -}}{{- $refused = append $refused (printf "%s.%s (mount the file by extraVolumes and give --chat-template in vllmConfig.extraArgs)" $at $key) -}}{{- end -}}
{{- end -}}
{{- range $key := list "requestGPUMem" "requestGPUMemPercentage" "requestGPUCores" "limitGPUMem" "limitGPUMemPercentage" "limitGPUCores" -}}
{{- if hasKey $model $key -}}{{- $refused = append $refused (printf "%s.%s (write it under %s.resources)" $at $key $at) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $refused -}}
{{- fail (printf "not implemented yet, and not ignored silently:\n  - %s" (join "\n  - " $refused)) -}}
{{- end -}}
{{- end -}}

{{/* Keys that are accepted and without effect, as JSON {"keys": [...]}: NOTES lists them. */}}
{{- define "checks.ignored" -}}
{{- $keys := list -}}
{{- $router := .Values.routerSpec -}}
{{- range $key := list "routingLogic" "sessionKey" "prefixMinMatchLength" "rootPath" "extraArgs" "extraPorts" "engineScrapeInterval"
      "requestStatsWindow" "otel" "lmcacheConfig" "lmcacheControllerPort" "lmcacheControllerReplyPort"
      "lmcacheControllerHeartbeatPort" "hf_token" "vllmApiKey" "k8sServiceDiscoveryType" "startupProbe" "livenessProbe"
      "readinessProbe" "securityContext" "containerSecurityContext" -}}
{{- if index $router $key -}}{{- $keys = append $keys (printf "routerSpec.%s" $key) -}}{{- end -}}
{{- end -}}
{{- if contains "lmstack-router" ($router.repository | default "") -}}{{- $keys = append $keys "routerSpec.repository (that image holds another router)" -}}{{- end -}}
{{- if .Values.servingEngineSpec.sidecar -}}{{- $keys = append $keys "servingEngineSpec.sidecar" -}}{{- end -}}
{{- range $i, $model := .Values.servingEngineSpec.modelSpec -}}
{{- range $key := list "v0" "v1" "prometheusMultiprocDir" -}}
{{- if hasKey ($model.vllmConfig | default dict) $key -}}{{- $keys = append $keys (printf "servingEngineSpec.modelSpec[%d].vllmConfig.%s" $i $key) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{ dict "keys" $keys | toJson }}
{{- end -}}
