{{/*
The Deployment, PodDisruptionBudget and ServiceAccount that router, adapter and autoscaler have in common.
Takes a dict:
  root       the root context
  component  router | adapter | autoscaler (the value of app.kubernetes.io/component)
  name       name of Deployment, ServiceAccount and PodDisruptionBudget
  spec       the program's own values
  image      image reference
  args       command line, program first
  ports      container ports besides the admin port
  grace      terminationGracePeriodSeconds
  volumes, mounts  of the program, besides those of spec (optional)
  config     its configuration file
  restart    the parts of it that a running program does not take over
*/}}
{{- define "program.workload" -}}
{{- $root := .root -}}
{{- $spec := .spec -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  labels:
    {{- include "stack.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  replicas: {{ $spec.replicaCount }}
  strategy:
    {{- if $spec.strategy }}
    {{- toYaml $spec.strategy | nindent 4 }}
    {{- else }}
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
    {{- end }}
  selector:
    matchLabels:
      {{- include "stack.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "stack.podlabels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
        {{- with merge (dict) ($spec.podLabels | default dict) ($spec.labels | default dict) }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # Of what the program reads only at its start; the rest of its configuration it takes over as it changes.
        vllm-prod-stack.io/restart-checksum: {{ .restart | sha256sum | trunc 16 | quote }}
        {{- if $root.Values.metrics.annotations }}
        prometheus.io/scrape: "true"
        prometheus.io/port: "9100"
        prometheus.io/path: /metrics
        {{- end }}
        {{- with $spec.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "program.podspec" . | nindent 6 }}
      containers:
        {{- include "program.container" . | nindent 8 }}
      volumes:
        - name: config
          configMap: {name: {{ .name }}}
        {{- with concat (.volumes | default list) ($spec.extraVolumes | default list) }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}
  labels:
    {{- include "stack.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
data:
  {{ .component }}.yaml: |
    {{- .config | nindent 4 }}
---
{{ include "program.serviceaccount" . }}
{{- if $spec.pdb.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels:
    {{- include "stack.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- include "stack.pdb" $spec.pdb | nindent 2 }}
  selector:
    matchLabels:
      {{- include "stack.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "program.serviceaccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  labels:
    {{- include "stack.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
automountServiceAccountToken: false
{{- end -}}

{{- define "stack.pdb" -}}
{{- if hasKey . "minAvailable" -}}
minAvailable: {{ .minAvailable }}
{{- else -}}
maxUnavailable: {{ dig "maxUnavailable" 1 . }}
{{- end }}
unhealthyPodEvictionPolicy: AlwaysAllow
{{- end -}}

{{/* Everything of the pod but containers and volumes: identity, security, scheduling. */}}
{{- define "program.podspec" -}}
{{- $root := .root -}}
{{- $spec := .spec -}}
serviceAccountName: {{ $spec.serviceAccountName | default .name }}
automountServiceAccountToken: true
{{- include "stack.pullsecrets" (dict "root" $root "more" $spec.imagePullSecrets) }}
terminationGracePeriodSeconds: {{ .grace }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with $spec.priorityClassName | default $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $spec.nodeSelector | default $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $spec.tolerations | default $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- include "stack.affinity" (dict "affinity" $spec.affinity "terms" $spec.nodeSelectorTerms) }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "stack.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{- define "program.container" -}}
- name: {{ .component }}
  image: {{ .image }}
  imagePullPolicy: {{ .spec.imagePullPolicy | default .root.Values.image.pullPolicy }}
  {{- include "program.command" . | nindent 2 }}
  {{- include "program.env" .root | nindent 2 }}
    {{- with .spec.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    {{- with .ports }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    - {name: admin, containerPort: 9100, protocol: TCP}
  startupProbe:
    httpGet: {path: /livez, port: admin}
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: /readyz, port: admin}
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: 2
  livenessProbe:
    httpGet: {path: /livez, port: admin}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  {{- with .spec.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- include "program.security" . | nindent 2 }}
  volumeMounts:
    - {name: config, mountPath: /etc/vllm-prod-stack, readOnly: true}
    {{- with concat (.mounts | default list) (.spec.extraVolumeMounts | default list) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "program.command" -}}
command: [{{ first .args | quote }}]
args:
  {{- range rest .args }}
  - {{ . | quote }}
  {{- end }}
{{- end -}}

{{- define "program.env" -}}
env:
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: POD_NAMESPACE
    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end -}}

{{- define "program.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}
