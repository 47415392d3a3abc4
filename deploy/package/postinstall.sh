#!/bin/sh
# Runs when the files are installed. Makes the user, and restarts a node that runs, for it
# to run the new program. Starts no node: that needs an apps document first.
set -e
if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers fleetwire.conf
elif ! getent passwd fleetwire >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fleetwire
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# The devices of the node are told, and find another one. A node that does not come
	# back is no reason to leave the package half installed.
	systemctl try-restart fleetwire.service ||
		echo "fleetwire: the node did not start again: see journalctl -u fleetwire" >&2
fi
if [ ! -e /etc/fleetwire/apps.json ]; then
	echo "fleetwire: next, make /etc/fleetwire/apps.json: see /usr/share/doc/fleetwire/deploy-server.md"
fi
