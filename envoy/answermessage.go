package envoy

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// message returns the answer as a CheckResponse. It shares no memory with a, nor with the
// texts that a borrows.
func (a *answer) message() *authv3.CheckResponse {
	res := &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(a.code)}}
	if len(a.facts) > 0 {
		res.DynamicMetadata = a.metadata()
	}
	if a.allowed() {
		res.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: options(a.headers), HeadersToRemove: clones(a.remove), ResponseHeadersToAdd: options(a.client)}}
		return res
	}
	denied := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(a.wireStatus())}, Headers: options(a.headers), Body: strings.Clone(a.wireBody())}
	if a.error {
		res.HttpResponse = &authv3.CheckResponse_ErrorResponse{ErrorResponse: denied}
	} else {
		res.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied}
	}
	return res
}

// options sets both forms of "replace": builds of Envoy differ in which one they
// read.
func options(headers []header) []*corev3.HeaderValueOption {
	out := make([]*corev3.HeaderValueOption, len(headers))
	for i, h := range headers {
		out[i] = &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: strings.Clone(h.name), Value: strings.Clone(h.value)},
			Append:       wrapperspb.Bool(false), //nolint:staticcheck // deprecated, but the form that Envoy reads here
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}
	}
	return out
}

func clones(texts []string) []string {
	out := make([]string, len(texts))
	for i, s := range texts {
		out[i] = strings.Clone(s)
	}
	return out
}

func (a *answer) metadata() *structpb.Struct {
	fields := make(map[string]*structpb.Value, len(a.facts)+1)
	for _, f := range a.facts {
		fields[f.name] = structpb.NewStringValue(strings.Clone(f.value))
	}
	if !a.rate.IsZero() {
		fields[rateFact] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			rateCount: structpb.NewNumberValue(float64(a.rate.Count)),
			rateUnit:  structpb.NewStringValue(rateUnits[a.rate.Per]),
		}})
	}
	return &structpb.Struct{Fields: fields}
}
