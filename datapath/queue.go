package datapath

// Queue is one RX and TX ring pair of a port, as its worker sees it: an AF_XDP
// socket, or plain memory in a test or bench. It is used by one goroutine only.
type Queue interface {
	// Peek fills frames with received Ethernet frames, at most len(frames), and
	// returns how many. They stay valid until Release.
	Peek(frames [][]byte) int
	// Release returns every peeked frame to the port.
	Release()
	// Reserve lends an empty TX frame of full length, or nil when TX is full.
	// The same frame comes again until it is submitted.
	Reserve() []byte
	// Submit queues the first n bytes of the reserved frame for sending.
	Submit(n int)
	// Flush makes submitted frames visible, wakes the kernel if it asks for
	// that, and collects completions. It never blocks.
	Flush() error
	// Pending is how many submitted frames the last Flush had to leave.
	Pending() int
	// Check is an error when the port is gone, for a worker that sends nothing.
	Check() error
	// FD is polled while the worker sleeps; -1 for none.
	FD() int
}
