#!/bin/sh
# Starts Redis, or a Sentinel, of compose.yaml:
#
#	redis.sh server|sentinel
#
# ADDRESS is its own address, FIRST_PRIMARY that of the primary of the very first start,
# SENTINELS all Sentinels', and REDIS_PASSWORD the password that Redis asks for. It keeps
# its data in /data.
set -eu
umask 077

# known_primary prints the address of the primary, as a Sentinel knows it.
known_primary() {
	for sentinel in $SENTINELS; do
		timeout 2 redis-cli -h "$sentinel" -p 26379 sentinel get-master-addr-by-name fleetwire 2>/dev/null |
			sed -n '1s/^\([0-9.]*\)$/\1/p' | grep . && return
	done
	return 1
}

case $1 in
server)
	# A primary that was replaced while it was away must come back as a replica, or there
	# would be two until a Sentinel has seen it. Sentinels start at the same time: it waits.
	tries=0
	until primary=$(known_primary); do
		tries=$((tries + 1))
		if [ $tries -ge 60 ]; then
			echo "redis.sh: no Sentinel answers; $FIRST_PRIMARY is taken for the primary" >&2
			primary=$FIRST_PRIMARY
			break
		fi
		sleep 0.5
	done
	replicaof=
	[ "$primary" = "$ADDRESS" ] || replicaof="replicaof $primary 6379"
	# On standard input: a password on the command line could be read by other users. What
	# groups keep outlives a restart, but for the last second; and a node that falls behind
	# is not cut off at 32 MB. There is one replica: its first copy waits for no other.
	exec redis-server - <<-EOF
		bind $ADDRESS
		port 6379
		dir /data
		requirepass $REDIS_PASSWORD
		masterauth $REDIS_PASSWORD
		replica-announce-ip $ADDRESS
		$replicaof
		repl-diskless-sync-delay 0
		appendonly yes
		maxmemory-policy noeviction
		client-output-buffer-limit pubsub 256mb 64mb 120
	EOF
	;;
sentinel)
	# A Sentinel writes into this file what it learns. Only the password may be another one
	# at the next start.
	{
		if [ -s /data/sentinel.conf ]; then
			grep -v '^sentinel auth-pass ' /data/sentinel.conf
		else
			cat <<-EOF
				bind $ADDRESS
				port 26379
				dir /data
				# Its network is that of Redis and the nodes alone.
				protected-mode no
				sentinel announce-ip $ADDRESS
				sentinel monitor fleetwire $FIRST_PRIMARY 6379 2
				sentinel down-after-milliseconds fleetwire 3000
				sentinel failover-timeout fleetwire 15000
			EOF
		fi
		echo "sentinel auth-pass fleetwire $REDIS_PASSWORD"
	} >/data/sentinel.new
	mv /data/sentinel.new /data/sentinel.conf
	exec redis-server /data/sentinel.conf --sentinel
	;;
*)
	echo "redis.sh: \"$1\" is not server or sentinel" >&2
	exit 2
	;;
esac
