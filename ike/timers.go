package ike

import (
	"container/heap"
	"time"
)

// timer is something that wants to be woken: an IKE SA or a connection.
type timer struct {
	at    time.Time // zero for never
	index int       // in the heap, -1 outside
	order uint64    // equal times fire in the order of creation
	fire  func(now time.Time)
}

// timers is a heap, so that thousands of idle peers cost nothing (D10).
type timers struct {
	heap  timerHeap
	count uint64
}

func (t *timers) add(fire func(time.Time)) *timer {
	t.count++
	return &timer{index: -1, order: t.count, fire: fire}
}

// set moves a timer; the zero time stops it.
func (t *timers) set(timer *timer, at time.Time) {
	switch {
	case at.IsZero():
		if timer.index >= 0 {
			heap.Remove(&t.heap, timer.index)
		}
	case timer.index < 0:
		timer.at = at
		heap.Push(&t.heap, timer)
	default:
		timer.at = at
		heap.Fix(&t.heap, timer.index)
	}
	timer.at = at
}

// deadline is when the first one fires, zero for never.
func (t *timers) deadline() time.Time {
	if len(t.heap) == 0 {
		return time.Time{}
	}
	return t.heap[0].at
}

// due takes out the first timer that has come, or nil.
func (t *timers) due(now time.Time) *timer {
	if len(t.heap) == 0 || t.heap[0].at.After(now) {
		return nil
	}
	first := t.heap[0]
	heap.Remove(&t.heap, 0)
	first.at = time.Time{}
	return first
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].order < h[j].order
	}
	return h[i].at.Before(h[j].at)
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	timer := x.(*timer)
	timer.index = len(*h)
	*h = append(*h, timer)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	timer := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	timer.index = -1
	return timer
}
