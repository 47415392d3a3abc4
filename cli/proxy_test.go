package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// devices: devices N CHANNEL ANSWER connects several devices, as device does.
func devices(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for i := range n {
		device(ts, neg, []string{fmt.Sprintf("device-%d", i+1), args[1], args[2]})
	}
}

// foreign: foreign STATUS BODY puts another service where the program looks for Fleetwire.
func foreign(ts *testscript.TestScript, _ bool, args []string) {
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	serveAs(ts, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			_, _ = fmt.Fprint(w, `{"messages":[]}`) // which no request should reach
			return
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, args[1])
	}))
}

// flaky puts a proxy before the service, which refuses the first GET.
func flaky(ts *testscript.TestScript, _ bool, _ []string) {
	service, err := url.Parse(worldOf(ts).url)
	ts.Check(err)
	proxy := httputil.NewSingleHostReverseProxy(service)
	var refused sync.Once
	serveAs(ts, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := proxy.ServeHTTP
		if r.Method == http.MethodGet {
			refused.Do(func() {
				answer = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "upstream", http.StatusServiceUnavailable) }
			})
		}
		answer(w, r)
	}))
}

// serveAs serves until the story ends, and sends the program there.
func serveAs(ts *testscript.TestScript, handler http.Handler) {
	server := httptest.NewServer(handler)
	ts.Defer(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	ts.Setenv("FLEETWIRE_URL", server.URL)
}
