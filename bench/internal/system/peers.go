//go:build linux

package system

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"fleetwire/bench/internal/wire"
)

// startNATS starts servers that listen for WebSockets, as a cluster if they are several.
func (e *Env) startNATS(s *System, nodes int) error {
	program := find(programs[s.Name][0])
	a, err := freeAddresses(3 * nodes)
	if err != nil {
		return err
	}
	own, routes := a[nodes:2*nodes], a[2*nodes:]
	s.Dialect, s.Addresses = wire.NATS{}, a[:nodes]
	for i, address := range s.Addresses {
		text := fmt.Sprintf("server_name: node-%d\nlisten: %q\nmax_connections: 1000000\nwebsocket { listen: %q, no_tls: true, compression: false }\n", i, own[i], address)
		if s.Name == JetStream {
			s.Dialect = wire.JetStream{}
			text += fmt.Sprintf("jetstream { store_dir: %q }\n", filepath.Join(e.Dir, "jetstream-"+port(address)))
		}
		if nodes > 1 {
			text += fmt.Sprintf("cluster { name: bench, listen: %q, routes: [ nats://%s ] }\n", routes[i], strings.Join(routes, ", nats://"))
		}
		config, err := e.write(fmt.Sprintf("nats-%d.conf", i), []byte(text))
		if err != nil {
			return err
		}
		if _, err := e.startNode(s, []string{address}, program, "-c", config); err != nil {
			return err
		}
	}
	return nil
}

// The keys of Centrifugo. Nothing but this machine can reach it.
const (
	centrifugoTokenKey = "the benchmark's key of tokens"
	centrifugoAPIKey   = "the-benchmarks-key-of-the-API"
)

// startCentrifugo starts servers on one Redis. Like Fleetwire, they verify a token
// for every connection.
func (e *Env) startCentrifugo(s *System, nodes int) error {
	redis, err := e.startRedis(s)
	if err != nil {
		return err
	}
	if s.Addresses, err = freeAddresses(nodes); err != nil {
		return err
	}
	s.Dialect, s.REST = wire.Centrifugo{TokenKey: centrifugoTokenKey, APIKey: centrifugoAPIKey}, s.Addresses[0]
	for i, address := range s.Addresses {
		config, err := e.write(fmt.Sprintf("centrifugo-%d.json", i), centrifugoConfig(address, redis))
		if err != nil {
			return err
		}
		p, err := e.startNode(s, []string{address}, find(peerCentrifugo), "--config", config)
		if err != nil {
			return err
		}
		if err := p.awaitReady("http://" + address + "/health"); err != nil {
			return err
		}
	}
	return nil
}

// centrifugoConfig has the pings of Centrifugo's own protocol, which the load
// generator does not answer, come rarely and need no answer.
func centrifugoConfig(address, redis string) []byte {
	host, _, _ := strings.Cut(address, ":")
	number, _ := strconv.Atoi(port(address))
	type object = map[string]any
	text, err := json.Marshal(object{
		"http_server": object{"address": host, "port": number},
		"log":         object{"level": "error"},
		"engine":      object{"type": "redis", "redis": object{"address": "redis://" + redis}},
		"client": object{
			"token":         object{"hmac_secret_key": centrifugoTokenKey},
			"ping_interval": "24h", "pong_timeout": "-1s",
		},
		"channel": object{
			"without_namespace": object{"allow_subscribe_for_client": true, "allow_publish_for_client": true},
			"namespaces":        []any{namespace(Last, 1), namespace(Remembered, 100)},
		},
		"http_api":    object{"key": centrifugoAPIKey},
		"health":      object{"enabled": true},
		"usage_stats": object{"disabled": true},
	})
	if err != nil {
		panic(err) // strings and numbers
	}
	return text
}

func namespace(name string, size int) map[string]any {
	return map[string]any{
		"name": name, "history_size": size, "history_ttl": "1h",
		"allow_subscribe_for_client": true, "allow_publish_for_client": true,
	}
}

func (e *Env) startMosquitto(s *System) error {
	a, err := freeAddresses(2)
	if err != nil {
		return err
	}
	config, err := e.write("mosquitto.conf", fmt.Appendf(nil, `user %s
log_type error
log_dest stderr
persistence false
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 0
listener %s 127.0.0.1
listener %s 127.0.0.1
protocol websockets
max_connections -1
`, userName(), port(a[0]), port(a[1]))) // the first only because 2.0.11 does not start without one for bare MQTT
	if err != nil {
		return err
	}
	s.Dialect, s.Addresses = wire.MQTT{}, a[1:]
	_, err = e.startNode(s, s.Addresses, find("mosquitto"), "-c", config)
	return err
}

// write writes a configuration file.
func (e *Env) write(name string, text []byte) (path string, err error) {
	path = filepath.Join(e.Dir, name)
	return path, os.WriteFile(path, text, 0o600)
}
