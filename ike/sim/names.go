package sim

import (
	"fmt"

	"spindle/sadb"
)

// names calls an SPI by who chose it and when, so that ladders can be compared.
type names struct {
	known map[sadb.SPI]string
	count map[string]int
}

func newNames() names { return names{map[sadb.SPI]string{}, map[string]int{}} }

func (n *names) of(g *gateway, spi sadb.SPI) string {
	if name, ok := n.known[spi]; ok {
		return name
	}
	n.count[g.name]++
	n.known[spi] = fmt.Sprintf("%s.%d", g.name, n.count[g.name])
	return n.known[spi]
}
