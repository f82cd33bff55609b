{{/* Every problem of the values that the schema can't see, in lines that say what to set. */}}
{{- define "extauthz.problems" -}}
{{- $v := .Values -}}
{{- $driver := include "extauthz.driver" . -}}
{{- $sqlite := eq $driver "sqlite" -}}
{{- $replicas := int $v.replicaCount -}}
{{- $problems := list -}}

{{- /* Secrets. */ -}}
{{- $ways := list -}}
{{- if $v.secrets.existingSecret }}{{ $ways = append $ways "secrets.existingSecret" }}{{ end -}}
{{- if $v.secrets.generate }}{{ $ways = append $ways "secrets.generate" }}{{ end -}}
{{- if $v.secrets.externalSecret.enabled }}{{ $ways = append $ways "secrets.externalSecret.enabled" }}{{ end -}}
{{- if $v.secrets.ownFiles }}{{ $ways = append $ways "secrets.ownFiles" }}{{ end -}}
{{- if not $ways -}}
{{- $problems = append $problems "secrets are missing: set secrets.existingSecret to the name of a Secret (extauthz secrets create FOLDER makes what belongs into it), or secrets.externalSecret.enabled, or secrets.generate to have Helm make them once; the DSN of Postgres is in it under database.dsn, or in databaseSecret" -}}
{{- else if gt (len $ways) 1 -}}
{{- $problems = append $problems (printf "%s are all set: leave one way to get secrets" (join ", " $ways)) -}}
{{- end -}}
{{- if and $v.secrets.ownFiles (or $v.databaseSecret.name $v.redisSecret.name $v.trial.postgres.enabled $v.trial.redis.enabled) -}}
{{- $problems = append $problems "secrets.ownFiles with databaseSecret, redisSecret or trial: with files of your own config names all of them: leave the others out" -}}
{{- end -}}
{{- if $v.secrets.externalSecret.enabled -}}
{{- if not $v.secrets.externalSecret.secretStoreRef.name }}{{ $problems = append $problems "secrets.externalSecret.secretStoreRef.name is missing: name the store" }}{{ end -}}
{{- if not (or $v.secrets.externalSecret.data $v.secrets.externalSecret.dataFrom) }}{{ $problems = append $problems "secrets.externalSecret: set data or dataFrom: which entries of the store are the secrets" }}{{ end -}}
{{- end -}}

{{- /* The database. */ -}}
{{- if $sqlite -}}
{{- if $v.autoscaling.enabled }}{{ $problems = append $problems "autoscaling.enabled with config.database.driver sqlite: its file is for one process: set config.database.driver to postgres, or autoscaling.enabled to false" }}{{ end -}}
{{- if gt $replicas 1 }}{{ $problems = append $problems (printf "replicaCount is %d with config.database.driver sqlite: its file is for one process: set config.database.driver to postgres, or replicaCount to 1" $replicas) }}{{ end -}}
{{- if $v.trial.postgres.enabled }}{{ $problems = append $problems "trial.postgres.enabled with config.database.driver sqlite: set the driver to postgres, or leave the trial's Postgres out" }}{{ end -}}
{{- if $v.databaseSecret.name }}{{ $problems = append $problems "databaseSecret.name with config.database.driver sqlite: set the driver to postgres, or leave databaseSecret out" }}{{ end -}}
{{- else if not $v.secrets.ownFiles -}}
{{- if and $v.trial.postgres.enabled $v.databaseSecret.name }}{{ $problems = append $problems "trial.postgres.enabled and databaseSecret.name are both set: leave one database" }}{{ end -}}
{{- if and $v.secrets.generate (not $v.databaseSecret.name) (not $v.trial.postgres.enabled) -}}
{{- $problems = append $problems "the database is missing: set databaseSecret.name to a Secret with its DSN (key uri), or config.database.driver to sqlite and replicaCount to 1, or for a trial trial.postgres.enabled" -}}
{{- else if not (or $v.databaseSecret.name $v.trial.postgres.enabled $v.secrets.keys.databaseDSN) -}}
{{- $problems = append $problems "the database is missing: set secrets.keys.databaseDSN to the key of its DSN, or databaseSecret.name" -}}
{{- end -}}
{{- end -}}
{{- if eq $v.migrations.mode "job" -}}
{{- if $sqlite }}{{ $problems = append $problems "migrations.mode job with config.database.driver sqlite: a job does not reach its file: set migrations.mode to start" }}{{ end -}}
{{- if $v.trial.postgres.enabled }}{{ $problems = append $problems "migrations.mode job with trial.postgres.enabled: that database comes up after the job: set migrations.mode to start" }}{{ end -}}
{{- if and $v.secrets.externalSecret.enabled (not $v.databaseSecret.name) }}{{ $problems = append $problems "migrations.mode job needs the DSN before anything is installed: set databaseSecret.name, or migrations.mode to start" }}{{ end -}}
{{- if $v.secrets.ownFiles }}{{ $problems = append $problems "migrations.mode job with secrets.ownFiles: the job does not see your files: set migrations.mode to start" }}{{ end -}}
{{- end -}}

{{- /* Redis. */ -}}
{{- $addresses := dig "cache" "redis" "addresses" list $v.config -}}
{{- if and $v.trial.redis.enabled (or $addresses $v.redisSecret.name) -}}
{{- $problems = append $problems "trial.redis.enabled with config.cache.redis.addresses or redisSecret.name: leave one Redis" -}}
{{- end -}}
{{- if and $v.redisSecret.name (not $addresses) (not $v.trial.redis.enabled) }}{{ $problems = append $problems "redisSecret.name without config.cache.redis.addresses: set where Redis is" }}{{ end -}}

{{- /* Replicas. */ -}}
{{- if and (eq $replicas 0) (not $v.autoscaling.enabled) $v.podDisruptionBudget.enabled -}}
{{- $problems = append $problems "replicaCount is 0 with podDisruptionBudget.enabled: no replica would decide, and no node could be drained: set replicaCount to 2 or more, or podDisruptionBudget.enabled to false" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- $problems = append $problems (printf "autoscaling.minReplicas %d is more than autoscaling.maxReplicas %d" (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not (or $v.autoscaling.targetCPUUtilizationPercentage $v.autoscaling.targetMemoryUtilizationPercentage $v.autoscaling.metrics)) -}}
{{- $problems = append $problems "autoscaling has no measure: set autoscaling.targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage or metrics" -}}
{{- end -}}
{{- $least := ternary (int $v.autoscaling.minReplicas) $replicas $v.autoscaling.enabled -}}
{{- $kept := toString $v.podDisruptionBudget.minAvailable -}}
{{- if and $v.podDisruptionBudget.enabled (regexMatch "^[0-9]+$" $kept) (gt $least 0) (ge (int $kept) $least) -}}
{{- $problems = append $problems (printf "podDisruptionBudget.minAvailable %s of %d replicas: no node could ever be drained: set it lower, or use maxUnavailable" $kept $least) -}}
{{- end -}}

{{- $away := toString $v.podDisruptionBudget.maxUnavailable -}}
{{- if and $v.podDisruptionBudget.enabled (or (eq $kept "100%") (and (eq $kept "") (has $away (list "0" "0%" "")))) -}}
{{- $problems = append $problems (printf "podDisruptionBudget allows no pod to go (minAvailable %q, maxUnavailable %q): no node could ever be drained: set maxUnavailable to 1" $kept $away) -}}
{{- end -}}
{{- if and $v.autoscaling.enabled $v.autoscaling.targetCPUUtilizationPercentage (not (dig "requests" "cpu" "" $v.resources)) -}}
{{- $problems = append $problems "autoscaling.targetCPUUtilizationPercentage is in percent of resources.requests.cpu, which is missing: set it" -}}
{{- end -}}

{{- if and $v.helmTest.enabled (ne (empty $v.helmTest.keySecret.name) (empty $v.helmTest.request)) -}}
{{- $problems = append $problems "helmTest.keySecret.name and helmTest.request go together: name the Secret with an API key and the request that it may send, or neither" -}}
{{- end -}}

{{- /* The end of a pod. */ -}}
{{- $drain := dig "grpc" "drain_delay" "3s" $v.config -}}
{{- if regexMatch "^([0-9]+(\\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$" $drain -}}
{{- $needed := add $v.preStopSeconds (include "extauthz.seconds" $drain | int) 15 -}}
{{- if lt (int $v.terminationGracePeriodSeconds) (int $needed) -}}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds is %d, but a pod needs %d to end: preStopSeconds %d, config.grpc.drain_delay %s, 10 for running checks, 5 for counted uses: set it to %d or more" (int $v.terminationGracePeriodSeconds) (int $needed) (int $v.preStopSeconds) $drain (int $needed)) -}}
{{- end -}}
{{- end -}}

{{- /* TLS. */ -}}
{{- if include "extauthz.tls" . -}}
{{- if and $v.tls.existingSecret $v.tls.certManager.enabled }}{{ $problems = append $problems "tls.existingSecret and tls.certManager.enabled are both set: leave one" }}{{ end -}}
{{- if not (or $v.tls.existingSecret $v.tls.certManager.enabled) }}{{ $problems = append $problems "tls.enabled without a certificate: set tls.existingSecret, or tls.certManager.enabled" }}{{ end -}}
{{- if and $v.tls.verifyClient (not $v.tls.clientCA.secretName) (not $v.tls.certManager.enabled) (or (has "grpc" $v.tls.listeners) (has "http" $v.tls.listeners)) -}}
{{- $problems = append $problems "tls.clientCA.secretName is missing: name the Secret with the authorities of the gateways' certificates, or set tls.verifyClient to false to answer every client" -}}
{{- end -}}
{{- if and $v.envoyGateway.enabled (has "grpc" $v.tls.listeners) (not $v.envoyGateway.caConfigMap) }}{{ $problems = append $problems "envoyGateway.caConfigMap is missing: with tls.enabled Envoy Gateway needs the ConfigMap with the authorities of the certificate" }}{{ end -}}
{{- else if $v.tls.existingSecret -}}
{{- $problems = append $problems "tls.enabled is false, but a certificate is named: set tls.enabled to true, or leave tls.existingSecret out" -}}
{{- end -}}

{{- /* Listeners and gateways. */ -}}
{{- if and $v.http.enabled (not (dig "http" "trusted_peers" list $v.config)) }}{{ $problems = append $problems "http.enabled needs config.http.trusted_peers: the networks of the proxies, since their headers are trusted" }}{{ end -}}
{{- $ports := list -}}
{{- range $name, $port := $v.ports -}}
{{- if has (int $port) $ports }}{{ $problems = append $problems (printf "ports.%s: %d is another listener's too" $name (int $port)) }}{{ end -}}
{{- $ports = append $ports (int $port) -}}
{{- end -}}
{{- if and $v.envoyGateway.enabled (not $v.envoyGateway.gateway.name) }}{{ $problems = append $problems "envoyGateway.gateway.name is missing: name the Gateway whose routes ask" }}{{ end -}}
{{- if and $v.istio.enabled (not $v.istio.selector) }}{{ $problems = append $problems "istio.selector is missing: name the labels of the workload that asks" }}{{ end -}}

{{- if hasKey $v.configFiles "extauthz.yaml" }}{{ $problems = append $problems "configFiles has extauthz.yaml: write what is in it under config" }}{{ end -}}

{{- /* What the chart sets itself, and what must not stand in a ConfigMap. */ -}}
{{- $owned := dict "grpc.listen" "ports.grpc" "http.listen" "http.enabled and ports.http" "admin.listen" "admin.service.enabled and ports.admin" "ops.listen" "ports.ops" "data_dir" "persistence" -}}
{{- if include "extauthz.tls" . -}}
{{- range $v.tls.listeners }}{{ range $name := list "cert_file" "key_file" "client_ca_file" }}{{ $_ := set $owned (printf "%s.tls.%s" . $name) "tls" }}{{ end }}{{ end -}}
{{- end -}}
{{- if not $v.secrets.ownFiles -}}
{{- range list "database.dsn_file" "database.listen_dsn_file" }}{{ $_ := set $owned . "databaseSecret or secrets" }}{{ end -}}
{{- range $file, $setting := dict "redis.password" "cache.redis.password_file" "redis.sentinel_password" "cache.redis.sentinel_password_file" -}}
{{- if include "extauthz.mountsSecret" (dict "root" $ "file" $file) }}{{ $_ := set $owned $setting "redisSecret or secrets" }}{{ end -}}
{{- end -}}
{{- range list "cache.sealing_key_file" "keys.pepper_files" "admin.bootstrap_key_file" }}{{ $_ := set $owned . "secrets.keys" }}{{ end -}}
{{- end -}}
{{- $secret := dict "database.dsn" "databaseSecret" "database.listen_dsn" "databaseSecret.listenKey" "cache.redis.password" "redisSecret" "cache.redis.sentinel_password" "redisSecret.sentinelKey" -}}
{{- range $setting := concat (keys $owned) (keys $secret) | sortAlpha -}}
{{- $at := $v.config -}}
{{- range splitList "." $setting -}}{{- if kindIs "map" $at }}{{ $at = get $at . }}{{ else }}{{ $at = "" }}{{ end -}}{{- end -}}
{{- if $at -}}
{{- if hasKey $secret $setting -}}
{{- $problems = append $problems (printf "config.%s would stand in a ConfigMap: put it into a Secret and name that in %s" $setting (get $secret $setting)) -}}
{{- else -}}
{{- $problems = append $problems (printf "config.%s is set by the chart: use %s" $setting (get $owned $setting)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
