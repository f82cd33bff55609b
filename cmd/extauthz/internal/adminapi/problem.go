package adminapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
	"extauthz/cmd/extauthz/internal/duration"
	"extauthz/models"
)

// Problem is the API's answer to a refused call (RFC 9457). Clients should decide by its
// code, because the texts may change.
type Problem struct {
	Title     string         `json:"title" doc:"What kind of problem it is; the same for each occurrence."`
	Status    int            `json:"status" minimum:"400" maximum:"599" doc:"The HTTP status."`
	Code      Code           `json:"code" doc:"What kind of problem it is, for programs."`
	Detail    string         `json:"detail" doc:"What happened and what to do. No value that was sent is repeated whole."`
	RequestID string         `json:"request_id" doc:"The same as the header X-Request-Id and as request_id in the log."`
	Errors    []InvalidField `json:"errors,omitempty" nullable:"false" doc:"Everything that is wrong with the request."`
}

// InvalidField describes what is wrong with one field of a request. It never contains the
// field's value, which may be a key.
type InvalidField struct {
	Location string `json:"location" doc:"Such as body.scopes, query.limit or header.If-Match."`
	Message  string `json:"message"`
}

// Error makes *Problem an error; huma answers with such errors.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status for huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes huma send problems as application/problem+json.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

var (
	_ huma.StatusError       = (*Problem)(nil)
	_ huma.ContentTypeFilter = (*Problem)(nil)
)

// newProblem makes a problem with one of the listed codes.
func newProblem(code Code, detail string) *Problem {
	status := code.status()
	return &Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// invalid makes the problem of a request with one wrong field.
func invalid(location, message string) *Problem {
	p := newProblem(CodeInvalidRequest, invalidText)
	p.Errors = []InvalidField{{Location: location, Message: message}}
	return p
}

const invalidText = "the request is not valid: see errors"

// fields collects everything that is wrong with a request, to report all of it at once.
type fields struct{ details []InvalidField }

func (f *fields) add(field, message string) {
	f.details = append(f.details, InvalidField{Location: "body." + field, Message: message})
}

func (f *fields) err() error {
	if len(f.details) == 0 {
		return nil
	}
	p := newProblem(CodeInvalidRequest, invalidText)
	p.Errors = f.details
	return p
}

// parse parses one field. If it is faulty, parse records that and returns the zero value.
func parse[T, R any](f *fields, field string, value T, read func(T) (R, error)) R {
	r, err := read(value)
	if err != nil {
		f.add(field, messageOf(err))
		var zero R
		return zero
	}
	return r
}

// messageOf returns the text that a caller gets about a field: never the field's value.
func messageOf(err error) string {
	var d *duration.Error
	if errors.As(err, &d) {
		return d.Hint
	}
	return err.Error()
}

// elsewhere gives the location of those fields of the keys service that are not in a
// body.
var elsewhere = map[string]string{"idempotency_key": "header.Idempotency-Key", "reason": "query.reason", "limit": "query.limit", "keys": "query"}

// known lists the errors of other packages that a caller can do something about.
var known = []struct {
	err  error
	code Code
}{
	{authz.ErrIdempotencyReuse, CodeIdempotencyReuse},
	{keyring.ErrInvalid, CodeInvalidRequest},
	{keyring.ErrForbidden, CodeForbidden},
	{authz.ErrNotFound, CodeNotFound},
	{authz.ErrPreconditionFailed, CodePreconditionFailed},
	{authz.ErrUnreadable, CodeUnreadableRow},
	{authz.ErrConflict, CodeConflict},
	{keyring.ErrRevoked, CodeKeyEnded},
	{keyring.ErrDisabled, CodeKeyEnded},
	{keyring.ErrExpired, CodeKeyEnded},
	{keyring.ErrSuperseded, CodeSuperseded},
	{keyring.ErrFamilyFull, CodeFamilyFull},
	{keyring.ErrAdministratorKey, CodeAdministratorKey},
	{administrators.ErrLastOwner, CodeLastAdministrator},
	{administrators.ErrRoleUsed, CodeConflict},
	{administrators.ErrNone, CodeForbidden},
}

// problem is the only place that turns errors of other packages into HTTP. An error that
// known does not list is a fault of this service or of the database. Its text may contain
// values, so it is logged, and the answer has only the class of the fault and the remedy.
func (a *api) problem(err error) error {
	var p *Problem
	var other huma.StatusError
	var invalid *keyring.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p), errors.As(err, &other):
		return err
	case errors.As(err, &invalid):
		f := &fields{}
		for _, x := range invalid.Fields {
			f.add(x.Field, x.Message)
			if place := elsewhere[x.Field]; place != "" {
				f.details[len(f.details)-1].Location = place
			}
		}
		return f.err()
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			detail := err.Error()
			if k.code == CodeUnreadableRow {
				detail += ": someone wrote it by hand: fix the row in the database"
			}
			return newProblem(k.code, detail)
		}
	}
	a.log.Error("management call failed", "error", mask(err.Error()))
	f, _ := models.FaultOf(err)
	return newProblem(CodeUnavailable, f.String())
}

// complete is huma's last step before an answer is written. Every problem, huma's own
// included, leaves in the same form: with a code, with the request's id, and without any
// value that the client sent.
func (a *api) complete(ctx huma.Context, _ string, body any) (any, error) {
	p, is := body.(*Problem)
	if m, foreign := body.(*huma.ErrorModel); foreign {
		p, is = problemOf(m), true
	}
	if !is {
		return body, nil
	}
	r, _ := humago.Unwrap(ctx)
	return p.sent(callOf(r.Context())), nil
}

// problemOf converts a problem that huma found in the form of a request.
func problemOf(m *huma.ErrorModel) *Problem {
	p := newProblem(codeOfStatus(m.Status), m.Detail)
	p.Status, p.Title = m.Status, http.StatusText(m.Status)
	for _, e := range m.Errors {
		if e != nil {
			p.Errors = append(p.Errors, InvalidField{Location: e.Location, Message: e.Message})
		}
	}
	return p
}

// sent returns the problem as the client gets it, and notes its code for the log.
func (p *Problem) sent(c *call) *Problem {
	sent := *p
	sent.Detail, sent.RequestID, sent.Errors = mask(p.Detail), c.id, nil
	for _, e := range p.Errors {
		sent.Errors = append(sent.Errors, InvalidField{Location: mask(e.Location), Message: mask(strings.ToValidUTF8(e.Message, "�"))})
	}
	c.code = sent.Code
	return &sent
}
