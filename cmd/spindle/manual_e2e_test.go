package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spindle/cmd/internal/config"
	"spindle/sadb"
	"spindle/sadb/keysock"
	"spindle/tools/netlab"
)

// manual is a data path without a control process: the test speaks for it, and
// gives it keys by hand.
type manual struct {
	t *testing.T
	*keysock.Client
}

// manualDataPath starts the data path of a gateway in a namespace, as spindle run
// would: a channel on descriptor 3, and over it the settings and the key socket.
func (b *bed) manualDataPath(ns *netlab.NS, settings config.Datapath) *manual {
	b.t.Helper()
	channel, theirs := socketPair(b.t)
	key, theirKey := socketPair(b.t)
	var log bytes.Buffer
	cmd := ns.Command(b.t.Context(), b.exe, "datapath", "--log-level", "debug")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.ExtraFiles = []*os.File{theirs}
	check(b.t, cmd.Start())
	theirs.Close()
	b.t.Cleanup(func() {
		channel.Close() // it has lost its supervisor, and ends
		_ = cmd.Wait()
		if b.t.Failed() {
			b.t.Logf("log of the data path in %s:\n%s", ns.Name, log.String())
		}
	})
	send := func(m map[string]any, files ...*os.File) {
		text, err := json.Marshal(m)
		check(b.t, err)
		var rights []byte
		for _, f := range files {
			rights = unix.UnixRights(int(f.Fd()))
		}
		check(b.t, unix.Sendmsg(int(channel.Fd()), text, rights, nil, 0))
	}
	send(map[string]any{"kind": "start", "datapath": settings})
	check(b.t, unix.SetsockoptTimeval(int(channel.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)}))
	answer := make([]byte, 1<<16)
	n, err := unix.Read(int(channel.Fd()), answer)
	check(b.t, err)
	var said struct{ Kind, Error string }
	check(b.t, json.Unmarshal(answer[:n], &said))
	if said.Kind != "ready" {
		b.t.Fatalf("the data path says %s: %s", said.Kind, said.Error)
	}
	send(map[string]any{"kind": "keysock", "carries": []string{"keysock"}}, theirKey)
	theirKey.Close()
	conn, err := keysock.New(key)
	check(b.t, err)
	m := &manual{t: b.t, Client: keysock.NewClient(conn)}
	b.t.Cleanup(func() { m.Close() })
	return m
}

func socketPair(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	return os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
}

// tell sends messages, each of which must be done.
func (m *manual) tell(list ...keysock.Message) {
	m.t.Helper()
	for _, msg := range list {
		check(m.t, m.Call(m.t.Context(), msg))
	}
}

// usage is that of one direction of a pair.
func (m *manual) usage(pair sadb.SPI, dir sadb.Direction) keysock.Usage {
	m.t.Helper()
	all, err := m.Dump(m.t.Context())
	check(m.t, err)
	for _, u := range all {
		if u.SA.Pair == pair && u.SA.Direction == dir {
			return u
		}
	}
	m.t.Fatalf("no %v SA of pair %v: %+v", dir, pair, all)
	return keysock.Usage{}
}

// counters are all of the data path, by source and name.
func (m *manual) counters() map[string]uint64 {
	m.t.Helper()
	all, err := m.Stats(m.t.Context())
	check(m.t, err)
	sum := map[string]uint64{}
	for _, c := range all {
		for i, name := range c.Names {
			sum[c.Source+" "+name] += c.Values[i]
		}
	}
	return sum
}
