{{/* The paths of mounts. */}}
{{- define "extauthz.configFolder" -}}/etc/extauthz{{- end -}}
{{- define "extauthz.secretsFolder" -}}/run/extauthz/secrets{{- end -}}
{{- define "extauthz.tlsFolder" -}}/run/extauthz/tls{{- end -}}

{{- define "extauthz.driver" -}}
{{- dig "database" "driver" "sqlite" .Values.config -}}
{{- end -}}

{{/* Whether a port is for other pods, and not for loopback alone. */}}
{{- define "extauthz.open" -}}
{{- if or (has .port (list "grpc" "ops")) (and (eq .port "http") .root.Values.http.enabled) (and (eq .port "admin") .root.Values.admin.service.enabled) -}}
true
{{- end -}}
{{- end -}}

{{/* TLS in any way: cert-manager makes certificates for nothing else. */}}
{{- define "extauthz.tls" -}}
{{- if or .Values.tls.enabled .Values.tls.certManager.enabled }}true{{ end -}}
{{- end -}}

{{/* Whether the chart makes the gateways' certificate too: by cert-manager, where no other authority is named. */}}
{{- define "extauthz.clientCertificate" -}}
{{- if and .Values.tls.certManager.enabled .Values.tls.verifyClient (not .Values.tls.clientCA.secretName) }}true{{ end -}}
{{- end -}}

{{/* The name in that certificate, by which gRPC's callers are known. */}}
{{- define "extauthz.clientName" -}}
gateway.{{ include "extauthz.fullname" . }}.{{ include "extauthz.namespace" . }}
{{- end -}}

{{/* The issuer of the chart's certificates: the one that is named, or one of the chart's own. */}}
{{- define "extauthz.issuerRef" -}}
{{- if .Values.tls.certManager.issuerRef.name -}}
{{- toYaml .Values.tls.certManager.issuerRef -}}
{{- else -}}
{name: {{ include "extauthz.fullname" . }}-ca, kind: Issuer, group: cert-manager.io}
{{- end -}}
{{- end -}}

{{- define "extauthz.tlsOn" -}}
{{- if and (include "extauthz.tls" .root) (has .listener .root.Values.tls.listeners) }}true{{ end -}}
{{- end -}}

{{/* What the chart sets, as a tree like config: the addresses, the data folder, and the files that it mounts. */}}
{{- define "extauthz.chartSettings" -}}
{{- range $port := list "grpc" "http" "admin" "ops" }}
{{ $port }}:
  listen: {{ printf "%s:%v" (ternary "" "127.0.0.1" (eq (include "extauthz.open" (dict "root" $ "port" $port)) "true")) (index $.Values.ports $port | int) | quote }}
  {{- if and (eq $port "admin") (include "extauthz.mountsSecret" (dict "root" $ "file" "admin.key")) }}
  bootstrap_key_file: {{ include "extauthz.secretsFolder" $ }}/admin.key
  {{- end }}
  {{- if include "extauthz.tlsOn" (dict "root" $ "listener" $port) }}
  tls:
    cert_file: {{ include "extauthz.tlsFolder" $ }}/tls.crt
    key_file: {{ include "extauthz.tlsFolder" $ }}/tls.key
    {{- if and $.Values.tls.verifyClient (ne $port "admin") }}
    client_ca_file: {{ include "extauthz.tlsFolder" $ }}/client-ca.crt
    {{- if and (include "extauthz.clientCertificate" $) (not (dig $port "tls" "allowed_sans" list $.Values.config)) }}
    allowed_sans: [{{ include "extauthz.clientName" $ }}]
    {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
data_dir: /var/lib/extauthz/extauthz-data
{{- $files := include "extauthz.secretFiles" . | fromJsonArray }}
{{- $folder := include "extauthz.secretsFolder" . }}
database:
  driver: {{ include "extauthz.driver" . }}
  {{- if has "database.dsn" $files }}
  dsn_file: {{ $folder }}/database.dsn
  # LISTEN needs a connection of its own, round any pooler.
  listen_dsn_file: {{ $folder }}/{{ ternary "database.listen_dsn" "database.dsn" (has "database.listen_dsn" $files) }}
  {{- end }}
{{- $redis := dict }}
{{- if .Values.trial.redis.enabled }}{{ $_ := set $redis "addresses" (list (printf "%s-trial-redis:6379" (include "extauthz.fullname" .))) }}{{ end }}
{{- if has "redis.password" $files }}{{ $_ := set $redis "password_file" (printf "%s/redis.password" $folder) }}{{ end }}
{{- if has "redis.sentinel_password" $files }}{{ $_ := set $redis "sentinel_password_file" (printf "%s/redis.sentinel_password" $folder) }}{{ end }}
{{- /* An empty section would take away what config has there. */}}
{{- $cache := dict }}
{{- if $redis }}{{ $_ := set $cache "redis" $redis }}{{ end }}
{{- if has "sealing.key" $files }}{{ $_ := set $cache "sealing_key_file" (printf "%s/sealing.key" $folder) }}{{ end }}
{{- with $cache }}
cache:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $peppers := list }}
{{- range $files }}{{ if hasPrefix "pepper" . }}{{ $peppers = append $peppers (printf "%s/%s" $folder .) }}{{ end }}{{ end }}
{{- with $peppers }}
keys:
  pepper_files: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* The whole of extauthz.yaml. */}}
{{- define "extauthz.settings" -}}
{{- mustMergeOverwrite (deepCopy .Values.config) (include "extauthz.chartSettings" . | fromYaml) | toYaml -}}
{{- end -}}

{{/*
The text of extauthz.yaml. Files beside it count by a line in front: one sum of the text
then shows which ConfigMap a replica has loaded.
*/}}
{{- define "extauthz.configText" -}}
{{- with .Values.configFiles -}}
# Files beside this one: {{ toJson . | sha256sum }}
{{ end -}}
{{- include "extauthz.settings" . | trim -}}
{{- end -}}

{{/* The SHA-256 of that file, as the ConfigMap has it. */}}
{{- define "extauthz.configDigest" -}}
{{- include "extauthz.configText" . | printf "%s\n" | sha256sum -}}
{{- end -}}

{{/* A sum of what a running service can't take over: pods are replaced when it changes. */}}
{{- define "extauthz.restartChecksum" -}}
{{- $settings := include "extauthz.settings" . | fromYaml -}}
{{- if .Values.hotReload -}}
{{- range .Files.Get "files/reloadable.yaml" | fromYamlArray -}}
{{- $path := splitList "." . -}}
{{- if eq (len $path) 1 -}}
{{- $_ := unset $settings . -}}
{{- else if hasKey $settings (first $path) -}}
{{- $section := get $settings (first $path) -}}
{{- $_ := unset $section (last $path) -}}
{{- if not $section }}{{ $_ := unset $settings (first $path) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $_ := set $settings "configFiles" .Values.configFiles -}}
{{- end -}}
{{- toJson $settings | sha256sum -}}
{{- end -}}
