package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// healthLimit bounds CheckHealth.
const healthLimit = 3 * time.Second

// CheckHealth asks the node on this machine whose operations address is ops for
// /healthz. It is what a container's health check runs, where the image has
// nothing else that could ask. It is about /healthz and not /readyz: a node that
// only waits for Redis must not be killed for it.
func CheckHealth(ctx context.Context, ops string) error {
	host, port, err := net.SplitHostPort(ops)
	if err != nil {
		return fmt.Errorf("there is no operations address to ask (-ops): %w", err)
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		host = "localhost" // it listens on all addresses, this one too
	}
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, port) + "/healthz"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("the operations address (-ops): %w", err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return fmt.Errorf("%s: %s: %s", url, response.Status, said)
	}
	return nil
}
