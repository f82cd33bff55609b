package gatewayconfig

import (
	"fmt"
	"regexp"
)

// RFC 1123 labels; keys and values of labels in Kubernetes; DNS names; plain words in
// YAML.
var (
	nameForm  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	keyForm   = regexp.MustCompile(`^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	valueForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	hostForm  = regexp.MustCompile(`^[a-z][a-z0-9-]*(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)
	plainForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/-]*$`)
)

func objectName(what, name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%s %q: write a name as Kubernetes has them", what, name)
	}
	return nil
}

func label(key, value string) error {
	if !keyForm.MatchString(key) || !valueForm.MatchString(value) {
		return fmt.Errorf("label %s=%s: write KEY=VALUE as the workload's pods carry it", key, value)
	}
	return nil
}

// tlsProblems checks the name in the service's certificate, and the name of the object
// with its authorities.
func tlsProblems(name, authorities string) (problems []error) {
	if name+authorities == "" {
		return nil
	}
	problems = append(problems, objectName("authorities' object", authorities))
	if !hostForm.MatchString(name) {
		problems = append(problems, fmt.Errorf("name %q: write the DNS name in the service's certificate", name))
	}
	return problems
}
