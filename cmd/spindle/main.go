// Spindle is an IPsec gateway in one binary: run starts and supervises its two
// processes, the others talk to a running gateway or check its configuration.
//
// The joining of the rooms happens in two files: datapath.go and control.go.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
