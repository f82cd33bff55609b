{{/*
The pod and Service of a database for trials: .part is its name, .container what is
particular to its container, .secret the entry that it reads, .folders what it writes.
*/}}
{{- define "extauthz.trialLabels" -}}
{{ include "extauthz.selectorLabels" .root }}
app.kubernetes.io/component: trial-{{ .part }}
{{- end -}}

{{- define "extauthz.trial" -}}
{{- $name := printf "%s-trial-%s" (include "extauthz.fullname" .root) .part -}}
# For trials only: one pod, and what it holds is lost with it.
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  namespace: {{ include "extauthz.namespace" .root }}
  labels:
    {{- include "extauthz.commonLabels" .root | nindent 4 }}
    app.kubernetes.io/component: trial-{{ .part }}
spec:
  selector:
    {{- include "extauthz.trialLabels" . | nindent 4 }}
  ports: [{name: {{ .part }}, port: {{ .port }}, targetPort: {{ .port }}, protocol: TCP}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  namespace: {{ include "extauthz.namespace" .root }}
  labels:
    {{- include "extauthz.commonLabels" .root | nindent 4 }}
    app.kubernetes.io/component: trial-{{ .part }}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector:
    matchLabels:
      {{- include "extauthz.trialLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "extauthz.trialLabels" . | nindent 8 }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with include "extauthz.placement" .root | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 999 # as the image names it
        runAsGroup: 999
        fsGroup: 999
        seccompProfile: {type: RuntimeDefault}
      containers:
        - name: {{ .part }}
          image: {{ index .root.Values.trial .part "image" }}
          {{- .container | nindent 10 }}
          ports: [{name: {{ .part }}, containerPort: {{ .port }}, protocol: TCP}]
          resources:
            {{- index .root.Values.trial .part "resources" | toYaml | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: secret, mountPath: /run/secrets/trial, readOnly: true}
            {{- range $i, $path := .folders }}
            - {name: scratch-{{ $i }}, mountPath: {{ $path }}}
            {{- end }}
      volumes:
        - name: secret
          secret:
            secretName: {{ include "extauthz.fullname" .root }}-trial
            defaultMode: 0440
            items: [{key: {{ .secret }}, path: {{ .secret }}}]
        {{- range $i, $path := .folders }}
        - {name: scratch-{{ $i }}, emptyDir: {}}
        {{- end }}
{{- end -}}
