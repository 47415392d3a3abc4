package node

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCheckHealth(t *testing.T) {
	var status int
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("as set"))
	}))
	all, err := net.Listen("tcp", ":0") // as in a container: on all addresses
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Listener.Close()
	server.Listener = all
	server.Start()
	_, port, _ := net.SplitHostPort(all.Addr().String())

	status = http.StatusOK
	for _, ops := range []string{":" + port, "0.0.0.0:" + port, "[::]:" + port, "127.0.0.1:" + port} {
		if err := CheckHealth(t.Context(), ops); err != nil {
			t.Errorf("%s: %v", ops, err)
		}
	}
	status = http.StatusInternalServerError
	if err := CheckHealth(t.Context(), ":"+port); err == nil || !strings.Contains(err.Error(), "500") || !strings.Contains(err.Error(), "as set") {
		t.Errorf("status 500: error %v", err)
	}
	server.Close()
	if err := CheckHealth(t.Context(), ":"+port); err == nil {
		t.Error("nobody there: no error")
	}
	for _, ops := range []string{"", "off", "8081"} {
		if err := CheckHealth(t.Context(), ops); err == nil || !strings.Contains(err.Error(), "-ops") {
			t.Errorf("%q: error %v, want one that names -ops", ops, err)
		}
	}
}
