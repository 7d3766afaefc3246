package memory

import (
	"container/heap"
	"context"
	"runtime"
	"sync"
	"time"
)

// queue is what can be purged some day, the soonest first, so that a purge looks
// at nothing else. It is a heap.
type queue[K any] []*turn[K]

// turn is when something can be purged, and its place in the queue.
type turn[K any] struct {
	key   K
	at    time.Time
	place int // in the queue, from 1; 0: it is not in it
}

// put puts t into the queue, or moves it.
func (q *queue[K]) put(t *turn[K], at time.Time) {
	switch {
	case t.place == 0:
		t.at = at
		heap.Push(q, t)
	case !at.Equal(t.at):
		t.at = at
		heap.Fix(q, t.place-1)
	}
}

// remove takes t out of the queue, if it is in it.
func (q *queue[K]) remove(t *turn[K]) {
	if t.place > 0 {
		heap.Remove(q, t.place-1)
	}
}

// purge takes at most limit turns that have come by now out of the queue, and
// forgets what they are of. It holds the lock for a few at a time: whoever waits
// for it waits less than a millisecond, however much there is to purge.
func purge[K any](ctx context.Context, b *Backend, mu *sync.Mutex, q *queue[K], now time.Time, limit int, forget func(K)) (int, error) {
	const chunk = 100
	purged := 0
	for {
		if err := b.ready(ctx); err != nil {
			return purged, err
		}
		n := func() int {
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for n < min(chunk, limit-purged) && len(*q) > 0 && !(*q)[0].at.After(now) {
				forget(heap.Pop(q).(*turn[K]).key)
				n++
			}
			return n
		}()
		purged += n
		runtime.Gosched() // or the lock is taken again before those who wait for it run
		if n < chunk {
			return purged, nil
		}
	}
}

// The methods of heap.Interface.

func (q queue[K]) Len() int           { return len(q) }
func (q queue[K]) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q queue[K]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

func (q *queue[K]) Push(x any) {
	t := x.(*turn[K])
	*q = append(*q, t)
	t.place = len(*q)
}

func (q *queue[K]) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil // so that the array does not hold it
	*q = (*q)[:last]
	t.place = 0
	return t
}
