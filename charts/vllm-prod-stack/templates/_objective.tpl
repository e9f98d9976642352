{{/* Objectives: what a model is held to, and the strictest of the models that share a served name. */}}

{{/* The objective of one model as JSON, {} when none. Takes root, model. */}}
{{- define "objective.model" -}}
{{ mergeOverwrite (deepCopy (.root.Values.objective | default dict)) (.model.objective | default dict) | toJson }}
{{- end -}}

{{/* A duration such as 1s, 50ms, 1.5s or 1h30m in milliseconds. */}}
{{- define "objective.milliseconds" -}}
{{- $units := dict "ms" 1.0 "s" 1000.0 "m" 60000.0 "h" 3600000.0 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|[smh])" . -1 -}}
{{- $sum = addf $sum (mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{ $sum }}
{{- end -}}

{{/* The stricter of two objectives, as JSON. Takes a, b (maps). */}}
{{- define "objective.stricter" -}}
{{- $result := deepCopy .a -}}
{{- range $key := list "ttft" "interTokenLatency" -}}
{{- $new := index $.b $key -}}
{{- if $new -}}
{{- $old := index $result $key -}}
{{- if or (not $old) (lt (include "objective.milliseconds" $new | float64) (include "objective.milliseconds" ($old | default "0s") | float64)) -}}
{{- $_ := set $result $key $new -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .b.attainment -}}
{{- if gt (trimSuffix "%" . | float64) (trimSuffix "%" ($result.attainment | default "0%") | float64) -}}
{{- $_ := set $result "attainment" . -}}
{{- end -}}
{{- end -}}
{{ $result | toJson }}
{{- end -}}

{{/* Objectives by served name, as JSON. Takes the root context. */}}
{{- define "objective.byserved" -}}
{{- $objectives := dict -}}
{{- range $model := (include "engine.models" . | fromJson).models -}}
{{- $context := dict "root" $ "model" $model -}}
{{- $objective := include "objective.model" $context | fromJson -}}
{{- if $objective -}}
{{- $served := include "engine.served" $context -}}
{{- $known := index $objectives $served | default dict -}}
{{- $_ := set $objectives $served (include "objective.stricter" (dict "a" $known "b" $objective) | fromJson) -}}
{{- end -}}
{{- end -}}
{{ $objectives | toJson }}
{{- end -}}
