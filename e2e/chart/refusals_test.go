package chart

import (
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// TestValues_MistakesAreRefused: each with a message that names the value and what to set
// instead.
func TestValues_MistakesAreRefused(t *testing.T) {
	for name, mistake := range map[string]struct {
		set  []string // added to a valid installation
		want string
	}{
		"a wrong type":                    {[]string{"replicaCount=two"}, `at '/replicaCount': got string, want integer`},
		"an unknown name":                 {[]string{"replicas=3"}, `additional properties 'replicas' not allowed`},
		"an unknown name within":          {[]string{"tls.enable=true"}, `at '/tls': additional properties 'enable' not allowed`},
		"an unknown setting":              {[]string{"config.databse.driver=postgres"}, `at '/config': additional properties 'databse' not allowed`},
		"a setting of a wrong type":       {[]string{"config.limits.mode=hard"}, `at '/config/limits/mode': value must be one of 'service', 'envoy', 'off'`},
		"a duration without a unit":       {[]string{"config.grpc.drain_delay=5"}, `at '/config/grpc/drain_delay'`},
		"a file in a folder":              {[]string{"configFiles.a/b=x"}, `at '/configFiles': additional properties 'a/b' not allowed`},
		"a configuration beside config":   {[]string{`configFiles.extauthz\.yaml=x`}, "configFiles has extauthz.yaml: write what is in it under config"},
		"an unknown kind of store":        {[]string{"secrets.externalSecret.secretStoreRef.kind=Vault"}, `at '/secrets/externalSecret/secretStoreRef/kind'`},
		"no replica behind a budget":      {[]string{"replicaCount=0"}, "replicaCount is 0 with podDisruptionBudget.enabled: no replica would decide, and no node could be drained: set replicaCount to 2 or more, or podDisruptionBudget.enabled to false"},
		"a budget of all replicas":        {[]string{"podDisruptionBudget.minAvailable=2"}, "podDisruptionBudget.minAvailable 2 of 2 replicas: no node could ever be drained"},
		"a budget of nothing":             {[]string{"podDisruptionBudget.maxUnavailable=0"}, `podDisruptionBudget allows no pod to go (minAvailable "", maxUnavailable "0"): no node could ever be drained: set maxUnavailable to 1`},
		"files of one's own and a Secret": {[]string{"secrets.existingSecret=", "secrets.ownFiles=true", "databaseSecret.name=db"}, "secrets.ownFiles with databaseSecret, redisSecret or trial"},
		"autoscaling by no request":       {[]string{"autoscaling.enabled=true", "resources.requests.cpu=null"}, "autoscaling.targetCPUUtilizationPercentage is in percent of resources.requests.cpu, which is missing"},
		"SQLite with two replicas":        {[]string{"config.database.driver=sqlite"}, "replicaCount is 2 with config.database.driver sqlite: its file is for one process: set config.database.driver to postgres, or replicaCount to 1"},
		"SQLite with autoscaling":         {[]string{"config.database.driver=sqlite", "replicaCount=1", "autoscaling.enabled=true"}, "autoscaling.enabled with config.database.driver sqlite"},
		"SQLite and a job":                {[]string{"config.database.driver=sqlite", "replicaCount=1", "migrations.mode=job"}, "a job does not reach its file: set migrations.mode to start"},
		"SQLite and a Postgres":           {[]string{"config.database.driver=sqlite", "replicaCount=1", "databaseSecret.name=db"}, "databaseSecret.name with config.database.driver sqlite"},
		"no secrets":                      {[]string{"secrets.existingSecret="}, "secrets are missing: set secrets.existingSecret to the name of a Secret"},
		"both kinds of secrets":           {[]string{"secrets.generate=true", "databaseSecret.name=db"}, "secrets.existingSecret, secrets.generate are all set: leave one way to get secrets"},
		"no database":                     {[]string{"secrets.existingSecret=", "secrets.generate=true"}, "the database is missing: set databaseSecret.name to a Secret with its DSN"},
		"no store of secrets":             {[]string{"secrets.existingSecret=", "secrets.externalSecret.enabled=true"}, "secrets.externalSecret.secretStoreRef.name is missing"},
		"no entries of the store":         {[]string{"secrets.existingSecret=", "secrets.externalSecret.enabled=true", "secrets.externalSecret.secretStoreRef.name=vault"}, "secrets.externalSecret: set data or dataFrom"},
		"a job before its DSN":            {[]string{"secrets.existingSecret=", "secrets.externalSecret.enabled=true", "migrations.mode=job"}, "migrations.mode job needs the DSN before anything is installed"},
		"a password in the ConfigMap":     {[]string{"config.database.dsn=postgres://u:p@h/d"}, "config.database.dsn would stand in a ConfigMap: put it into a Secret and name that in databaseSecret"},
		"Redis' password there":           {[]string{"config.cache.redis.password=x"}, "config.cache.redis.password would stand in a ConfigMap"},
		"an address of its own":           {[]string{"config.grpc.listen=:7000"}, "config.grpc.listen is set by the chart: use ports.grpc"},
		"a pepper of its own":             {[]string{"config.keys.pepper_files[0]=/pepper"}, "config.keys.pepper_files is set by the chart: use secrets.keys"},
		"TLS without a certificate":       {[]string{"tls.enabled=true"}, "tls.enabled without a certificate: set tls.existingSecret, or tls.certManager.enabled"},
		"TLS without authorities":         {[]string{"tls.enabled=true", "tls.existingSecret=c"}, "tls.clientCA.secretName is missing: name the Secret with the authorities of the gateways' certificates, or set tls.verifyClient to false"},
		"TLS with two certificates":       {[]string{"tls.enabled=true", "tls.existingSecret=c", "tls.certManager.enabled=true"}, "tls.existingSecret and tls.certManager.enabled are both set: leave one"},
		"TLS that is off":                 {[]string{"tls.existingSecret=c"}, "tls.enabled is false, but a certificate is named"},
		"TLS that Envoy Gateway can't do": {[]string{"tls.enabled=true", "tls.existingSecret=c", "tls.verifyClient=false", "envoyGateway.enabled=true", "envoyGateway.gateway.name=api"}, "envoyGateway.caConfigMap is missing"},
		"draining longer than grace":      {[]string{"config.grpc.drain_delay=1m"}, "terminationGracePeriodSeconds is 45, but a pod needs 85 to end"},
		"forward-auth from any peer":      {[]string{"http.enabled=true"}, "http.enabled needs config.http.trusted_peers"},
		"two listeners on a port":         {[]string{"ports.ops=9001"}, "ports.ops: 9001 is another listener's too"},
		"a Gateway without a name":        {[]string{"envoyGateway.enabled=true"}, "envoyGateway.gateway.name is missing"},
		"two databases":                   {[]string{"trial.postgres.enabled=true", "databaseSecret.name=db"}, "trial.postgres.enabled and databaseSecret.name are both set: leave one database"},
		"two Redis":                       {[]string{"trial.redis.enabled=true", "config.cache.redis.addresses[0]=redis:6379"}, "trial.redis.enabled with config.cache.redis.addresses or redisSecret.name: leave one Redis"},
		"a password without a Redis":      {[]string{"redisSecret.name=r"}, "redisSecret.name without config.cache.redis.addresses: set where Redis is"},
		"less than the least":             {[]string{"autoscaling.enabled=true", "autoscaling.minReplicas=20"}, "autoscaling.minReplicas 20 is more than autoscaling.maxReplicas 10"},
		"autoscaling by nothing":          {[]string{"autoscaling.enabled=true", "autoscaling.targetCPUUtilizationPercentage=0"}, "autoscaling has no measure"},
		"a limit of no memory":            {[]string{"resources.limits.memory=1Gb"}, `resources.limits.memory: "1Gb": write a number with Ki, Mi or Gi`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"template", "extauthz", chartDir, "--set", "secrets.existingSecret=extauthz-secrets"}
			for _, s := range mistake.set {
				args = append(args, "--set", s)
			}
			if out, errOut, err := parts.Helm(t, "", args...); err == nil || !strings.Contains(errOut, mistake.want) {
				t.Errorf("want %q, got: %v: %s%.200s", mistake.want, err, errOut, out)
			}
		})
	}
}

// TestValues_AllMistakesAreNamedAtOnce.
func TestValues_AllMistakesAreNamedAtOnce(t *testing.T) {
	_, errOut, err := parts.Helm(t, "", "template", "extauthz", chartDir, "--set", "replicaCount=0,http.enabled=true,tls.enabled=true")
	if err == nil || strings.Count(errOut, "\n  - ") < 4 {
		t.Errorf("%v: %s", err, errOut)
	}
}
