package redistest

import (
	"bytes"
	"regexp"
	"strconv"
	"sync"
)

// Links are the connections to the servers of a cluster, or to those that Sentinels watch. The
// servers announce the addresses of proxies, so that all connections go through these, and those
// of one client can be held or cut. Its URL says which client it is, with client_name.
type Links struct {
	mu      sync.Mutex
	proxies map[*Proxy]bool
	hooks   map[string][2]Hook // name → up, down
}

func newLinks() *Links { return &Links{proxies: map[*Proxy]bool{}, hooks: map[string][2]Hook{}} }

// Pass is Proxy.Pass for the connections of a name, to all servers.
func (l *Links) Pass(name string, up, down Hook) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hooks[name] = [2]Hook{up, down}
}

// Cut ends all connections of a name that are open.
func (l *Links) Cut(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.proxies {
		p.cut(func(c *carried) bool { return c.named() == name })
	}
}

func (l *Links) hook(name string, up bool) Hook {
	l.mu.Lock()
	defer l.mu.Unlock()
	if up {
		return l.hooks[name][0]
	}
	return l.hooks[name][1]
}

// open starts a proxy on a port in front of a server.
func (l *Links) open(port, inner int) (*Proxy, error) {
	p, err := listen(":"+strconv.Itoa(port), "127.0.0.1:"+strconv.Itoa(inner), l)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proxies[p] = true
	return p, nil
}

func (l *Links) shut(p *Proxy) {
	l.mu.Lock()
	delete(l.proxies, p)
	l.mu.Unlock()
	p.close()
}

var setName = regexp.MustCompile(`(?i)\r\nsetname\r\n\$\d+\r\n([^\r]*)\r\n`)

// nameIn is the name that a client gives its connection in a piece of what it sends; "": none.
func nameIn(piece []byte) string {
	if len(piece) > 4096 || !bytes.Contains(bytes.ToLower(piece), []byte("setname")) {
		return ""
	}
	if found := setName.FindSubmatch(piece); found != nil {
		return string(found[1])
	}
	return ""
}
