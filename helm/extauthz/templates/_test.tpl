{{/* The labels of the pod that `helm test` runs, by which network policies let it in. */}}
{{- define "extauthz.testLabels" -}}
{{ include "extauthz.selectorLabels" . }}
app.kubernetes.io/component: test
{{- end -}}

{{/*
The Secret with the certificate that the test shows over gRPC; empty: none. The
gateways' own, where the service takes it.
*/}}
{{- define "extauthz.testCertificate" -}}
{{- if .Values.helmTest.clientSecretName -}}
{{- .Values.helmTest.clientSecretName -}}
{{- else if and (include "extauthz.clientCertificate" .) (not (dig "grpc" "tls" "allowed_sans" list .Values.config)) -}}
{{- include "extauthz.fullname" . }}-gateway
{{- end -}}
{{- end -}}

{{/* Whether the test can ask for decisions: not where a certificate is asked for that it does not have. */}}
{{- define "extauthz.testAsksGRPC" -}}
{{- if or (not (include "extauthz.gatewayTLS" .)) (not .Values.tls.verifyClient) (include "extauthz.testCertificate" .) }}true{{ end -}}
{{- end -}}

{{/* What the test verifies the service's certificate by: the authorities that gateways have, else the certificate itself. */}}
{{- define "extauthz.testAuthorities" -}}
{{- if include "extauthz.clientCertificate" . }}ca.crt{{ else }}tls.crt{{ end -}}
{{- end -}}
