package redisconn

import "github.com/redis/go-redis/v9"

// nodeConns is enough for a client that asks one node how it is: subscriptions have
// connections of their own.
const nodeConns = 4

// Node returns a client of one node of a cluster, which speaks to that node alone and does not
// follow where the node sends it. The caller closes it.
func Node(cluster *redis.ClusterClient, addr string) *redis.Client {
	of := cluster.Options()
	opt := &redis.Options{
		Addr: addr, ClientName: of.ClientName, Dialer: of.Dialer, OnConnect: of.OnConnect, Protocol: of.Protocol,
		Username: of.Username, Password: of.Password, CredentialsProvider: of.CredentialsProvider,
		CredentialsProviderContext: of.CredentialsProviderContext, StreamingCredentialsProvider: of.StreamingCredentialsProvider,
		MaxRetries: -1, DialTimeout: of.DialTimeout, DialerRetries: 1, ReadTimeout: of.ReadTimeout, WriteTimeout: of.WriteTimeout,
		ContextTimeoutEnabled: true, PoolSize: nodeConns, PoolTimeout: of.PoolTimeout, TLSConfig: of.TLSConfig,
		DisableIdentity: of.DisableIdentity, MaintNotificationsConfig: of.MaintNotificationsConfig,
	}
	rdb := redis.NewClient(opt)
	rdb.AddHook(handshake{clusterNode})
	return rdb
}
