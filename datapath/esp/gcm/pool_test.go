package gcm_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"spindle/datapath/esp/gcm"
)

func TestCloseOverwritesTheKey(t *testing.T) { each(t, closeOverwritesTheKey) }

func closeOverwritesTheKey(t *testing.T, v gcm.Variant) {
	p := gcm.Pool{Variant: v}
	keep, err := p.New(counting(16, 9), counting(4, 9))
	if err != nil {
		t.Fatal(err)
	}
	key := counting(32, 0x41)
	c, err := p.New(key, counting(4, 1))
	if err != nil {
		t.Fatal(err)
	}
	memory := gcm.Memory(c)
	if !bytes.Contains(memory, key) {
		t.Fatal("this is not where the key is")
	}
	c.Close()
	if !bytes.Equal(memory, make([]byte, len(memory))) {
		t.Errorf("after Close: %x", memory)
	}
	if err := p.Close(); err == nil {
		t.Error("the pool went away under an open context")
	}
	if got := make([]byte, 16); !keep.Seal(got, nil, 1, nil) {
		t.Error("a refused Close took the memory")
	}
	keep.Close()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestManyContextsShareMappings counts the mappings and looks at their flags:
// lo is locked, dd is left out of dumps (proc(5)).
func TestManyContextsShareMappings(t *testing.T) { each(t, manyContextsShareMappings) }

func manyContextsShareMappings(t *testing.T, v gcm.Variant) {
	const count = 5000
	p := gcm.Pool{Variant: v}
	at, open := map[uintptr]bool{}, make([]*gcm.Context, 0, count)
	for range count {
		c, err := p.New(counting(16, 1), counting(4, 1))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		at[uintptr(unsafe.Pointer(unsafe.SliceData(gcm.Memory(c))))] = true
	}
	if len(at) != count {
		t.Errorf("%d contexts at %d addresses", count, len(at))
	}
	found := 0
	mappings := mappingsOf(t, at, &found)
	if found != count || len(mappings) > count/300 {
		t.Errorf("%d contexts found in %d mappings, want %d in at most %d", found, len(mappings), count, count/300)
	}
	for _, flags := range mappings {
		if !strings.Contains(flags+" ", " lo ") || !strings.Contains(flags+" ", " dd ") {
			t.Errorf("mapping is not locked, or is dumped: %s", flags)
		}
	}
	for _, c := range open {
		c.Close()
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// mappingsOf returns the flags of each mapping that holds one of the addresses.
func mappingsOf(t *testing.T, at map[uintptr]bool, found *int) []string {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	var all []string
	ours := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			ours = false
			for a := range at {
				if a >= from && a < to {
					ours = true
					*found++
				}
			}
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && ours {
			all = append(all, flags)
		}
	}
	return all
}

// TestContextsComeAndGoTogether is for the race detector: keys are made and
// dropped beside packets that use other keys.
func TestContextsComeAndGoTogether(t *testing.T) { each(t, contextsComeAndGoTogether) }

func contextsComeAndGoTogether(t *testing.T, v gcm.Variant) {
	p := gcm.Pool{Variant: v}
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			key, text := counting(16, byte(worker)), counting(100, 1)
			aead, got := standard(t, key), make([]byte, 116)
			for i := range 300 {
				c, err := p.New(key, key[:4])
				if err != nil {
					t.Error(err)
					return
				}
				c.Seal(got, text, uint64(i), key[:8])
				if want := aead.Seal(nil, nonceOf(key[:4], uint64(i)), text, key[:8]); !bytes.Equal(got, want) {
					t.Errorf("worker %d, packet %d: differs", worker, i)
				}
				c.Close()
			}
		})
	}
	all.Wait()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestPacketsAllocateNothing(t *testing.T) { each(t, packetsAllocateNothing) }

func packetsAllocateNothing(t *testing.T, v gcm.Variant) {
	c := context(t, v, counting(16, 1), counting(4, 1))
	sealed, opened := make([]byte, 1400+gcm.TagSize), make([]byte, 1400)
	allocated := testing.AllocsPerRun(100, func() {
		var aad [12]byte // on the stack: the kernel keeps no pointer
		c.Seal(sealed, opened, 1, aad[:])
		c.SealTail(sealed, opened[:1396], 2, 4, 1, aad[:])
		sealed[0] ^= 1
		c.Open(opened, sealed, 1, aad[:])
		sealed[0] ^= 1
		c.Open(opened, sealed, 1, aad[:])
	})
	if allocated != 0 {
		t.Errorf("%v allocations per packet", allocated)
	}
}
