package ladder

import (
	"fmt"
	"maps"
	"slices"

	"spindle/sadb"
)

// Check compares the databases of all gateways: both ends hold the same SAs once
// nothing is under way.
func (w *World) Check() {
	for _, name := range w.Names() {
		g := w.Gateways[name]
		if g.SPIs() != len(g.In) {
			w.T.Errorf("%s holds %d SPIs for %d inbound SAs", name, g.SPIs(), len(g.In))
		}
		if st := g.Engine.Status(w.Now); len(st.Children) != len(g.In) {
			w.T.Errorf("%s shows %d child SAs and holds %d", name, len(st.Children), len(g.In))
		}
		for pair, out := range g.Out {
			if !w.Heard(g, out) {
				w.T.Errorf("%s sends on %s, which nobody holds with that key", name, w.spi(g, pair))
			}
		}
	}
}

// Heard tells whether another gateway holds the other half of an outbound SA.
func (w *World) Heard(g *Gateway, out sadb.SA) bool {
	for _, other := range w.Gateways {
		if in, ok := other.In[out.SPI]; ok && other != g && slices.Equal(in.Key, out.Key) && in.Suite == out.Suite {
			return true
		}
	}
	return false
}

// HalfOpen counts the IKE SAs of a gateway whose peer has proved nothing.
func (w *World) HalfOpen(g *Gateway) int {
	n := 0
	for _, st := range g.Engine.Status(w.Now).IKE {
		if st.State == w.version.HalfOpen {
			n++
		}
	}
	return n
}

// OnlyEstablished checks that strangers left nothing behind.
func (w *World) OnlyEstablished(g *Gateway) {
	w.T.Helper()
	st := g.Engine.Status(w.Now)
	if len(st.IKE) != 1 || st.IKE[0].State != w.version.Established {
		w.T.Errorf("%s holds %d IKE SAs, first %+v", g.Name, len(st.IKE), st.IKE)
	}
}

// databases prints what all data paths hold.
func (w *World) databases() string {
	text := ""
	for _, name := range w.Names() {
		g := w.Gateways[name]
		text += name
		for _, pair := range slices.Sorted(maps.Keys(g.In)) {
			text += fmt.Sprintf(" in %v %v", pair, g.In[pair].Key)
		}
		for _, pair := range slices.Sorted(maps.Keys(g.Out)) {
			text += fmt.Sprintf(" out %v %v", pair, g.Out[pair].Key)
		}
		text += fmt.Sprintf(" policies %d\n", len(g.Policies))
	}
	return text
}
