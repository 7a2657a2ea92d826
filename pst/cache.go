package pst

import (
	"container/list"
	"sync"
)

// cache keeps values up to a total cost, the least recently used leaving first.
// It may be used by several goroutines.
type cache[V any] struct {
	mu    sync.Mutex
	limit int
	cost  int
	items map[uint64]*list.Element
	order list.List // of cached[V], the newest in front
}

type cached[V any] struct {
	key   uint64
	value V
	cost  int
}

func newCache[V any](limit int) *cache[V] {
	return &cache[V]{limit: limit, items: make(map[uint64]*list.Element)}
}

func (c *cache[V]) get(key uint64) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(cached[V]).value, true
}

func (c *cache[V]) put(key uint64, v V, cost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[key]; ok || cost > c.limit {
		return
	}
	c.items[key] = c.order.PushFront(cached[V]{key, v, cost})
	for c.cost += cost; c.cost > c.limit; {
		last := c.order.Back()
		old := c.order.Remove(last).(cached[V])
		delete(c.items, old.key)
		c.cost -= old.cost
	}
}
