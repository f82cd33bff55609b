{{- define "extauthz.headerPrefix" -}}
{{- dig "identity" "header_prefix" "x-auth-" .Values.config -}}
{{- end -}}

{{/*
Expressions for the names of headers that clients may not send on, as `extauthz envoy`
prints them, as a list: under the identity prefix, and override headers
(files/override-headers.yaml) but for those that headers.keep_overrides names.
*/}}
{{- define "extauthz.removedNames" -}}
{{- $separator := "[[:punct:]]" -}}
{{- $prefix := regexReplaceAll "[^a-z0-9]" (include "extauthz.headerPrefix" . | lower) "-" -}}
{{- $expressions := list (printf "^%s.*" ($prefix | replace "-" $separator)) (printf "^%s.*" (printf "grpc-metadata-%s" $prefix | replace "-" $separator)) -}}
{{- $kept := list -}}
{{- range dig "headers" "keep_overrides" list .Values.config -}}
{{- $kept = append $kept (regexReplaceAll "[^a-z0-9]" (lower .) "-") -}}
{{- end -}}
{{- range .Files.Get "files/override-headers.yaml" | fromYamlArray -}}
{{- $names := list -}}
{{- range . -}}{{- if not (has . $kept) -}}{{- $names = append $names . -}}{{- end -}}{{- end -}}
{{- if $names -}}
{{- $expressions = append $expressions (printf "^(?:%s)$" (join "|" $names | replace "-" $separator)) -}}
{{- end -}}
{{- end -}}
{{- $expressions | toJson -}}
{{- end -}}

{{- define "extauthz.gatewayNamespace" -}}
{{- default (include "extauthz.namespace" .) .Values.envoyGateway.gateway.namespace -}}
{{- end -}}

{{/*
Whether a rule takes encoded characters in paths as data, so that the gateway passes
encoded slashes on.
*/}}
{{- define "extauthz.encodedPaths" -}}
{{- $allowed := eq (dig "paths" "encoded" "" .Values.config) "allow" -}}
{{- range dig "routes" list .Values.config -}}
{{- if eq (get . "encoded" | default "") "allow" }}{{ $allowed = true }}{{ end -}}
{{- end -}}
{{- $allowed -}}
{{- end -}}

{{/* Whether Envoy Gateway has to speak TLS. */}}
{{- define "extauthz.gatewayTLS" -}}
{{- include "extauthz.tlsOn" (dict "root" . "listener" "grpc") -}}
{{- end -}}

{{/*
The request headers that decisions rest on, as `extauthz config check` names them:
without those of the credentials every request looks as if it had no key.
*/}}
{{- define "extauthz.sentHeaders" -}}
{{- $names := list "content-type" "x-request-id" -}}
{{- range dig "credentials" (list (dict "header" "x-api-key") (dict "header" "authorization")) .Values.config -}}
{{- if .header }}{{ $names = append $names .header }}{{ else if .cookie }}{{ $names = append $names "cookie" }}{{ end -}}
{{- end -}}
{{- if gt (dig "client_address" "trusted_hops" 0 .Values.config | int) 0 -}}
{{- $names = append $names (dig "client_address" "header" "x-forwarded-for" .Values.config) -}}
{{- end -}}
{{- if dig "cors" "allow_preflights" false .Values.config -}}
{{- $names = concat $names (list "origin" "access-control-request-method") -}}
{{- end -}}
{{- $names | uniq | sortAlpha | toJson -}}
{{- end -}}
