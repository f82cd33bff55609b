package adminapi

import (
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"extauthz/authz"
	"extauthz/authz/keyring"
	"extauthz/models"
)

// fields collects what is wrong with a request, so that all of it is told at
// once.
type fields struct{ details []error }

func (f *fields) add(field, message string) {
	f.details = append(f.details, &huma.ErrorDetail{Location: "body." + field, Message: message})
}

func (f *fields) err() error {
	if len(f.details) == 0 {
		return nil
	}
	return huma.Error422UnprocessableEntity("the request is not valid: see errors", f.details...)
}

// parse reads one field; the zero value stands for a faulty one.
func parse[T, R any](f *fields, field string, value T, read func(T) (R, error)) R {
	r, err := read(value)
	if err != nil {
		f.add(field, err.Error())
		var zero R
		return zero
	}
	return r
}

// problem is the one place where what the packages answer becomes HTTP. Whatever is
// not known here is a fault of ours or of the database: its text, which may hold
// values, is logged; the answer has its class with the remedy.
func (a *api) problem(err error) error {
	var status huma.StatusError
	var invalid *keyring.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status):
		return err
	case errors.As(err, &invalid):
		f := &fields{}
		for _, x := range invalid.Fields {
			f.add(x.Field, x.Message)
		}
		return f.err()
	case errors.Is(err, keyring.ErrInvalid), errors.Is(err, authz.ErrIdempotencyReuse):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, keyring.ErrForbidden):
		return huma.Error403Forbidden(err.Error())
	case errors.Is(err, authz.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, authz.ErrPreconditionFailed):
		return huma.Error412PreconditionFailed(err.Error())
	case errors.Is(err, authz.ErrUnreadable):
		return huma.Error409Conflict(err.Error() + ": someone wrote it by hand: fix the row in the database")
	case errors.Is(err, authz.ErrConflict), errors.Is(err, keyring.ErrRevoked), errors.Is(err, keyring.ErrDisabled),
		errors.Is(err, keyring.ErrExpired), errors.Is(err, keyring.ErrSuperseded), errors.Is(err, keyring.ErrFamilyFull),
		errors.Is(err, keyring.ErrLastAdministrator):
		return huma.Error409Conflict(err.Error())
	}
	a.log.Error("management call failed", "error", err)
	f, _ := models.FaultOf(err)
	return huma.NewError(http.StatusServiceUnavailable, f.String())
}
