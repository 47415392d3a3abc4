package examples

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

// provisioningSecret is what all cameras left the factory with.
const provisioningSecret = "a provisioning secret"

var provisioned = []string{"FLEETWIRE_PROVISIONING_SECRET=" + provisioningSecret}

// TestTokenServer checks what the provisioning backend signs, claim by claim, for
// any device, with both spellings of its secret key.
func TestTokenServer(t *testing.T) {
	for _, key := range []string{keyID + ":" + secret, keyID + "_secret_" + secret} {
		t.Run(key[len(keyID):len(keyID)+1], func(t *testing.T) {
			server := startTokenServer(t, key)
			for _, device := range []string{"camera-001", "camera-7777", "aa:bb:cc:dd:ee:ff", "urn:dev:mac:0024beff?x=1&y", "a b+c%2F", "...", strings.Repeat("d", 128)} {
				before := time.Now().Unix()
				var answer struct {
					Token, Fleet string
					ExpiresAt    int64
				}
				if status := ask(t, server+"/token?device="+url.QueryEscape(device), provisioningSecret, &answer); status != http.StatusOK {
					t.Fatalf("%s: status %d, want 200", device, status)
				}
				parts := strings.Split(answer.Token, ".")
				if len(parts) != 3 {
					t.Fatalf("not a JWT: %d parts", len(parts))
				}
				header, claims := decodePart(t, parts[0]), decodePart(t, parts[1])
				if header["alg"] != "HS256" || header["kid"] != keyID {
					t.Errorf("header %v; want alg HS256 and kid %s", header, keyID)
				}
				exp, _ := claims["exp"].(float64)
				if int64(exp) < before+3600 || int64(exp) > time.Now().Unix()+3600 || int64(exp) != answer.ExpiresAt {
					t.Errorf("exp %v, expiresAt %d; want an hour from now", claims["exp"], answer.ExpiresAt)
				}
				delete(claims, "exp")
				delete(claims, "iat")
				want := map[string]any{
					"sub":         device,
					"channels":    []any{"devices/" + device + "/events", "devices/" + device + "/commands", "fleets/fleet-northeast/commands"},
					"permissions": []any{"publish", "subscribe"},
				}
				if !reflect.DeepEqual(claims, want) {
					t.Errorf("claims %v, want %v", claims, want)
				}
			}
		})
	}
}

// HOSTILE: who lacks the secret gets no token, and a device's id can't widen the
// token beyond that device's channels.
func TestTokenServerRefuses(t *testing.T) {
	server := startTokenServer(t, keyID+":"+secret)
	const device = "/token?device=camera-001"
	tests := []struct {
		name, path, secret string
		status             int
		says               string
	}{
		{"no secret", device, "", 401, "unauthorized"},
		{"a wrong secret", device, "a provisioning secreT", 401, "unauthorized"},
		{"the beginning of the secret", device, provisioningSecret[:5], 401, "unauthorized"},
		{"a secret beyond ASCII", device, "secr\xc3\xa9t", 401, "unauthorized"},
		{"the secret key", device, keyID + ":" + secret, 401, "unauthorized"},
		{"no secret, and a bad device", "/token?device=*", "", 401, "unauthorized"},
		{"another path", "/", provisioningSecret, 404, "not_found"},
		{"a path that is no URL", "//[", provisioningSecret, 404, "not_found"},
		{"no device", "/token", provisioningSecret, 400, "invalid_request"},
		{"two devices", device + "&device=camera-002", provisioningSecret, 400, "invalid_request"},
		{"an empty device", "/token?device=", provisioningSecret, 400, "invalid_device"},
		{"every device", "/token?device=*", provisioningSecret, 400, "invalid_device"},
		{"several levels", "/token?device=camera-001%2F..%2F**", provisioningSecret, 400, "invalid_device"},
		{"a level up", "/token?device=..", provisioningSecret, 400, "invalid_device"},
		{"an escape", "/token?device=%5C%2A", provisioningSecret, 400, "invalid_device"},
		{"a line break", "/token?device=camera%0A", provisioningSecret, 400, "invalid_device"},
		{"beyond ASCII", "/token?device=cam%C3%A9ra", provisioningSecret, 400, "invalid_device"},
		{"bytes that are no UTF-8", "/token?device=%FF%FE", provisioningSecret, 400, "invalid_device"},
		{"over 128 characters", "/token?device=" + strings.Repeat("d", 129), provisioningSecret, 400, "invalid_device"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var refusal map[string]any
			if status := ask(t, server+tt.path, tt.secret, &refusal); status != tt.status || refusal["error"] != tt.says || refusal["message"] == "" || refusal["token"] != nil {
				t.Errorf("status %d, %v; want %d, %s and no token", status, refusal, tt.status, tt.says)
			}
		})
	}
	response, err := http.Post(server+device, "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var refusal map[string]any
	if err := json.NewDecoder(response.Body).Decode(&refusal); err != nil || response.StatusCode != 501 || refusal["error"] != "invalid_request" {
		t.Errorf("POST: %d, %v, %v", response.StatusCode, refusal, err)
	}
}

// Without a provisioning secret the server is for trying things out on one machine.
func TestTokenServerWithoutAProvisioningSecret(t *testing.T) {
	python := pythonPath(t)
	env := []string{"FLEETWIRE_SECRET_KEY=" + keyID + ":" + secret, "FLEETWIRE_PROVISIONING_SECRET="}
	p := start(t, "token server", env, python, "examples/python/token_server.py", "--port", "0")
	l := p.await(t, "line with its address", 1, func(l line) bool { return strings.HasPrefix(l.text, "listening on ") })
	var answer struct{ Token string }
	if status := ask(t, strings.TrimPrefix(l.text, "listening on ")+"/token?device=camera-001", "", &answer); status != 200 || answer.Token == "" {
		t.Errorf("status %d without a provisioning secret on 127.0.0.1, want a token", status)
	}
	if got := p.stderr(); !strings.Contains(got, "warning: FLEETWIRE_PROVISIONING_SECRET is not set") {
		t.Errorf("it says %q, want a warning", got)
	}

	cmd := exec.Command(python, "examples/python/token_server.py", "--port", "0", "--host", "0.0.0.0")
	cmd.Dir = root
	cmd.Env = append(withoutFleetwire(os.Environ()), env...)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "FLEETWIRE_PROVISIONING_SECRET is not set, and --host 0.0.0.0 is open to others") {
		t.Errorf("open to others it says %q (%v), want a refusal", out, err)
	}
}

// ask makes a GET that shows the secret, unless that is empty.
func ask(t *testing.T, target, secret string, v any) (status int) {
	t.Helper()
	scheme, rest, _ := strings.Cut(target, "://")
	host, path, _ := strings.Cut(rest, "/")
	request := &http.Request{Method: "GET", Host: host, Header: http.Header{}, URL: &url.URL{Scheme: scheme, Host: host, Opaque: "/" + path}}
	if secret != "" {
		request.Header.Set("Authorization", "Bearer "+secret)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(v); err != nil {
		t.Fatalf("GET %s: %v", target, err)
	}
	return response.StatusCode
}

func decodePart(t *testing.T, part string) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
