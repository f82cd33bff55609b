package config

import (
	"os"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestChart_ListsSettingsWithoutRestart: the Helm chart has the same list of settings as
// the service. For a change of these it replaces no pods, for any other change it does.
func TestChart_ListsSettingsWithoutRestart(t *testing.T) {
	text, err := os.ReadFile("../../../../helm/extauthz/files/reloadable.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	if err := yaml.Unmarshal(text, &known); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(known, reloadable) {
		t.Errorf("helm/extauthz/files/reloadable.yaml has %v, the service takes over %v", known, reloadable)
	}
}
