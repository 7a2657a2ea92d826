package ldapclient

import (
	"context"
	"errors"
	"sync"
	"time"
)

// PoolOptions say which servers a pool uses, and as whom.
type PoolOptions struct {
	Options
	Servers  []string // the first that is there is used
	DN       string   // to bind as; empty: nobody
	Password []byte
	Size     int           // connections at once; 0: 8
	Idle     time.Duration // how long one is kept that nobody uses; 0: 1 min
	Retry    time.Duration // how long a server that was away is the last to be asked; 0: 30 s
	Now      func() time.Time
}

// Pool keeps connections. It is safe for concurrent use.
type Pool struct {
	opt   PoolOptions
	slots chan struct{}

	mu     sync.Mutex
	idle   []idleConn // the one used last at the end
	away   map[string]time.Time
	closed bool
}

type idleConn struct {
	*Conn
	since time.Time
}

// NewPool returns a Pool that has no connections yet.
func NewPool(opt PoolOptions) *Pool {
	if opt.Size == 0 {
		opt.Size = 8
	}
	if opt.Idle == 0 {
		opt.Idle = time.Minute
	}
	if opt.Retry == 0 {
		opt.Retry = 30 * time.Second
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Pool{opt: opt, slots: make(chan struct{}, opt.Size), away: map[string]time.Time{}}
}

// Use calls do with a bound connection. Where a kept one turns out to be broken
// before anything of the answer has come, do is called again with a new one; it
// must bear that. Errors of the network are *NetError.
func (p *Pool) Use(ctx context.Context, do func(*Conn) error) error {
	if err := p.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-p.slots }()
	if c := p.take(); c != nil {
		err := do(c)
		p.giveBack(c)
		if _, isNet := errors.AsType[*NetError](err); !isNet || c.answered || ctx.Err() != nil {
			return err
		}
	}
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer p.giveBack(c)
	return do(c)
}

// Once calls do with a bound connection that is new, and does not call it
// again: for changes, which a server may have made whose answer was lost.
func (p *Pool) Once(ctx context.Context, do func(*Conn) error) error {
	if err := p.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-p.slots }()
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer p.giveBack(c)
	return do(c)
}

// Hold returns a new bound connection that is the caller's own, who closes it and
// bounds how many there are: for what a server keeps with a connection.
func (p *Pool) Hold(ctx context.Context) (*Conn, error) { return p.connect(ctx) }

// acquire waits for a slot.
func (p *Pool) acquire(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &NetError{"pool", ctx.Err()}
	}
}

// Check binds with other credentials on a connection of its own. A refusal is
// an *ldap.Error.
func (p *Pool) Check(ctx context.Context, name string, password []byte) error {
	if err := p.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-p.slots }()
	c, err := p.dialAny(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Bind(ctx, name, password)
}

// take returns a kept connection, or nil.
func (p *Pool) take() *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prune()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1].Conn
	p.idle = p.idle[:n-1]
	return c
}

// prune closes what has been kept for too long. It is called with mu held.
func (p *Pool) prune() {
	old := 0
	for old < len(p.idle) && p.opt.Now().Sub(p.idle[old].since) > p.opt.Idle {
		_ = p.idle[old].Close()
		old++
	}
	p.idle = p.idle[old:]
}

func (p *Pool) giveBack(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.Broken() != nil || p.closed {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, idleConn{c, p.opt.Now()})
}

// connect makes a bound connection.
func (p *Pool) connect(ctx context.Context) (*Conn, error) {
	c, err := p.dialAny(ctx)
	if err != nil {
		return nil, err
	}
	if p.opt.DN == "" {
		return c, nil
	}
	if err := c.Bind(ctx, p.opt.DN, p.opt.Password); err != nil {
		_ = c.Close()
		return nil, &NetError{c.server, err} // our own account: nobody who asks can help it
	}
	return c, nil
}

// dialAny connects to the first server that answers; those that were away a
// moment ago are asked last.
func (p *Pool) dialAny(ctx context.Context) (*Conn, error) {
	var errs []error
	for _, server := range p.order() {
		c, err := Dial(ctx, server, p.opt.Options)
		p.mu.Lock()
		if err == nil {
			delete(p.away, server)
		} else {
			p.away[server] = p.opt.Now()
		}
		p.mu.Unlock()
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// order returns the servers in the order in which they are to be asked.
func (p *Pool) order() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var first, last []string
	for _, server := range p.opt.Servers {
		if at, ok := p.away[server]; ok && p.opt.Now().Sub(at) < p.opt.Retry {
			last = append(last, server)
		} else {
			first = append(first, server)
		}
	}
	return append(first, last...)
}

// Close closes the connections that are kept, and those in use when they are
// given back.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.Close())
	}
	p.idle = nil
	return errors.Join(errs...)
}
