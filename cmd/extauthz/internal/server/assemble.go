package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/google/uuid"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
	"extauthz/cachesvc"
	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/envoy"
)

// assemble makes everything that needs the open database, from the stores to the
// listeners, the reverse of a request's way. The caller holds s.reloading. After an
// error, what was opened stays open until close.
func (s *Server) assemble(ctx context.Context) error {
	s.c.Settings = s.settings
	format, err := s.settings.KeyFormat()
	if err != nil {
		return err
	}
	if err := s.assembleCache(); err != nil {
		return err
	}
	if err := s.openTraces(ctx, s.registry); err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	s.replicas = newReplicas(s.registry, s.db, uuid.NewString())
	current, err := s.assemblePolicies(format)
	if err != nil {
		return err
	}
	if err := s.assembleChecks(current); err != nil {
		return err
	}
	if err := s.assembleManagement(format); err != nil {
		return err
	}
	s.ready.cache.Store(s.cache)
	s.ready.grpc.Store(s.grpc)
	return nil
}

// assembleCache makes the validator of keys: the cache, Redis if it is configured, and
// the database.
func (s *Server) assembleCache() error {
	sealing, err := s.settings.SealingKeys()
	if err != nil {
		return err
	}
	client, shared, err := openRedis(s.settings, s.log)
	if err != nil {
		return err
	}
	s.redis = client
	c := s.settings.CacheService()
	c.Database, c.Members, c.MostUsed = s.db, s.db, s.db
	c.Sealing, c.Logger, c.Registerer = sealing, s.log, s.registry
	if shared != nil {
		c.Shared = shared
		if len(sealing) == 0 {
			s.log.Warn("Redis is not trusted for authorization: it holds lists and usage and carries change notifications; set cache.sealing_key_file to use it for more")
		}
	}
	s.cache, err = cachesvc.New(c)
	return err
}

// assemblePolicies makes the parts that decide about requests, and returns the first
// policy, which follows the current settings. A reload makes the next ones.
func (s *Server) assemblePolicies(format *authz.KeyFormat) (*policy, error) {
	unpeppered := newUnpeppered(s.registry, s.log, s.db.CountUnpeppered)
	s.stock = newInventory(s.registry, s.c.Version, s.db.CountKeys, s.cache.Now)
	s.stock.also = func(ctx context.Context) { unpeppered.countStored(ctx, s.policies.authorizer().Peppers) }
	registerConnections(s.registry, s.db.Connections)
	s.policies = &policies{format: format, validator: s.validator(), usage: s.cache, now: s.cache.Now, unpeppered: unpeppered.record,
		limiter: authz.NewLimiter(s.settings.Cache.Local.MaxKeys, s.replicas.count, time.Now)}
	p, err := s.policies.build(s.settings)
	if err != nil {
		return nil, err
	}
	s.policies.current.Store(p)
	return p, nil
}

// assembleChecks makes the servers that gateways call, over gRPC and over HTTP.
func (s *Server) assembleChecks(p *policy) (err error) {
	if s.check, err = envoy.New(s.withTraces(envoy.Config{Checker: p.authorizer, Encoder: p.encoder, Logger: s.log, Registerer: s.registry})); err != nil {
		return err
	}
	s.inbound.bound(s.settings, s.log)
	grpc := s.settings.GRPC
	s.grpc = envoy.NewServer(envoy.ServerConfig{TLS: s.secure["grpc"].config(), MaxConnectionAge: grpc.MaxConnectionAge,
		MaxConnectionAgeGrace: grpc.MaxConnectionAgeGrace, Reflection: grpc.Reflection, Protobuf: grpc.Codec == config.CodecProtobuf,
		MaxStreams: uint32(grpc.MaxStreams), MaxMessage: grpc.MaxMessageBytes, MaxHeaders: uint32(grpc.MaxHeaderBytes),
		RequestTimeout: grpc.RequestTimeout, Inbound: s.inbound.grpc}, s.check)
	peers, err := s.settings.TrustedPeers()
	if err != nil {
		return fmt.Errorf("http.trusted_peers: %w", err)
	}
	s.http = envoy.NewHTTPServer(envoy.HTTPConfig{TLS: s.secure["http"].config(), TrustedPeers: peers, MaxHeaderBytes: s.settings.HTTP.MaxHeaderBytes}, s.check)
	s.inbound.http.Guard(s.http)
	return nil
}

// assembleManagement makes the services of keys and of administrators, and the API in front
// of them. assembleChecks has already made the bounds of the API's listener.
func (s *Server) assembleManagement(format *authz.KeyFormat) (err error) {
	s.retention = newRetention(s.registry, s.settings, s.replicas.instance, format, s.log, s.db.Purge)
	peppers := func() *authz.Peppers { return s.policies.authorizer().Peppers }
	if s.keys, err = keyring.New(keyring.Config{Format: format, Purger: s.retention, Peppers: peppers,
		Random: rand.Reader, Now: s.cache.Now, Store: s.db, Notifier: s.cache, Lists: s.cache, Logger: s.log}); err != nil {
		return err
	}
	if s.administrators, err = administrators.New(administrators.Config{Format: format, Peppers: peppers, Random: rand.Reader, Now: s.cache.Now,
		Store: s.db, Notifier: s.cache, Logger: s.log}); err != nil {
		return err
	}
	api, err := adminapi.New(adminapi.Config{Keys: s.keys, Administrators: s.administrators, Authorizer: s.policies.authorizer, Cache: s.cache, Conditions: s.conditions.Active, Logger: s.log, Version: s.c.Version})
	if err != nil {
		return err
	}
	s.admin = operatorServer(api, s.secure["admin"].config())
	s.inbound.admin.Guard(s.admin)
	return nil
}
