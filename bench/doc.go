// Package bench measures Spindle, and says what it does not measure.
//
// [Pipeline] runs the real worker on ports that are plain memory: what a packet
// costs us on one core, from parsing to the frame ready to send. [Crypto] runs
// the cipher suites alone. [Veth] searches the highest rate without loss over
// real AF_XDP sockets in network namespaces.
//
// Every figure comes with the machine it was taken on, and every run checks its
// own packets: what came out is opened or compared, and the counters of the
// worker and of its SAs must account for each packet, else there is no result.
package bench
