package redis

import (
	"bufio"
	"context"
	"strconv"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"extauthz/cachesvc/store"
)

// Ping tests whether Redis answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.client.Ping(ctx).Err(); err != nil {
		return s.failed("ping", err)
	}
	return nil
}

// Memory returns how full Redis is. For a Cluster it describes the fullest node.
func (s *Store) Memory(ctx context.Context) (fullest store.Memory, err error) {
	var mu sync.Mutex
	err = s.eachNode(ctx, func(ctx context.Context, node goredis.Cmdable) error {
		text, err := node.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		m := parseMemory(text)
		mu.Lock()
		defer mu.Unlock()
		if fullest.Policy == "" || usedShare(m) > usedShare(fullest) {
			fullest = m
		}
		return nil
	})
	if err != nil {
		return store.Memory{}, s.failed("memory", err)
	}
	return fullest, nil
}

func usedShare(m store.Memory) float64 {
	if m.Max == 0 {
		return 0
	}
	return float64(m.Used) / float64(m.Max)
}

func parseMemory(info string) (m store.Memory) {
	lines := bufio.NewScanner(strings.NewReader(info))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch name {
		case "used_memory":
			m.Used, _ = strconv.ParseInt(value, 10, 64)
		case "maxmemory":
			m.Max, _ = strconv.ParseInt(value, 10, 64)
		case "maxmemory_policy":
			m.Policy = value
		}
	}
	return m
}
