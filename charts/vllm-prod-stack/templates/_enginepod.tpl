{{/* The pod of an engine. Takes (dict "root" $ "model" <entry of modelSpec>). */}}
{{- define "engine.podspec" -}}
{{- $spec := .root.Values.servingEngineSpec -}}
{{- $model := .model -}}
{{- $mounted := include "engine.volumes" . | fromJson -}}
{{- with $model.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
automountServiceAccountToken: {{ if $model.serviceAccountName }}true{{ else }}false{{ end }}
terminationGracePeriodSeconds: {{ include "engine.grace" . }}
enableServiceLinks: false
{{- $secrets := $model.imagePullSecrets | default list }}
{{- with $model.imagePullSecret }}{{- $secrets = append $secrets (dict "name" .) }}{{- end }}
{{- include "stack.pullsecrets" (dict "root" .root "more" $secrets) }}
{{- with $model.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $model.runtimeClassName | default $spec.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $spec.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- with $spec.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $model.nodeName }}
nodeName: {{ . }}
{{- end }}
{{- $tolerations := concat $spec.tolerations ($model.tolerations | default list) }}
{{- if eq ($model.tolerationsPolicy | default "append") "override" }}{{- $tolerations = $model.tolerations }}{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- include "stack.affinity" (dict "affinity" $model.affinity "terms" $model.nodeSelectorTerms) }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "engine.selector" . | nindent 8 }}
{{- with $model.initContainer }}
initContainers:
  - name: {{ .name | default "init" }}
    image: {{ .image }}
    {{- range $key := list "command" "args" "env" "resources" }}
    {{- with index $model.initContainer $key }}
    {{ $key }}:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    volumeMounts:
      {{- if and .mountPvcStorage (include "engine.storage" $) }}
      - {name: storage, mountPath: /data}
      {{- end }}
      {{- with .extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
{{- end }}
containers:
  - name: vllm
    image: {{ $model.repository }}:{{ $model.tag | default "latest" }}
    imagePullPolicy: {{ $model.imagePullPolicy | default $spec.imagePullPolicy }}
    command: {{ include "engine.command" . }}
    args:
      {{- include "engine.args" . | nindent 6 }}
    env:
      {{- include "engine.env" . | nindent 6 }}
    {{- $secret := dig "envFromSecret" "name" "" $model }}
    {{- if or $secret $spec.configs }}
    envFrom:
      {{- if $spec.configs }}
      - configMapRef: {name: {{ .root.Release.Name }}-configs}
      {{- end }}
      {{- if $secret }}
      - secretRef: {name: {{ $secret }}}
      {{- end }}
    {{- end }}
    ports:
      - {name: http, containerPort: {{ $spec.containerPort | int }}, protocol: TCP}
      {{- with $spec.extraPorts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- range $probe := list "startupProbe" "readinessProbe" "livenessProbe" }}
    {{ $probe }}:
      {{- include "engine.probe" (merge (dict "probe" $probe) $) | nindent 6 }}
    {{- end }}
    lifecycle:
      preStop:
        sleep: {seconds: {{ $spec.drain.preStopSeconds | int }}}
    resources:
      {{- include "engine.resources" . | nindent 6 }}
    {{- with $spec.containerSecurityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $mounted.mounts }}
    volumeMounts:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- with $mounted.volumes }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What the engine mounts and from where, as JSON {"mounts": [...], "volumes": [...]}. */}}
{{- define "engine.volumes" -}}
{{- $model := .model -}}
{{- $mounts := list -}}
{{- $volumes := list -}}
{{- if include "engine.storage" . -}}
{{- $mounts = append $mounts (dict "name" "storage" "mountPath" "/data") -}}
{{- if kindIs "map" $model.pvcStorage -}}
{{- $volumes = append $volumes (dict "name" "storage" "emptyDir" $model.pvcStorage.emptyDir) -}}
{{- else -}}
{{- $claim := dict "claimName" (include "engine.claim" .) -}}
{{- $volumes = append $volumes (dict "name" "storage" "persistentVolumeClaim" $claim) -}}
{{- end -}}
{{- end -}}
{{- if or $model.shmSize (gt (dig "vllmConfig" "tensorParallelSize" 1 $model | int) 1) -}}
{{- $memory := dict "medium" "Memory" "sizeLimit" ($model.shmSize | default "20Gi") -}}
{{- $mounts = append $mounts (dict "name" "shm" "mountPath" "/dev/shm") -}}
{{- $volumes = append $volumes (dict "name" "shm" "emptyDir" $memory) -}}
{{- end -}}
{{- $mounts = concat $mounts ($model.extraVolumeMounts | default list) -}}
{{- $volumes = concat $volumes ($model.extraVolumes | default list) -}}
{{ dict "mounts" $mounts "volumes" $volumes | toJson }}
{{- end -}}
