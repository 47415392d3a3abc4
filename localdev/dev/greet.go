package dev

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"fleetwire/fanout/node"
	"fleetwire/pkg/apps"
)

// greet prints where everything is and what to paste to try it. The secret key
// goes to the terminal of the person who started localdev, never into a log: with JSON
// logs, standard output is likely to be collected with them.
func greet(out io.Writer, c node.Config, appsSpec string, n *node.Node, directory *apps.Directory, tool bool) {
	w := new(bytes.Buffer) // one write, so that it is kept or dropped as a whole
	defer func() { _, _ = out.Write(w.Bytes()) }()
	base := "http://" + n.Addr()
	fmt.Fprintf(w, "listening on %s\n", base)
	if n.OpsAddr() != "" {
		fmt.Fprintf(w, "operations   http://%s/readyz /healthz /metrics\n", n.OpsAddr())
	}
	fmt.Fprintf(w, "console      %s/console/ (sign in with a secret key)\n", base)
	if c.Redis == "" {
		fmt.Fprintln(w, "redis        embedded, in memory (-redis redis://127.0.0.1:6379 for a real one)")
	} else {
		fmt.Fprintln(w, "redis        as given by -redis")
	}
	if strings.HasPrefix(appsSpec, "{") {
		appsSpec = "as given by -apps"
	}
	fmt.Fprintf(w, "apps         %s\n", appsSpec)
	key := directory.FirstSecretKey()
	if key == nil {
		fmt.Fprintln(w, "\nThe apps document has no secret key, so there is nothing to mint tokens with.")
		return
	}
	if c.LogFormat == "json" {
		fmt.Fprintf(w, "secret key   of key %s, not shown with -log-format json; it is in the apps document\n", key.ID)
		return
	}
	credential := key.Credential()
	fmt.Fprintf(w, "secret key   %s\n", credential)
	if tool {
		greetTool(w, c, base, credential)
		return
	}
	fmt.Fprintf(w, `
Paste into another terminal, in this folder:

  export FLEETWIRE_URL=%s FLEETWIRE_SECRET_KEY=%s

  # start a camera, and command it in the console
  go run ./examples/go/camera -device camera-001

  # or do by hand what a device does: mint a token for it
  TOKEN=$(curl -s $FLEETWIRE_URL/v1/tokens -H "Authorization: Bearer $FLEETWIRE_SECRET_KEY" \
    -d '{"peerId":"camera-001","channels":["devices/camera-001/*"]}' -H 'Content-Type: application/json' | sed 's/.*"token":"\([^"]*\)".*/\1/')

  # open a socket as the device, and hear its commands (type further frames, Ctrl-C ends)
  go run ./examples/go/socket -token $TOKEN -subscribe devices/camera-001/commands

  # from a third terminal: publish a command with one request
  curl $FLEETWIRE_URL/v1/channels/devices%%2Fcamera-001%%2Fcommands/publish -H "Authorization: Bearer $FLEETWIRE_SECRET_KEY" \
    -d '{"data":{"cmd":"reboot"}}' -H 'Content-Type: application/json'

`, base, credential)
}

// greetTool prints commands to try. In this folder they find the service and its key by
// themselves, if both are where they look.
func greetTool(w io.Writer, c node.Config, base, credential string) {
	fmt.Fprint(w, "\nTry, in other terminals in this folder:\n\n")
	if c.Apps != "" {
		fmt.Fprintf(w, "  export FLEETWIRE_URL=%s FLEETWIRE_SECRET_KEY=%s\n", base, credential)
	} else if base != "http://127.0.0.1:8080" {
		fmt.Fprintf(w, "  export FLEETWIRE_URL=%s\n", base)
	}
	fmt.Fprint(w, `  fleetwire sub 'devices/**'
  fleetwire pub devices/camera-001/events '{"motion":true}'
  fleetwire token camera-001 --channel 'devices/camera-001/*'
  fleetwire peers
  fleetwire --help

`)
}
