{{/* The Secret with the service's own secrets. */}}
{{- define "extauthz.secretName" -}}
{{- default (include "extauthz.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{/*
What is mounted from which Secret: a JSON list of {file, secret, key}. The files'
names do not depend on how the Secrets call them.
*/}}
{{- define "extauthz.secretSources" -}}
{{- $sources := list -}}
{{- $own := include "extauthz.secretName" . -}}
{{- $keys := .Values.secrets.keys -}}
{{- if not .Values.secrets.ownFiles -}}
{{- with $keys.adminKey }}{{ $sources = append $sources (dict "file" "admin.key" "secret" $own "key" .) }}{{ end -}}
{{- range $i, $key := $keys.peppers -}}
{{- $sources = append $sources (dict "file" (ternary "pepper" (printf "pepper.%d" $i) (eq $i 0)) "secret" $own "key" $key) -}}
{{- end -}}
{{- with $keys.sealingKey }}{{ $sources = append $sources (dict "file" "sealing.key" "secret" $own "key" .) }}{{ end -}}
{{- if ne (include "extauthz.driver" .) "sqlite" -}}
{{- $database := .Values.databaseSecret -}}
{{- if .Values.trial.postgres.enabled -}}
{{- $sources = append $sources (dict "file" "database.dsn" "secret" (printf "%s-trial" (include "extauthz.fullname" .)) "key" "database.dsn") -}}
{{- else if $database.name -}}
{{- $sources = append $sources (dict "file" "database.dsn" "secret" $database.name "key" $database.key) -}}
{{- with $database.listenKey }}{{ $sources = append $sources (dict "file" "database.listen_dsn" "secret" $database.name "key" .) }}{{ end -}}
{{- else -}}
{{- with $keys.databaseDSN }}{{ $sources = append $sources (dict "file" "database.dsn" "secret" $own "key" .) }}{{ end -}}
{{- with $keys.databaseListenDSN }}{{ $sources = append $sources (dict "file" "database.listen_dsn" "secret" $own "key" .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $redis := .Values.redisSecret -}}
{{- if .Values.trial.redis.enabled -}}
{{- $sources = append $sources (dict "file" "redis.password" "secret" (printf "%s-trial" (include "extauthz.fullname" .)) "key" "redis.password") -}}
{{- else if $redis.name -}}
{{- $sources = append $sources (dict "file" "redis.password" "secret" $redis.name "key" $redis.key) -}}
{{- with $redis.sentinelKey }}{{ $sources = append $sources (dict "file" "redis.sentinel_password" "secret" $redis.name "key" .) }}{{ end -}}
{{- else -}}
{{- with $keys.redisPassword }}{{ $sources = append $sources (dict "file" "redis.password" "secret" $own "key" .) }}{{ end -}}
{{- with $keys.redisSentinelPassword }}{{ $sources = append $sources (dict "file" "redis.sentinel_password" "secret" $own "key" .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- toJson $sources -}}
{{- end -}}

{{/* The files of secretSources, as a JSON list. */}}
{{- define "extauthz.secretFiles" -}}
{{- $files := list -}}
{{- range include "extauthz.secretSources" . | fromJsonArray }}{{ $files = append $files .file }}{{ end -}}
{{- toJson $files -}}
{{- end -}}

{{- define "extauthz.mountsSecret" -}}
{{- if has .file (include "extauthz.secretFiles" .root | fromJsonArray) }}true{{ end -}}
{{- end -}}

{{/* Sources of a projected volume from .sources, {file, secret, key} each. */}}
{{- define "extauthz.projected" -}}
{{- range .sources }}
- secret:
    name: {{ .secret }}
    items: [{key: {{ .key | quote }}, path: {{ .file | quote }}}]
{{- end }}
{{- end -}}

{{/* The Secret with the certificate. */}}
{{- define "extauthz.tlsSecretName" -}}
{{- default (printf "%s-tls" (include "extauthz.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{/*
A value of a Secret that the chart made: what the cluster has under .key of .name,
or .made, in base64.
*/}}
{{- define "extauthz.keptSecret" -}}
{{- $there := lookup "v1" "Secret" (include "extauthz.namespace" .root) .name -}}
{{- $data := (get $there "data") | default dict -}}
{{- get $data .key | default (b64enc .made) -}}
{{- end -}}
