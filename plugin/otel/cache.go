package nsqotel

import (
	"sync"
	"sync/atomic"
)

// maxCached is how many entries a cache may have. A program needs fewer. It bounds the memory
// that addresses of nsqds that come and go take.
const maxCached = 2000

// cache holds values made from keys, so that they are not made again for each message. A
// read takes no lock, because entries are added to a copy of the map. A full cache starts
// again from empty.
type cache[K comparable, V any] struct {
	entries atomic.Pointer[map[K]V]
	mu      sync.Mutex // held to replace entries
}

// get returns the value of a key, and makes it with value if there is none.
func (c *cache[K, V]) get(key K, value func(K) V) V {
	if entries := c.entries.Load(); entries != nil {
		if v, ok := (*entries)[key]; ok {
			return v
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	grown := map[K]V{}
	if entries := c.entries.Load(); entries != nil && len(*entries) < maxCached {
		for k, v := range *entries {
			grown[k] = v
		}
	}
	v := value(key)
	grown[key] = v
	c.entries.Store(&grown)
	return v
}
