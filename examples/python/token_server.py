#!/usr/bin/env python3
"""A provisioning backend: signs the token with which a device connects.

    FLEETWIRE_SECRET_KEY=... python3 token_server.py --port 8090
    curl 'http://127.0.0.1:8090/token?device=camera-001'

Needs PyJWT (apt install python3-jwt, or pip install PyJWT). The secret key stays
here: a device only ever sees a token, for its own channels, for one hour.
A real backend also makes the device prove who it is, with a client certificate
or a secret burnt in at the factory, before it hands out anything.
"""
import argparse
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jwt

# What a real backend looks up in its device registry.
FLEETS = {
    "camera-001": "fleet-northeast",
    "camera-002": "fleet-northeast",
}
LIFETIME = 3600  # seconds


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
        url = urlsplit(self.path)
        device = parse_qs(url.query).get("device", [""])[0]
        if url.path != "/token":
            self.answer(404, {"error": "not_found", "message": "ask for /token?device=<id>"})
        elif device not in FLEETS:
            self.answer(404, {"error": "unknown_device", "message": f"no device {device!r} is registered"})
        else:
            token, expires_at = device_token(device, FLEETS[device], *self.server.secret_key)
            self.answer(200, {"token": token, "expiresAt": expires_at, "fleet": FLEETS[device]})

    def answer(self, status, body):
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(payload)


def main():
    parser = argparse.ArgumentParser(description="signs tokens for devices")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 picks a free one (default %(default)s)")
    args = parser.parse_args()
    secret_key = parse_secret_key(os.environ.get("FLEETWIRE_SECRET_KEY", ""))
    server = ThreadingHTTPServer((args.host, args.port), Handler)
    server.secret_key = secret_key
    print(f"listening on http://{args.host}:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
