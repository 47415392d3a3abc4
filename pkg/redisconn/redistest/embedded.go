package redistest

import (
	"net"
	"strconv"
	"testing"
)

// Closing is an embedded Redis that is closed, and started again at its port.
type Closing interface {
	Addr() string
	Close()
	Restart() error
}

// Close closes an embedded Redis, and keeps other servers from taking its port until back
// starts it there again.
func Close(t testing.TB, m Closing) (back func()) {
	t.Helper()
	_, text, err := net.SplitHostPort(m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	letGo := holdPort(port)
	t.Cleanup(func() { letGo() })
	return func() {
		t.Helper()
		letGo()
		letGo = func() {}
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
}
