package redis

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// sentinelReply is how long a Sentinel may take to answer. The client tries the next
	// Sentinel only after that, and within the same time limit for a connection.
	sentinelReply  = 300 * time.Millisecond
	keepAliveIdle  = 15 * time.Second
	keepAliveEvery = 5 * time.Second
)

// PasswordSource returns a password for each new connection. It is safe for concurrent
// use.
type PasswordSource interface {
	// Password returns the current password.
	Password(ctx context.Context) (string, error)
	// Rejected is called when the server has refused the password that was returned last,
	// so that a cached password is not returned again.
	Rejected()
}

// fixed is a password that does not change.
type fixed string

func (f fixed) Password(context.Context) (string, error) { return string(f), nil }
func (fixed) Rejected()                                  {}

// dialer makes connections that are authenticated already, so that each one uses
// the current password and certificates. Safe for concurrent use.
type dialer struct {
	sentinels []string // their addresses, as configured
	data      *login
	sentinel  *login
	tls       func() (*tls.Config, error) // nil: plain text
}

// login holds the client's credentials for one kind of server.
type login struct {
	username string
	source   PasswordSource

	mu       sync.Mutex
	accepted string // password that a server accepted last
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveEvery, Count: 3}}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	ready, err := d.prepare(ctx, conn, address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return ready, nil
}

// prepare secures a connection and logs in. Only Sentinels in the settings are known by
// their address. A Sentinel that these have named later is recognised by two things: it
// refuses the password of the data servers, and it answers as a Sentinel.
func (d *dialer) prepare(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	if d.tls != nil {
		secure, err := d.secure(ctx, conn, address)
		if err != nil {
			return nil, err
		}
		conn = secure
	}
	if slices.Contains(d.sentinels, address) {
		return boundedConn{conn}, d.sentinel.authenticate(ctx, conn)
	}
	err := d.data.authenticate(ctx, conn)
	if refused(err) && len(d.sentinels) > 0 && d.sentinel.authenticate(ctx, conn) == nil && isSentinel(conn) {
		return boundedConn{conn}, nil
	}
	return conn, err
}

// isSentinel reports whether a server answers as only Sentinels do: with an id, or,
// before Redis 6.2, with an error that only they have.
func isSentinel(conn net.Conn) bool {
	answers, line, err := roundTrip(conn, "SENTINEL", "MYID")
	if err != nil {
		return false
	}
	if strings.HasPrefix(line, "$") {
		_, err = answers.ReadString('\n')
		return err == nil
	}
	return strings.HasPrefix(strings.ToLower(line), "-err unknown sentinel subcommand")
}

func (d *dialer) secure(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	config, err := d.tls()
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		config.ServerName = host
	}
	secure := tls.Client(conn, config)
	return secure, secure.HandshakeContext(ctx)
}

// authenticate logs in with the current password. If that is refused, it tries the
// password that was accepted last. Then it reads the password again, and tries it if it
// has changed. It does so because a password does not change at the same moment in the
// server and in its source.
func (l *login) authenticate(ctx context.Context, conn net.Conn) error {
	password, err := l.source.Password(ctx)
	if err != nil {
		return fmt.Errorf("password can't be read: %w", err)
	}
	if password == "" && l.username == "" {
		return nil
	}
	if err = l.try(conn, password); !refused(err) {
		return err
	}
	l.mu.Lock()
	before := l.accepted
	l.mu.Unlock()
	if before != "" && before != password && l.try(conn, before) == nil {
		return nil
	}
	l.source.Rejected()
	if now, readErr := l.source.Password(ctx); readErr == nil && now != password {
		return l.try(conn, now)
	}
	return err
}

// refusal is an error that a server sent as an answer.
type refusal string

func (r refusal) Error() string { return string(r) }

// refused reports whether an error is a server's refusal of a login. Redis before version
// 6 has no code for that.
func refused(err error) bool {
	var r refusal
	return errors.As(err, &r) && (strings.HasPrefix(string(r), "WRONGPASS") || strings.HasPrefix(string(r), "ERR invalid password") ||
		strings.HasPrefix(string(r), "ERR AUTH") || strings.HasPrefix(string(r), "NOAUTH"))
}

func (l *login) try(conn net.Conn, password string) error {
	words := []string{"AUTH", password}
	if l.username != "" {
		words = []string{"AUTH", l.username, password}
	}
	_, line, err := roundTrip(conn, words...)
	if err != nil {
		return fmt.Errorf("log-in failed: %w", err)
	}
	if text, isError := strings.CutPrefix(line, "-"); isError {
		return refusal(text)
	}
	if line != "+OK" {
		return errors.New("log-in was answered as no Redis does")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted = password
	return nil
}

// roundTrip sends a command. It returns the first line of the answer, and a reader of the
// rest. A server sends nothing after the answer until the next command, so nothing is
// lost with the reader.
func roundTrip(conn net.Conn, words ...string) (rest *bufio.Reader, line string, err error) {
	var b strings.Builder
	b.WriteString("*" + strconv.Itoa(len(words)) + "\r\n")
	for _, w := range words {
		b.WriteString("$" + strconv.Itoa(len(w)) + "\r\n" + w + "\r\n")
	}
	if _, err := conn.Write([]byte(b.String())); err != nil {
		return nil, "", err
	}
	rest = bufio.NewReaderSize(conn, 512)
	line, err = rest.ReadString('\n')
	return rest, strings.TrimSpace(line), err
}

// boundedConn is a connection to a Sentinel. A read with a deadline waits no longer than
// [sentinelReply]. A subscription, whose reads have no deadline, waits without a limit.
type boundedConn struct{ net.Conn }

// SetReadDeadline implements net.Conn.
func (p boundedConn) SetReadDeadline(t time.Time) error {
	if limit := time.Now().Add(sentinelReply); t.After(limit) {
		t = limit
	}
	return p.Conn.SetReadDeadline(t)
}
