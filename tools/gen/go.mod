// The generator has a module of its own, so that Spindle does not depend on avo.
// avo v0.6.0 is the first with VAES and VPCLMULQDQ on 512 bits; the x/tools it
// names does not compile with Go 1.26, hence the later one.
module spindle/tools/gen

go 1.26

require github.com/mmcloughlin/avo v0.6.0

require (
	golang.org/x/mod v0.38.0 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/tools v0.48.0 // indirect
)
