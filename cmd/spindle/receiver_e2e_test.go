package main_test

import (
	"net"
	"net/netip"
	"sync/atomic"
)

// receiver counts the datagrams that come to a port of host B.
type receiver struct{ n atomic.Int64 }

func (r *receiver) count() int { return int(r.n.Load()) }

func (b *bed) receive(at netip.Addr, port uint16) *receiver {
	b.t.Helper()
	r := &receiver{}
	check(b.t, b.B.Do(func() error {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, port)))
		if err != nil {
			return err
		}
		b.t.Cleanup(func() { c.Close() })
		if err := c.SetReadBuffer(4 << 20); err != nil {
			return err
		}
		go func() {
			buf := make([]byte, 2048)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
				r.n.Add(1)
			}
		}()
		return nil
	}))
	return r
}
