package envoy

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/authz"
)

// decode reads a CheckRequest of any shape into an empty r. Envoy sends headers either
// joined and sanitised (the map) or raw (header_map, with encode_raw_headers); if a name
// is in both, the raw lines count, since they hold more.
func decode(r *authz.Request, req *authv3.CheckRequest) {
	attributes := req.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	r.Method, r.Scheme, r.Host = http.GetMethod(), http.GetScheme(), http.GetHost()
	r.Path, r.PathSanitised = http.GetPath(), true
	r.Peer = peer(attributes.GetSource().GetAddress().GetSocketAddress().GetAddress())
	r.ContextResource, r.ContextAction = attributes.GetContextExtensions()["resource"], attributes.GetContextExtensions()["action"]
	r.Route = gatewayRoute(attributes.GetRouteMetadataContext())
	raw := map[string]bool{}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		name, value := lowerName(h.GetKey()), string(h.GetRawValue())
		if value == "" {
			value = h.GetValue()
		}
		raw[name] = true
		switch name {
		case ":path":
			r.Path, r.PathSanitised = value, false
		case ":method":
			r.Method = value
		case ":authority":
			r.Host = value
		}
		r.Headers = append(r.Headers, authz.Header{Name: name, Value: value})
	}
	for name, value := range http.GetHeaders() {
		name = lowerName(name)
		if raw[name] {
			continue
		}
		switch name {
		case ":path":
			if r.Path == "" {
				r.Path = value
			}
		case ":method":
			if r.Method == "" {
				r.Method = value
			}
		case ":authority":
			if r.Host == "" {
				r.Host = value
			}
		}
		r.Headers = append(r.Headers, authz.Header{Name: name, Value: value, Sanitised: true})
	}
}

// gatewayRoute reads Envoy Gateway's metadata of the route (includeRouteMetadata): the
// resource that the route comes from, and its annotations. Envoy Gateway sends only
// annotations that begin with gateway.envoyproxy.io/, and removes that prefix.
func gatewayRoute(metadata *corev3.Metadata) authz.GatewayRoute {
	resources := metadata.GetFilterMetadata()["envoy-gateway"].GetFields()["resources"].GetListValue().GetValues()
	if len(resources) == 0 {
		return authz.GatewayRoute{}
	}
	resource := resources[0].GetStructValue().GetFields()
	annotations := resource["annotations"].GetStructValue().GetFields()
	return authz.GatewayRoute{
		Kind: resource["kind"].GetStringValue(), Namespace: resource["namespace"].GetStringValue(), Name: resource["name"].GetStringValue(),
		Resource: annotations["extauthz.resource"].GetStringValue(), Action: annotations["extauthz.action"].GetStringValue(),
		Anonymous: annotations["extauthz.anonymous"].GetStringValue() == "true",
	}
}

func peer(address string) netip.Addr {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// lineOf returns the first line of a header, or "".
func lineOf(r *authz.Request, name string) string {
	for i := range r.Headers {
		if r.Headers[i].Name == name {
			return r.Headers[i].Value
		}
	}
	return ""
}
