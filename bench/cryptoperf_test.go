package bench

import (
	"strings"
	"testing"
)

func TestCryptoPerfReport(t *testing.T) {
	const report = `    # lcore id, ...
#lcore id,Buffer Size(B),Burst Size,Enqueued,Dequeued,Failed Enq,Failed Deq,Ops(Millions),Throughput(Gbps),Cycles/Buf

1,64,32,3000000,3000000,0,0,6.971,3.569,351.481
1,256,32,3000000,3000000,0,0,4.339,8.887,564.623
1,512,32,3000000,3000000,0,0,3.311,13.560,740.034
1,1024,32,3000000,3000000,0,0,1.982,16.241,1235.821
1,1400,32,3000000,3000000,0,0,1.562,17.499,1568.081
`
	got, err := readCryptoPerf(report, 2000)
	if err != nil || len(got) != 5 || got[64] != 351.481/2 || got[1400] != 1568.081/2 {
		t.Errorf("%v, %v", got, err)
	}
	for _, broken := range []string{
		"", strings.Replace(report, "1,512,", "1,513,", 1), strings.Replace(report, "740.034", "none", 1), strings.Replace(report, "740.034", "0", 1),
	} {
		if got, err := readCryptoPerf(broken, 2000); err == nil {
			t.Errorf("%q is taken for %v", broken, got)
		}
	}
}
