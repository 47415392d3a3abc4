package redisconn

import (
	"errors"

	"github.com/redis/go-redis/v9"
)

// form is what a Redis may be. Each says so in its answer to HELLO, with which every
// connection begins.
type form int

const (
	anyForm form = iota
	oneServer
	primary // one server that takes writes
	clusterNode
	sentinel
)

// formError reports that a connection was refused, since what it leads to is another form
// of Redis than the client is for.
type formError struct {
	text string
	// cluster says that it leads to a Redis Cluster, and the client is for one server.
	// The process must open its Redis anew.
	cluster bool
}

func (e *formError) Error() string { return e.text }

// BecameCluster says whether err is about a Redis that the client took for one server, and
// which is a cluster.
func BecameCluster(err error) bool {
	var wrong *formError
	return errors.As(err, &wrong) && wrong.cluster
}

func isForm(err error) bool {
	var wrong *formError
	return errors.As(err, &wrong)
}

// check compares a server's answer to HELLO. A server that does not say what it is may be
// anything.
func (f form) check(hello *redis.MapStringInterfaceCmd) error {
	mode, _ := hello.Val()["mode"].(string)
	role, _ := hello.Val()["role"].(string)
	switch {
	case f == anyForm || mode == "":
	case f == sentinel:
		if mode != "sentinel" {
			return &formError{text: "this address is no Sentinel but a Redis; give the Sentinels' addresses after redis+sentinel://, or begin the URL with redis://"}
		}
	case mode == "sentinel":
		return &formError{text: "this address is a Sentinel; begin the URL with redis+sentinel://, and end it with the primary's name, as in redis+sentinel://host:26379/mymaster"}
	case f == clusterNode:
		if mode == "standalone" {
			return &formError{text: "this Redis is no node of a cluster; several addresses are for a cluster, so give one address, or enable cluster mode"}
		}
	case mode == "cluster":
		return &formError{text: "this Redis is a cluster, and was taken for one server; start the process again", cluster: true}
	case f == primary && role != "" && role != "master":
		return &formError{text: "the server that the Sentinels name as the primary is a replica"}
	}
	return nil
}
