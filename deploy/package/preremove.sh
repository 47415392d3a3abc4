#!/bin/sh
# Runs before the package is removed, and before an upgrade, which restarts the node later.
# The first argument of a removal is "remove" for a deb and 0 for an rpm.
set -e
case "${1:-}" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now fleetwire.service || true
	fi
	;;
esac
