{{/* Seconds of a duration as Go writes them, such as 1m30s. */}}
{{- define "extauthz.seconds" -}}
{{- $from := toDate "2006-01-02" "2000-01-01" -}}
{{- sub (mustDateModify . $from).Unix $from.Unix -}}
{{- end -}}

{{/* Bytes of a quantity of memory, such as 1Gi. */}}
{{- define "extauthz.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- $text := toString . -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- if not (hasKey $units $unit) -}}
{{- fail (printf "resources.limits.memory: %q: write a number with Ki, Mi or Gi" $text) -}}
{{- end -}}
{{- mulf (float64 (trimSuffix $unit $text)) (get $units $unit) | int64 -}}
{{- end -}}
