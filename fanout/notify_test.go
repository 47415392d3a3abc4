package main

import (
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A unit with Type=notify hears when the node accepts connections, and when it drains.
func TestSystemdIsNotified(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	hear := func(want string) {
		t.Helper()
		_ = manager.SetReadDeadline(time.Now().Add(patience))
		said := make([]byte, 100)
		if n, err := manager.Read(said); err != nil || string(said[:n]) != want {
			t.Fatalf("systemd hears %q, %v; want %s", said[:n], err, want)
		}
	}
	p := startProcess(t, []string{"NOTIFY_SOCKET=" + socket})
	hear("READY=1")
	response, err := http.Get("http://" + p.ops + "/readyz")
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("/readyz of a node that says that it is ready: %v, %v", response, err)
	}
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	p.signal(syscall.SIGTERM)
	hear("STOPPING=1")
	p.wantExit0()
}
