{{/* The ports of a Service from .ports, their names. */}}
{{- define "extauthz.servicePorts" -}}
{{- range .ports }}
{{- if include "extauthz.open" (dict "root" $.root "port" .) }}
- name: {{ . }}
  port: {{ index $.root.Values.ports . | int }}
  targetPort: {{ . }}
  protocol: TCP
{{- end }}
{{- end }}
{{- end -}}

{{- define "extauthz.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end -}}
