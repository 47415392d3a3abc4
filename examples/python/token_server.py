#!/usr/bin/env python3
"""A provisioning backend: signs the token with which a device connects.

    export FLEETWIRE_SECRET_KEY=... FLEETWIRE_PROVISIONING_SECRET=...
    python3 token_server.py --port 8090
    curl -H "Authorization: Bearer $FLEETWIRE_PROVISIONING_SECRET" 'http://127.0.0.1:8090/token?device=camera-001'

Needs PyJWT (apt install python3-jwt, or pip install PyJWT). The secret key stays
here: a device only ever sees a token, for its own channels, for one hour.

Every device shows the provisioning secret, with which it left the factory. One
secret for all keeps strangers out, but a device that was opened can ask in another's
name: a real backend gives each device a secret or a certificate of its own, and
looks the device and its fleet up in its registry.
"""
import argparse
import hmac
import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import jwt

# A peer id that is also one level of a channel's name, and no pattern: 1 to 128
# printable ASCII characters without / * \, and neither . nor ..
DEVICE = re.compile(r"(?!\.{1,2}\Z)[ -)+-.0-\[\]-~]{1,128}\Z")
LIFETIME = 3600  # seconds
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def parse_secret_key(credential):
    """The two spellings: <id>:<secret> and <id>_secret_<secret>."""
    separator = ":" if ":" in credential else "_secret_"
    key_id, _, secret = credential.partition(separator)
    if not key_id or not secret:
        sys.exit("FLEETWIRE_SECRET_KEY must be <id>:<secret> or <id>_secret_<secret>")
    return key_id, secret


def device_token(device, fleet, key_id, secret):
    """A token for exactly the channels that one device of one fleet needs."""
    now = int(time.time())
    claims = {
        "sub": device,
        "iat": now,
        "exp": now + LIFETIME,
        "channels": [
            f"devices/{device}/events",
            f"devices/{device}/commands",
            f"fleets/{fleet}/commands",
        ],
        "permissions": ["publish", "subscribe"],
    }
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": key_id}), claims["exp"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        devices = parse_qs(query, keep_blank_values=True, errors="surrogateescape").get("device", [])
        if path != "/token":
            self.answer(404, "not_found", "ask for /token?device=<id>")
        elif not self.provisioned():
            self.answer(401, "unauthorized", "send the provisioning secret: Authorization: Bearer <secret>")
        elif len(devices) != 1:
            self.answer(400, "invalid_request", f"the query has {len(devices)} devices; ask for /token?device=<id>")
        elif not DEVICE.match(devices[0]):
            self.answer(400, "invalid_device", "a device id is 1 to 128 printable ASCII characters without / * \\, and neither . nor ..")
        else:
            fleet = self.server.fleet
            token, expires_at = device_token(devices[0], fleet, *self.server.secret_key)
            self.send(200, {"token": token, "expiresAt": expires_at, "fleet": fleet})

    def provisioned(self):
        """Compares in constant time, so that the time taken tells nothing of the secret."""
        if self.server.provisioning_secret is None:
            return True
        shown = self.headers.get_all("Authorization", [])
        want = b"Bearer " + self.server.provisioning_secret.encode()
        return len(shown) == 1 and hmac.compare_digest(shown[0].encode("latin-1", "replace"), want)

    def send_error(self, code, message=None, explain=None):  # what http.server refuses by itself
        self.answer(code, "invalid_request", message or self.responses[code][0])

    def answer(self, status, error, message):
        self.send(status, {"error": error, "message": message})

    def send(self, status, body):
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.send_header("Cache-Control", "no-store")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(payload)


def main():
    parser = argparse.ArgumentParser(description="signs tokens for devices")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 picks a free one (default %(default)s)")
    parser.add_argument("--fleet", default="fleet-northeast", help="whose commands the devices obey (default %(default)s)")
    args = parser.parse_args()
    secret_key = parse_secret_key(os.environ.get("FLEETWIRE_SECRET_KEY", ""))
    provisioning_secret = os.environ.get("FLEETWIRE_PROVISIONING_SECRET") or None
    if provisioning_secret is None:
        make_one = "make one with: export FLEETWIRE_PROVISIONING_SECRET=$(openssl rand -hex 16)"
        if args.host not in LOOPBACK:
            sys.exit(f"FLEETWIRE_PROVISIONING_SECRET is not set, and --host {args.host} is open to others; {make_one}")
        print(f"warning: FLEETWIRE_PROVISIONING_SECRET is not set: every program on this machine gets a token; {make_one}", file=sys.stderr)
    server = ThreadingHTTPServer((args.host, args.port), Handler)
    server.secret_key, server.provisioning_secret, server.fleet = secret_key, provisioning_secret, args.fleet
    print(f"listening on http://{args.host}:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
