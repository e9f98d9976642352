{{/* Names, labels and images. Every template takes the root context unless said otherwise. */}}

{{- define "stack.name" -}}
{{- .Chart.Name -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "stack.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of pods: without versions, so that a new chart does not restart engines that are the same. */}}
{{- define "stack.podlabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
{{- end -}}

{{/* What selects the pods of one component. Takes (dict "root" $ "component" "router"). */}}
{{- define "stack.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "stack.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* The router's image. production-stack's own router image cannot run our router, so it is left out (NOTES says so). */}}
{{- define "router.image" -}}
{{- $repository := .Values.routerSpec.repository | default "" -}}
{{- if or (eq $repository "") (contains "lmstack-router" $repository) -}}
{{ include "stack.image" . }}
{{- else -}}
{{ $repository }}:{{ .Values.routerSpec.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Object names. Those that production-stack has too keep its names. */}}
{{- define "router.deployment" -}}{{ .Release.Name }}-deployment-router{{- end -}}
{{- define "router.service" -}}{{ .Release.Name }}-router-service{{- end -}}
{{- define "router.fullname" -}}{{ .Release.Name }}-router{{- end -}}
{{- define "adapter.fullname" -}}{{ .Release.Name }}-adapter{{- end -}}
{{- define "autoscaler.fullname" -}}{{ .Release.Name }}-autoscaler{{- end -}}
{{/* These take (dict "root" $ "model" <entry of modelSpec>). */}}
{{- define "engine.fullname" -}}{{ .root.Release.Name }}-{{ .model.name }}{{- end -}}
{{- define "engine.deployment" -}}{{ .root.Release.Name }}-{{ .model.name }}-deployment-vllm{{- end -}}
{{- define "engine.service" -}}{{ .root.Release.Name }}-{{ .model.name }}-engine-service{{- end -}}

{{/* Cluster-scoped names carry the namespace, so that two releases of one name do not meet. */}}
{{- define "stack.clustername" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end -}}

{{/* Takes (dict "root" $ "more" <list of pull secrets>). */}}
{{- define "stack.pullsecrets" -}}
{{- with concat (.root.Values.imagePullSecrets | default list) (.more | default list) }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Affinity with required node terms in it. Takes (dict "affinity" <affinity> "terms" <nodeSelectorTerms>). */}}
{{- define "stack.affinity" -}}
{{- $affinity := deepCopy (.affinity | default dict) -}}
{{- with .terms -}}
{{- $required := dict "nodeSelectorTerms" . -}}
{{- $node := dict "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" $required) -}}
{{- $affinity = mergeOverwrite $affinity $node -}}
{{- end -}}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The APIService: "create" or the name of its foreign owner. */}}
{{- define "adapter.apiservice.owner" -}}
{{- $found := lookup "apiregistration.k8s.io/v1" "APIService" "" "v1beta1.external.metrics.k8s.io" -}}
{{- if $found -}}
{{- $release := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $found -}}
{{- $namespace := dig "metadata" "annotations" "meta.helm.sh/release-namespace" "" $found -}}
{{- if not (and (eq $release .Release.Name) (eq $namespace .Release.Namespace)) -}}
{{- printf "%s/%s" (dig "spec" "service" "namespace" "?" $found) (dig "spec" "service" "name" "?" $found) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "adapter.apiservice.created" -}}
{{- $create := .Values.adapter.apiService.create | toString -}}
{{- if and .Values.adapter.enabled (or (eq $create "true") (and (eq $create "auto") (not (include "adapter.apiservice.owner" .)))) -}}
true
{{- end -}}
{{- end -}}
