{{/* Environment that every container of the service has. */}}
{{- define "extauthz.env" -}}
- name: EXTAUTHZ_CONFIG
  value: {{ include "extauthz.configFolder" . }}/extauthz.yaml
{{- if include "extauthz.mountsSecret" (dict "root" . "file" "admin.key") }}
# For commands in the pod: kubectl exec deploy/{{ include "extauthz.fullname" . }} -- extauthz keys list
- name: EXTAUTHZ_TOKEN_FILE
  value: {{ include "extauthz.secretsFolder" . }}/admin.key
{{- end }}
- name: EXTAUTHZ_SERVER
  value: {{ ternary "https" "http" (eq (include "extauthz.tlsOn" (dict "root" . "listener" "admin")) "true") }}://127.0.0.1:{{ int .Values.ports.admin }}
{{- end -}}

{{/* What Go's runtime has to know of the limits. */}}
{{- define "extauthz.runtimeEnv" -}}
{{- with dig "limits" "memory" "" .Values.resources }}
# Nine tenths of the limit: the collector works harder before the kernel kills.
- name: GOMEMLIMIT
  value: {{ div (include "extauthz.bytes" . | int64 | mul 9) 10 | quote }}
{{- end }}
{{- if dig "limits" "cpu" "" .Values.resources }}
- name: GOMAXPROCS
  valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: "1"}}
{{- end }}
{{- end -}}

{{- define "extauthz.probe" -}}
httpGet:
  path: {{ .path }}
  port: ops
  {{- if dig "ops" "tls" "cert_file" "" .root.Values.config }}
  scheme: HTTPS
  {{- end }}
{{ toYaml .probe }}
{{- end -}}

{{- define "extauthz.spread" -}}
{{- if .Values.topologySpreadConstraints -}}
{{ toYaml .Values.topologySpreadConstraints }}
{{- else if .Values.topologySpread.enabled -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
  # Each revision by itself: else the pods of a rollout crowd where the old ones are not.
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels:
      {{- include "extauthz.replicaLabels" $ | nindent 6 }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* What the values say about where pods run. */}}
{{- define "extauthz.placement" -}}
{{- range $field := list "nodeSelector" "affinity" "tolerations" "hostAliases" "dnsConfig" }}
{{- with index $.Values $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- range $field := list "priorityClassName" "runtimeClassName" "dnsPolicy" }}
{{- with index $.Values $field }}
{{ $field }}: {{ . }}
{{- end }}
{{- end }}
{{- if not .Values.hostUsers }}
hostUsers: false
{{- end }}
{{- with concat .Values.imagePullSecrets (dig "imagePullSecrets" list .Values.global) | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
