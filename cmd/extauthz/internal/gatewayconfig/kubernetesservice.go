package gatewayconfig

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// KubernetesService is a port of a Service.
type KubernetesService struct {
	Namespace, Name string
	Port            uint16
}

// ParseKubernetesService reads NAMESPACE/NAME:PORT.
func ParseKubernetesService(text string) (KubernetesService, error) {
	namespace, rest, _ := strings.Cut(text, "/")
	name, digits, _ := strings.Cut(rest, ":")
	port, err := strconv.ParseUint(digits, 10, 16)
	s := KubernetesService{namespace, name, uint16(port)}
	if err != nil || s.validate() != nil {
		return KubernetesService{}, fmt.Errorf("service %q: write NAMESPACE/NAME:PORT", text)
	}
	return s, nil
}

func (s KubernetesService) validate() error {
	if s.Port == 0 {
		return errors.New("service: a port from 1 to 65535 is missing")
	}
	return errors.Join(objectName("service's namespace", s.Namespace), objectName("service", s.Name))
}
