package nat_test

import (
	"strings"
	"testing"

	"spindle/datapath/packet"
)

// TestTCPTimers: RFC 5382 REQ-5: 2 hours 4 minutes while a connection stands, four
// minutes while it opens or closes. A step is the direction, then TCP's flags,
// "d" for data.
func TestTCPTimers(t *testing.T) {
	const opening, standing = 4 * 60, 2*3600 + 4*60
	for name, c := range map[string]struct {
		steps string
		lasts int64
	}{
		"SYN":                                  {">S", opening},
		"SYN and its answer":                   {">S <SA", opening},
		"handshake":                            {">S <SA >A", standing},
		"simultaneous open":                    {">S <S >SA <SA >A", standing},
		"found in the middle":                  {">Ad <A", standing},
		"half closed":                          {">S <SA >A >FA <A <Ad", standing},
		"closed by both":                       {">S <SA >A >FA <FA >A", opening},
		"closed by both at once":               {">S <SA >A >FA <FA <A >A", opening},
		"data that crosses the FIN":            {">S <SA >A >FA <Ad <FA >A", opening},
		"RST of the inside":                    {">S <SA >A >R", opening},
		"RST of the peer":                      {">S <SA >A <R", opening},
		"data that crosses the RST":            {">S <SA >A >R <Ad <Ad", opening},
		"refused":                              {">S <RA", opening},
		"a new connection from the same port":  {">S <SA >A >FA <FA >A >S <SA >A", standing},
		"another connection of the port lives": {">S <SA >A >FA <FA >A >Ad", standing},
	} {
		t.Run(name, func(t *testing.T) {
			n := table(t, 4)
			for _, step := range strings.Fields(c.steps) {
				var data []byte
				if strings.HasSuffix(step, "d") {
					data = []byte{1}
				}
				var v packet.Verdict
				if flags := step[1:]; step[0] == '>' {
					_, v = out(t, n, tcp(t, host, 5000, remote, 80, flags, data...), second)
				} else {
					_, v = in(t, n, tcp(t, remote, 80, outside, 5000, flags, data...), second)
				}
				refused(t, nil, v, packet.Pass)
			}
			n.Publish(c.lasts * second)
			if got := n.Usage().TCP; got != 1 {
				t.Errorf("after %d s it is gone", c.lasts-1)
			}
			n.Publish((c.lasts + 1) * second)
			if got := n.Usage().TCP; got != 0 {
				t.Errorf("after %d s it still stands", c.lasts)
			}
		})
	}
}
