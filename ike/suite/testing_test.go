package suite_test

import (
	"net/netip"

	"github.com/google/go-cmp/cmp"
)

// selectorOptions let go-cmp compare addresses, which have no exported fields.
var selectorOptions = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
