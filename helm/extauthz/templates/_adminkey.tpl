{{/*
A key of the form that the service reads: BRAND_ENVIRONMENT_ID_SECRET and the
CRC-32 of all that in six digits of base 62. Templates can't shift bits or join them
by XOR: the sum goes over half bytes, in tables.
*/}}
{{- define "extauthz.newAdminKey" -}}
{{- $brand := dig "keys" "brand" "ak" .Values.config -}}
{{- $environment := dig "keys" "environments" (list "live") .Values.config | first -}}
{{- $body := printf "%s_%s_%s_%s" $brand $environment (randAlphaNum 8) (randAlphaNum 32) -}}
{{- printf "%s%s" $body (include "extauthz.checksum" $body) -}}
{{- end -}}

{{/* The CRC-32 (IEEE) of a text in base 62, as authz.KeyFormat has it. */}}
{{- define "extauthz.checksum" -}}
{{- $remainders := list "00000000" "1db71064" "3b6e20c8" "26d930ac" "76dc4190" "6b6b51f4" "4db26158" "5005713c" "edb88320" "f00f9344" "d6d6a3e8" "cb61b38c" "9b64c2b0" "86d3d2d4" "a00ae278" "bdbdf21c" -}}
{{- $sum := list 15 15 15 15 15 15 15 15 -}}
{{- range $byte := . | b64enc | b64dec | splitList "" -}}
{{- $code := index $byte 0 | int -}}
{{- range $half := list (mod $code 16) (div $code 16) -}}
{{- $remainder := index $remainders (include "extauthz.xor" (list (last $sum) $half) | int) -}}
{{- $next := list -}}
{{- range $i, $digit := prepend (initial $sum) 0 -}}
{{- $next = append $next (include "extauthz.xor" (list $digit (printf "0x%c" (index $remainder $i) | int)) | int) -}}
{{- end -}}
{{- $sum = $next -}}
{{- end -}}
{{- end -}}
{{- $number := 0 -}}
{{- range $sum }}{{ $number = add (mul $number 16) (sub 15 .) }}{{ end -}}
{{- $digits := "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" -}}
{{- $text := "" -}}
{{- range until 6 -}}
{{- $text = printf "%c%s" (index $digits (mod $number 62 | int)) $text -}}
{{- $number = div $number 62 -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* XOR of two half bytes, bit by bit. */}}
{{- define "extauthz.xor" -}}
{{- $a := index . 0 -}}{{- $b := index . 1 -}}{{- $sum := 0 -}}
{{- range $bit := list 1 2 4 8 -}}
{{- if ne (mod (div $a $bit) 2) (mod (div $b $bit) 2) }}{{ $sum = add $sum $bit }}{{ end -}}
{{- end -}}
{{- $sum -}}
{{- end -}}
