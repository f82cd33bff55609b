package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/conditions"
)

// TestConditions_EachHasARunbookAndAnAlert: every condition has both, new ones too.
func TestConditions_EachHasARunbookAndAnAlert(t *testing.T) {
	runbooks, err := os.ReadFile(filepath.Join(root, "docs/troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(filepath.Join(root, "helm/extauthz/files/alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	excluded := map[string]*regexp.Regexp{} // by severity: the names that the common alert leaves out
	for _, found := range regexp.MustCompile(`extauthz_condition\{severity="(\w+)", name![=~]"([^"]+)"\}`).FindAllStringSubmatch(string(rules), -1) {
		excluded[found[1]] = regexp.MustCompile("^(" + found[2] + ")$")
	}
	own := map[conditions.Name]string{ // the metric or label in the expression of the condition's own alert
		conditions.DatabaseDown: `name="database_unreachable"`, conditions.RedisDown: `store="redis"`,
		conditions.FeedBehind: "extauthz_feed_age_seconds", conditions.ClockOff: "extauthz_database_clock_ahead_seconds",
		conditions.ConfigRefused: "extauthz_config_last_reload_successful",
	}
	for _, d := range conditions.Known() {
		if !strings.Contains(string(runbooks), "\n### "+string(d.Name)+"\n") {
			t.Errorf("docs/troubleshooting.md has no section %s", d.Name)
		}
		if d.Severity == conditions.Info {
			continue
		}
		if excluded[string(d.Severity)] == nil {
			t.Fatalf("no alert for %s", d.Severity)
		}
		if excluded[string(d.Severity)].MatchString(string(d.Name)) && (own[d.Name] == "" || !strings.Contains(string(rules), own[d.Name])) {
			t.Errorf("%s has no alert", d.Name)
		}
	}
}
