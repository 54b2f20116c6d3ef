package xsk_test

import (
	"net"
	"strings"
	"testing"

	"spindle/datapath/xsk"
)

func TestFrameSizeFollowsMTU(t *testing.T) {
	for _, c := range []struct {
		mtu, wanted int
		want        int
		refusal     string
	}{
		{1500, 0, 2048, ""},
		{1766, 0, 2048, ""},
		{1767, 0, 4096, ""},
		{1500, 4096, 4096, ""},
		{3814, 0, 4096, ""},
		{3815, 0, 0, "set the device's mtu to 3814 or less"},
		{9000, 4096, 0, "set the device's mtu to 3814 or less"},
		{1767, 2048, 0, "mtu 1767 is larger than the 1766 that frames of 2048 bytes carry: use frames of 4096 bytes"},
		{1500, 3000, 0, "frame size 3000: must be 2048 or 4096"},
	} {
		got, err := xsk.Options{FrameSize: c.wanted}.Sizes(c.mtu)
		if c.refusal != "" {
			if err == nil || !strings.Contains(err.Error(), c.refusal) {
				t.Errorf("mtu %d frames of %d: error %v, want %q", c.mtu, c.wanted, err, c.refusal)
			}
			continue
		}
		if err != nil || got.FrameSize != c.want {
			t.Errorf("mtu %d frames of %d: got %d, %v, want %d", c.mtu, c.wanted, got.FrameSize, err, c.want)
		}
	}
}

func TestSizes(t *testing.T) {
	c, err := xsk.Options{}.Sizes(1500)
	if err != nil || c.RXSize != 2048 || c.TXSize != 2048 || c.Frames != 4096 || c.HalfSize != 2048 {
		t.Errorf("defaults are %+v, %v", c, err)
	}
	for _, o := range []xsk.Options{
		{RingSize: 100}, {RingSize: -1}, {RingSize: 32}, {RingSize: 1 << 16},
		{Frames: 1000}, {Frames: 64}, {Frames: 1 << 17}, {TXBudget: 31}, {RingSize: 64, TXBudget: 65},
	} {
		if _, err := o.Sizes(1500); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestOpenRefusesAbsentDevice(t *testing.T) {
	if _, err := xsk.Open(xsk.Options{Name: "no-such-device", Queue: 3}); err == nil || !strings.Contains(err.Error(), "open xsk no-such-device:3:") {
		t.Errorf("error is %v", err)
	}
	if _, err := xsk.Open(xsk.Options{Ifindex: 1 << 30}); err == nil || !strings.Contains(err.Error(), "open xsk ifindex 1073741824:0:") {
		t.Errorf("error is %v", err)
	}
}

func TestOpenRefusesJumboDevice(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil || lo.MTU != 65536 {
		t.Skip("needs lo with its usual mtu")
	}
	if _, err := xsk.Open(xsk.Options{Name: "lo"}); err == nil || !strings.Contains(err.Error(), "open xsk lo:0: mtu 65536 is larger than the 3814") {
		t.Errorf("error is %v", err)
	}
}
