package redisconn

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redact"
)

const forms = "redis://[user:password@]host:port[/database number] for one server or any node of a cluster, " +
	"redis://[user:password@]host:port,host:port for nodes of a cluster, redis+sentinel://[user:password@]host:port,host:port/name for Sentinels and the name of their primary, " +
	"rediss:// and rediss+sentinel:// for TLS, or unix:// for a socket"

var (
	errScheme   = errors.New("the Redis URL must begin with redis://, rediss:// (TLS), redis+sentinel://, rediss+sentinel:// or unix://, as in redis://127.0.0.1:6379/0")
	errURL      = errors.New("the Redis URL cannot be read; want " + forms + ", with characters such as / ? # % [ in the password written as %2F %3F %23 %25 %5B")
	errDatabase = errors.New("the Redis URL has a database number, and a Redis Cluster has none but 0; leave the number out, as in redis://host:6379")
	errName     = errors.New("the Redis URL must end in the name that the Sentinels know the primary by, as in redis+sentinel://host:26379,host:26379/mymaster")
	errSentinel = errors.New("the Redis URL has sentinel_user without sentinel_password; want both, as in redis+sentinel://host:26379/mymaster?sentinel_user=user&sentinel_password=password, or neither")
)

// location is what a Redis URL says.
type location struct {
	opt *redis.Options // of a connection to Redis; its address is the first of addrs
	// addrs are those of one server, of nodes of a cluster, or of Sentinels.
	addrs    []string
	sentinel *sentinelOptions // nil: none
}

// sentinelOptions are how Sentinels are asked.
type sentinelOptions struct{ primary, user, password string }

func (l *location) cluster() bool { return l.sentinel == nil && len(l.addrs) > 1 }

// locate reads a URL. An error never contains a part of it.
func locate(given string) (*location, error) {
	scheme, rest, _ := strings.Cut(given, "://")
	plain, isSentinel := strings.CutSuffix(scheme, "+sentinel")
	switch {
	case scheme == "unix":
		return single(given)
	case plain != "redis" && plain != "rediss":
		return nil, errScheme
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	at := strings.LastIndex(authority, "@") + 1
	user, hosts := authority[:at], strings.Split(authority[at:], ",")
	if len(hosts) == 1 && !isSentinel {
		return single(given)
	}
	l := &location{}
	port := "6379"
	if isSentinel {
		port = "26379"
		var err error
		if l.sentinel, tail, err = readSentinel(tail); err != nil {
			return nil, err
		}
	}
	for _, host := range hosts {
		addr, err := hostAndPort(host, port)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(l.addrs, addr) {
			l.addrs = append(l.addrs, addr)
		}
	}
	first, err := single(plain + "://" + user + l.addrs[0] + tail)
	if err != nil {
		return nil, err
	}
	l.opt = first.opt
	if !isSentinel && l.opt.DB != 0 {
		return nil, errDatabase
	}
	return l, nil
}

// single reads a URL with one address.
func single(given string) (*location, error) {
	opt, err := redis.ParseURL(given)
	if err != nil || opt.DB < 0 { // go-redis takes a negative number for 0
		// err quotes parts of the URL, and what it takes for a port or a path can be
		// a password with a slash in it.
		return nil, errURL
	}
	if opt.TLSConfig != nil {
		opt.TLSConfig.ServerName = "" // each connection takes it from its own address
	}
	return &location{opt: opt, addrs: []string{opt.Addr}}, nil
}

func hostAndPort(given, defaultPort string) (string, error) {
	u, err := url.Parse("redis://" + given)
	if err != nil || u.Hostname() == "" || u.Host != given {
		return "", errURL
	}
	if port := u.Port(); port != "" {
		defaultPort = port
	}
	return net.JoinHostPort(u.Hostname(), defaultPort), nil
}

// readSentinel takes what is for Sentinels out of what follows the addresses of a URL.
func readSentinel(tail string) (*sentinelOptions, string, error) {
	u, err := url.Parse(tail)
	if err != nil {
		return nil, "", errURL
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" {
		return nil, "", errURL
	}
	s := &sentinelOptions{
		primary: strings.TrimPrefix(u.Path, "/"),
		user:    query.Get("sentinel_user"), password: query.Get("sentinel_password"),
	}
	switch {
	case s.primary == "" || strings.ContainsAny(s.primary, "/ \r\n"):
		return nil, "", errName
	case s.user != "" && s.password == "":
		return nil, "", errSentinel
	}
	query.Del("sentinel_user")
	query.Del("sentinel_password")
	tail = ""
	if len(query) > 0 {
		tail = "?" + query.Encode()
	}
	return s, tail, nil
}

// shownName is the primary's name as an error may show it.
func (s *sentinelOptions) shownName() string { return redact.Place(s.primary) }
