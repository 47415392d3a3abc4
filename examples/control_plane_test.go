package examples

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestControlPlane checks the one request that each command is.
func TestControlPlane(t *testing.T) {
	node := nodePath(t)
	tests := []struct {
		name     string
		args     []string
		status   int    // the service's answer
		wantURI  string // "" when no request is wanted
		wantBody string
		wantExit int
		wantErr  string // on standard error
	}{
		{name: "a device's command", args: []string{"reboot", "camera-001"}, status: 200,
			wantURI:  "/v1/channels/devices%2Fcamera-001%2Fcommands/publish",
			wantBody: `{"from":"control-plane","data":{"cmd":"reboot"}}`},
		{name: "a fleet's command", args: []string{"set-frame-rate", "fleet-northeast", "12"}, status: 200,
			wantURI:  "/v1/channels/fleets%2Ffleet-northeast%2Fcommands/publish",
			wantBody: `{"from":"control-plane","data":{"cmd":"set-frame-rate","fps":12}}`},
		{name: "a name that must be escaped", args: []string{"reboot", "a?b/ü%"}, status: 200,
			wantURI:  "/v1/channels/devices%2Fa%3Fb%2F%C3%BC%25%2Fcommands/publish",
			wantBody: `{"from":"control-plane","data":{"cmd":"reboot"}}`},
		{name: "refused", args: []string{"reboot", "camera-001"}, status: 403,
			wantURI:  "/v1/channels/devices%2Fcamera-001%2Fcommands/publish",
			wantBody: `{"from":"control-plane","data":{"cmd":"reboot"}}`,
			wantExit: 1, wantErr: `403 {"error":"refused"}`},
		{name: "no command", wantExit: 2, wantErr: "no command given"},
		{name: "unknown command", args: []string{"toString", "camera-001"}, wantExit: 2, wantErr: "no command toString"},
		{name: "no target", args: []string{"reboot"}, wantExit: 2, wantErr: "needs the device or the fleet"},
		{name: "a frame rate that is none", args: []string{"set-frame-rate", "camera-001", "fast"}, wantExit: 2, wantErr: "a number over 0, not fast"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var uri, body, authorization string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					t.Errorf("read the body: %v", err)
				}
				uri, body, authorization = r.RequestURI, string(b), r.Header.Get("Authorization")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, map[bool]string{true: `{"channel":"c","subscribers":3}`, false: `{"error":"refused"}`}[tt.status == 200])
			}))
			defer s.Close()
			cmd := exec.Command(node, append([]string{"examples/node/control-plane.mjs"}, tt.args...)...)
			cmd.Dir = root
			cmd.Env = append(withoutFleetwire(os.Environ()), serviceEnv(s.URL, keyID+":"+secret)...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			s.Close() // the handler is done: what it noted may be read
			if exit := cmd.ProcessState.ExitCode(); exit != tt.wantExit {
				t.Errorf("exit code %d, want %d", exit, tt.wantExit)
			}
			if !strings.Contains(stderr.String(), tt.wantErr) {
				t.Errorf("standard error %q, want %q in it", &stderr, tt.wantErr)
			}
			if uri != tt.wantURI || body != tt.wantBody {
				t.Errorf("requested %s with %s;\nwant %s with %s", uri, body, tt.wantURI, tt.wantBody)
			}
			if tt.wantURI != "" && authorization != "Bearer "+keyID+":"+secret {
				t.Errorf("Authorization is not the secret key as a bearer")
			}
			want := ""
			if tt.wantExit == 0 {
				want = `{"channel":"c","subscribers":3}` + "\n"
			}
			if stdout.String() != want {
				t.Errorf("it printed %q, want %q", &stdout, want)
			}
		})
	}
}
