package ldap

import (
	"context"
	"sync"
	"time"

	"expost/internal/directory"
	"expost/internal/ldap"
	"expost/internal/mail"
)

// cache remembers lookups, those that found nothing too.
type cache struct {
	size int

	mu     sync.Mutex
	known  map[string]*lookup
	asking map[string]*question
}

// lookup is what was found.
type lookup struct {
	account *directory.Account // nil: nothing
	at      time.Time
}

// question is a lookup that is under way; who asks the same waits for it.
type question struct {
	done    chan struct{}
	account *directory.Account
	err     error
}

func newCache(size int) *cache {
	return &cache{size: size, known: map[string]*lookup{}, asking: map[string]*question{}}
}

func (c *cache) get(key string) *lookup {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[key]
}

// put remembers a lookup. Where there is no room any lookup gives way.
func (c *cache) put(key string, l *lookup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= c.size {
		for other := range c.known {
			delete(c.known, other)
			break
		}
	}
	c.known[key] = l
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.known)
}

// join returns the question of a key, and whether the caller is to answer it.
func (c *cache) join(key string) (*question, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.asking[key]; q != nil {
		return q, false
	}
	q := &question{done: make(chan struct{})}
	c.asking[key] = q
	return q, true
}

func (c *cache) answered(key string, q *question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asking, key)
	close(q.done)
}

// cached returns the one account that a filter finds and owns holds for, from
// memory where it was looked up a short while ago. None is mail.KindNotExist
// with the text missing, several are mail.KindConflict.
func (d *Directory) cached(ctx context.Context, key string, filter *ldap.Filter, owns func(*directory.Account) bool, missing string) (*directory.Account, error) {
	known, now := d.cache.get(key), d.opt.Now()
	fresh := known != nil && (known.account != nil && now.Sub(known.at) < d.opt.CacheTime || known.account == nil && now.Sub(known.at) < d.opt.NegativeTime)
	var acc *directory.Account
	if fresh {
		acc = known.account
	} else {
		q, mine := d.cache.join(key)
		if mine {
			// Others wait for it, so it does not end with who asked first.
			q.account, q.err = d.lookUp(context.WithoutCancel(ctx), key, filter, owns)
			d.cache.answered(key, q)
		}
		select {
		case <-q.done:
		case <-ctx.Done():
			return nil, mail.WrapError(mail.KindUnavailable, ctx.Err(), "the directory does not answer")
		}
		if q.err != nil {
			if mail.KindOf(q.err) == mail.KindUnavailable && known != nil && known.account != nil && now.Sub(known.at) < d.opt.StaleTime {
				return known.account.Clone(), nil
			}
			return nil, q.err
		}
		acc = q.account
	}
	if acc == nil {
		return nil, mail.Errorf(mail.KindNotExist, "%s", missing)
	}
	return acc.Clone(), nil
}

// lookUp asks the server and remembers the answer.
func (d *Directory) lookUp(ctx context.Context, key string, filter *ldap.Filter, owns func(*directory.Account) bool) (*directory.Account, error) {
	found, err := d.find(ctx, filter)
	if err != nil {
		return nil, err
	}
	var one *directory.Account
	for _, acc := range found {
		if owns != nil && !owns(acc) {
			continue
		}
		if one != nil {
			return nil, mail.Errorf(mail.KindConflict, "%s leads to %q and to %q: it must lead to one", key, one.DN, acc.DN)
		}
		one = acc
	}
	d.cache.put(key, &lookup{one, d.opt.Now()})
	return one, nil
}
