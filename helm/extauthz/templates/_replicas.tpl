{{/*
What the values ask for, as the Deployment's annotation records it: replicaCount; or,
with autoscaling, whether a number is written all the same.
*/}}
{{- define "extauthz.replicaCount" -}}
{{- if not .Values.autoscaling.enabled -}}
{{- int .Values.replicaCount -}}
{{- else if include "extauthz.replicas" . -}}
autoscaled-written
{{- else -}}
autoscaled
{{- end -}}
{{- end -}}

{{/*
The number of replicas to write into the Deployment; nothing: none is written. What
runs now stays, whether `kubectl scale` or an autoscaler set it: the number of an older
render would set that back. A replicaCount that differs from the recorded one is a new
wish. Where none is recorded (autoscaling is switched off, or the release is of an older
chart), the larger of both counts.

With autoscaling no number is written where none was before, so that neither upgrade nor
rollback touches it. Once written it is written again: a field that Helm no longer
writes falls to 1. Without a cluster (helm template, Argo CD) nothing is known of what
runs.
*/}}
{{- define "extauthz.replicas" -}}
{{- $wanted := int .Values.replicaCount -}}
{{- $live := lookup "apps/v1" "Deployment" (include "extauthz.namespace" .) (include "extauthz.fullname" .) -}}
{{- $running := dig "spec" "replicas" -1 $live | int -}}
{{- $recorded := dig "metadata" "annotations" "extauthz/replica-count" "" $live -}}
{{- $most := ternary 1 (max $wanted $running) (eq (include "extauthz.driver" .) "sqlite") -}}
{{- if .Values.autoscaling.enabled -}}
{{- if and (ge $running 0) (ne $recorded "autoscaled") }}{{ $running }}{{ end -}}
{{- else if lt $running 0 -}}
{{- $wanted -}}
{{- else if eq $recorded (toString $wanted) -}}
{{- min $running $most -}}
{{- else if regexMatch "^[0-9]+$" $recorded -}}
{{- $wanted -}}
{{- else -}}
{{- min (max $wanted $running) $most -}}
{{- end -}}
{{- end -}}
