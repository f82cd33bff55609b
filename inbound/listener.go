package inbound

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sweepEvery is the time between two sweeps of the connections, and the clock's
	// resolution.
	sweepEvery = 100 * time.Millisecond
	// quietTime is how long a useful connection must have been quiet before it may give
	// way to a new one.
	quietTime = 5 * time.Second
	// stuckTime is the time after which a complete request counts as held by its client:
	// no check takes so long, so it was answered, and the client has not read the answer.
	stuckTime = 2 * time.Second
	// connectionCost is the memory of a connection that does nothing, in bytes: buffers,
	// state and the stacks of its goroutines. Measured (docs/limits.md).
	connectionCost = 32 << 10
	// crowdedRead is the most that one read passes on, in bytes, while all connections
	// together hold more than half of the limit: the frames of a read are counted
	// together, and 16 KiB can have the headers of a thousand calls.
	crowdedRead = 1 << 10
	// logPause is the least time between two log lines of a listener.
	logPause = 10 * time.Second
)

// Why a connection was closed, as in the metric.
const (
	reasonConnections = "connections" // there were too many, and this one was the least useful
	reasonMemory      = "memory"      // all together held too much, and this one the most
	reasonStalled     = "stalled"     // it neither sent the rest of a request nor read an answer
)

// Config holds the limits of a Listener.
type Config struct {
	Name        string // of the listener, in metrics and log lines
	Connections int    // at once, 1 or more
	// Pending is how many bytes may be held at once, over all connections, for incomplete
	// requests and unread answers.
	Pending int64
	// Stall is how long a connection may leave a frame, a block of headers or an
	// answer unfinished.
	Stall   time.Duration
	Logger  *slog.Logger
	Metrics *Metrics
}

// Listener is a net.Listener whose connections are bounded. Safe for concurrent use.
type Listener struct {
	net.Listener
	c     Config
	start time.Time

	clock   atomic.Int64 // nanoseconds since start, by the sweeps
	pending atomic.Int64 // bytes held, of all connections
	leaving atomic.Int64 // bytes of connections that were ended here but not yet closed by their server
	holding atomic.Int64 // connections that hold something

	mu       sync.Mutex
	conns    map[*Conn]struct{}
	networks map[netip.Addr]*network // of conns

	shedding sync.Mutex
	logged   atomic.Int64 // clock of the last log line
	unlogged atomic.Int64 // connections closed since then
}

// Listen returns a Listener that bounds the connections of l. [Listener.Run] has to run
// too.
func Listen(l net.Listener, c Config) *Listener {
	in := &Listener{Listener: l, c: c, start: time.Now(), conns: map[*Conn]struct{}{}, networks: map[netip.Addr]*network{}}
	in.clock.Store(1) // 0 is "never"
	c.Metrics.watch(in)
	return in
}

// Run sweeps the connections until ctx ends.
func (l *Listener) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.clock.Store(int64(time.Since(l.start)))
			l.sweep()
		}
	}
}

// Accept returns the next connection. If the limit is reached, the least useful
// connection is closed for it. If all are useful, the new one is closed.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &Conn{Conn: raw, l: l}
		c.activity.Store(l.clock.Load())
		if l.admit(c) {
			return c, nil
		}
		l.count(reasonConnections)
		_ = raw.Close()
	}
}

func (l *Listener) admit(c *Conn) bool {
	victim, ok := l.enter(c)
	if victim != nil {
		l.end(victim, reasonConnections)
	}
	return ok
}

// enter admits c, in place of another connection if the limit is reached.
func (l *Listener) enter(c *Conn) (victim *Conn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.c.Connections {
		if victim = l.leastUseful(); victim == nil {
			return nil, false
		}
		l.leave(victim)
	}
	l.conns[c] = struct{}{}
	c.from = l.network(networkOf(c.RemoteAddr()))
	c.from.conns++
	return victim, true
}

// leave stops counting c as an open connection. l.mu is held.
func (l *Listener) leave(c *Conn) {
	if _, counted := l.conns[c]; !counted {
		return
	}
	delete(l.conns, c)
	if c.from.conns--; c.from.conns == 0 {
		delete(l.networks, c.from.address)
	}
}

// network is one that clients connect from, with the number of their connections. The
// listener's mu guards it.
type network struct {
	address netip.Addr
	conns   int
}

func (l *Listener) network(address netip.Addr) *network {
	n, known := l.networks[address]
	if !known {
		n = &network{address: address}
		l.networks[address] = n
	}
	return n
}

// leastUseful returns the connection that gives way to a new one ([Listener.givesWay]).
// It returns nil if even that one has had a request answered, and was active within
// quietTime or holds something. l.mu is held.
func (l *Listener) leastUseful() *Conn {
	var victim *Conn
	for c := range l.conns {
		if victim == nil || l.givesWay(c, victim) {
			victim = c
		}
	}
	if victim != nil && victim.use() == useful && (l.clock.Load()-victim.activity.Load() < int64(quietTime) || victim.holds() > 0) {
		return nil
	}
	return victim
}

// givesWay reports whether a gives way before b. Connections that have had no request
// answered give way before those that have. Among the former, one from the network with
// the most connections is first, so that a flood displaces its own connections and not
// those that a gateway just opened; then one that has sent nothing. Otherwise the one
// that was quiet longest is first. l.mu is held.
func (l *Listener) givesWay(a, b *Conn) bool {
	useA, useB := a.use(), b.use()
	switch {
	case (useA == useful) != (useB == useful):
		return useB == useful
	case useA != useful && a.from.conns != b.from.conns:
		return a.from.conns > b.from.conns
	case useA != useB:
		return useA < useB
	}
	return a.activity.Load() < b.activity.Load()
}

// networkOf returns the address of a client, or for IPv6 the network of its first 64
// bits, since one machine can have all addresses of it. It returns the zero value for a
// Unix socket.
func networkOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if ip.Is6() {
		network, _ := ip.WithZone("").Prefix(64)
		return network.Addr()
	}
	return ip
}

// sweep ends connections that are stalled, and frees the bytes of streams that clients
// have reset.
func (l *Listener) sweep() {
	now := l.clock.Load()
	for _, c := range l.all() {
		if c.sweep(now, int64(l.c.Stall)) {
			l.end(c, reasonStalled)
		}
	}
	l.bound(1)
}

func (l *Listener) all() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		all = append(all, c)
	}
	return all
}

// share returns how much each connection that holds something may hold, while all
// together hold more than half of the limit.
func (l *Listener) share() int64 { return l.c.Pending / 2 / max(l.holding.Load(), 1) }

// crowded reports whether the connection may not begin another request, because all
// together hold more than half of the limit, and this one more than its share.
func (l *Listener) crowded(c *Conn) bool {
	return l.pending.Load() > l.c.Pending/2 && c.holds() > max(l.share(), 2*streamCost)
}

// full reports whether all together hold more than the limit.
func (l *Listener) full() bool { return l.pending.Load() > l.c.Pending }

// occupied returns the bytes that are held, and those that ended connections have not
// released yet.
func (l *Listener) occupied() int64 { return l.pending.Load() + l.leaving.Load() }

// passable returns how many of the given bytes one read may pass on.
func (l *Listener) passable(bytes int) int {
	if l.occupied() > l.c.Pending/2 {
		return min(bytes, crowdedRead)
	}
	return bytes
}

// bound ends connections if more bytes were counted and all connections together hold too
// much.
func (l *Listener) bound(more int64) {
	if more > 0 && l.full() {
		l.shed()
	}
}

// shed ends connections that hold more than their share, until a quarter of the limit is
// free. Those that hold most for longest are first, those whose requests are complete are
// last.
func (l *Listener) shed() {
	if !l.shedding.TryLock() {
		return
	}
	defer l.shedding.Unlock()
	now, share, excess := l.clock.Load(), l.share(), l.pending.Load()-l.c.Pending/4*3
	type candidate struct {
		c     *Conn
		score float64 // bytes times the time that they are held for
		held  int64
	}
	var candidates []candidate
	for _, c := range l.all() {
		stuck, since, held := c.weigh(now)
		if held > share {
			candidates = append(candidates, candidate{c, float64(stuck) * float64(now-since+int64(sweepEvery)), held})
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.held, a.held))
	})
	for _, v := range candidates {
		if excess <= 0 { // if others hold too much meanwhile, the next call ends them
			return
		}
		excess -= v.held
		l.end(v.c, reasonMemory)
	}
}

// end closes a connection and counts it. It does not wait: closing waits for reads
// and writes that are running.
func (l *Listener) end(c *Conn, reason string) {
	if c.release() {
		l.count(reason)
		go func() { _ = c.Conn.Close() }()
	}
}

func (l *Listener) count(reason string) {
	l.c.Metrics.closed(l.c.Name, reason)
	l.unlogged.Add(1)
	now, last := l.clock.Load(), l.logged.Load()
	if last != 0 && now-last < int64(logPause) || !l.logged.CompareAndSwap(last, now) {
		return
	}
	l.c.Logger.Warn("connections closed: the listener is at one of its limits", "listener", l.c.Name, "limit", reason,
		"closed", l.unlogged.Swap(0), "connections", l.open(), "pending_bytes", l.pending.Load())
}

// Held returns an estimate of the process's memory that the clients hold, in bytes.
func (l *Listener) Held() int64 { return int64(l.open())*connectionCost + l.occupied() }

func (l *Listener) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

func (l *Listener) forget(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(c)
}
