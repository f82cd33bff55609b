{{- define "extauthz.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The objects' name. Short enough for what is added to it. */}}
{{- define "extauthz.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{- define "extauthz.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "extauthz.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "extauthz.selectorLabels" -}}
app.kubernetes.io/name: {{ include "extauthz.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The replicas' own: parts for trials and hooks have another component. */}}
{{- define "extauthz.replicaLabels" -}}
{{ include "extauthz.selectorLabels" . }}
app.kubernetes.io/component: service
{{- end -}}

{{- define "extauthz.commonLabels" -}}
{{ include "extauthz.selectorLabels" . }}
{{- with .Chart.AppVersion }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ include "extauthz.chart" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "extauthz.labels" -}}
{{ include "extauthz.commonLabels" . }}
app.kubernetes.io/component: service
{{- end -}}

{{- define "extauthz.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "extauthz.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "extauthz.image" -}}
{{- $image := .Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{/* Names under which the Services are known in the cluster. */}}
{{- define "extauthz.serviceNames" -}}
{{- $names := list -}}
{{- range list "" "-headless" "-admin" -}}
{{- $name := printf "%s%s" (include "extauthz.fullname" $) . -}}
{{- $names = concat $names (list $name (printf "%s.%s" $name (include "extauthz.namespace" $)) (printf "%s.%s.svc" $name (include "extauthz.namespace" $)) (printf "%s.%s.svc.cluster.local" $name (include "extauthz.namespace" $))) -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}
