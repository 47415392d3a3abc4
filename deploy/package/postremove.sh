#!/bin/sh
# Runs when the files are removed. The apps document stays: it has the keys of the whole
# fleet. The user stays, too: it may own files elsewhere.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
