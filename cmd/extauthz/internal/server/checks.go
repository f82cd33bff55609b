package server

import "extauthz/cmd/extauthz/internal/conditions"

// startChecks are looked at from the first moment, checks once there is a database.
func (s *Server) startChecks() []conditions.Check { return nil }

func (s *Server) checks() []conditions.Check { return nil }
