//go:build tools

// Package api keeps what generated clients import in go.mod.
package api

import _ "github.com/oapi-codegen/runtime"
