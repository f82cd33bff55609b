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

// Problem is what the API answers where it refuses (RFC 9457). Clients decide by
// code: texts may change.
type Problem struct {
	Title     string         `json:"title" doc:"What kind of problem it is; the same for each occurrence."`
	Status    int            `json:"status" minimum:"400" maximum:"599" doc:"The HTTP status."`
	Code      Code           `json:"code" doc:"What kind of problem it is, for programs."`
	Detail    string         `json:"detail" doc:"What happened and what to do. No value that was sent is repeated whole."`
	RequestID string         `json:"request_id" doc:"The same as the header X-Request-Id and as request_id in the log."`
	Errors    []InvalidField `json:"errors,omitempty" nullable:"false" doc:"Everything that is wrong with the request."`
}

// InvalidField is what is wrong with one field of a request. It never has the
// field's value, which may be a key.
type InvalidField struct {
	Location string `json:"location" doc:"Such as body.scopes, query.limit or header.If-Match."`
	Message  string `json:"message"`
}

// Error makes a problem an error that huma answers with.
func (p *Problem) Error() string { return p.Detail }

// GetStatus makes a problem an error that huma answers with.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes answers with a problem application/problem+json.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

var (
	_ huma.StatusError       = (*Problem)(nil)
	_ huma.ContentTypeFilter = (*Problem)(nil)
)

// newProblem makes a problem of a code of the table.
func newProblem(code Code, detail string) *Problem {
	status := code.status()
	return &Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// invalid is a request with one field that is wrong.
func invalid(location, message string) *Problem {
	p := newProblem(CodeInvalidRequest, invalidText)
	p.Errors = []InvalidField{{Location: location, Message: message}}
	return p
}

const invalidText = "the request is not valid: see errors"

// fields collects what is wrong with a request, so that all of it is reported at
// once.
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

// parse reads one field; the zero value stands for a faulty one.
func parse[T, R any](f *fields, field string, value T, read func(T) (R, error)) R {
	r, err := read(value)
	if err != nil {
		f.add(field, messageOf(err))
		var zero R
		return zero
	}
	return r
}

// messageOf is what a caller is shown of a field's error: never the field's value.
func messageOf(err error) string {
	var d *duration.Error
	if errors.As(err, &d) {
		return d.Hint
	}
	return err.Error()
}

// elsewhere are the fields of the keys service that no body has.
var elsewhere = map[string]string{"idempotency_key": "header.Idempotency-Key", "reason": "query.reason", "limit": "query.limit", "keys": "query"}

// known are the errors of the packages below that a caller can do something about.
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

// problem is the one place where what the packages answer becomes HTTP. Whatever is not
// known here is a fault of this service or of the database: its text, which may hold
// values, is logged; the answer has its class with the remedy.
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

// complete is huma's last step before an answer is written. Whatever is a problem
// there, huma's own included, leaves in one form: with its code, the request's id, and
// without any value that the client sent.
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

// problemOf is a problem that huma found: with the form of the request.
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

// sent is the problem as the client gets it, noted for the log.
func (p *Problem) sent(c *call) *Problem {
	sent := *p
	sent.Detail, sent.RequestID, sent.Errors = mask(p.Detail), c.id, nil
	for _, e := range p.Errors {
		sent.Errors = append(sent.Errors, InvalidField{Location: mask(e.Location), Message: mask(strings.ToValidUTF8(e.Message, "�"))})
	}
	c.code = sent.Code
	return &sent
}
