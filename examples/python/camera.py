#!/usr/bin/env python3
"""A camera: publishes motion events, obeys commands, comes back when cut off.

    python3 camera.py http://127.0.0.1:8090 --device camera-001

Needs websocket-client (apt install python3-websocket, or pip install websocket-client).
Prints one JSON object a line for each thing that happens.
"""
import argparse
import json
import os
import random
import struct
import sys
import time
from urllib.parse import quote
from urllib.request import urlopen

import websocket
from websocket import ABNF

TERMINAL = (4003, 4012, 4020)  # scope too wide, app suspended, disconnected by an operator: stay away
NEW_TOKEN = (4001, 4002)  # the token is invalid, or has expired
SILENCE = 75  # seconds: the service pings every 25, so a connection this quiet is dead


class Closed(Exception):
    """A close frame came: code, reason."""


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Camera:
    def __init__(self, args):
        self.args, self.token, self.published, self.failures = args, None, 0, 0
        self.url = "ws" + os.environ.get("FLEETWIRE_URL", "http://127.0.0.1:8080").rstrip("/")[4:] + "/v1"

    def run(self):
        while True:
            self.retry_after = None  # seconds, when going_away says
            try:
                self.session()
            except Closed as closed:
                code, reason = closed.args
            except (OSError, websocket.WebSocketException) as failed:
                code, reason = 1006, str(failed)  # no close frame told why
            if code in TERMINAL:
                say("stopped", code=code, reason=reason)
                return 1
            if code in NEW_TOKEN:
                self.token = None
            # Jitter: a fleet that lost its node must not come back as one wave.
            delay = random.uniform(0, min(30, 0.5 * 2 ** min(self.failures, 8)))
            if self.retry_after is not None:
                delay = self.retry_after
            elif code == 4010:  # the plan's connections are used up: give others time to end
                delay += 30
            self.failures += 1
            say("disconnected", code=code, reason=reason, retryInMs=round(delay * 1000))
            time.sleep(delay)

    def session(self):
        """One connection, to its end, which is always an exception."""
        if self.token is None:
            with urlopen(f"{self.args.token_server}/token?device={quote(self.args.device)}", timeout=10) as response:
                answer = json.load(response)
                self.token, self.fleet = answer["token"], answer["fleet"]
        # In a header, not in the URL: URLs end up in logs.
        self.ws = websocket.create_connection(self.url, timeout=10, header=["Authorization: Bearer " + self.token])
        try:
            self.unacked, heard, next_event = None, time.monotonic(), 0
            while True:
                # Events wait for the acks of both subscriptions: from then on no command is missed.
                publishing = self.unacked == {} and self.published != (self.args.count or -1)
                if publishing and time.monotonic() >= next_event:
                    next_event = time.monotonic() + self.args.interval
                    self.published += 1
                    self.send(type="publish", channel=f"devices/{self.args.device}/events", requestId=f"event-{self.published}",
                              data={"event": "motion", "seq": self.published, "at": int(time.time())})
                until = next_event if publishing else heard + SILENCE
                self.ws.settimeout(max(0.001, until - time.monotonic()))
                try:
                    opcode, payload = self.ws.recv_data(control_frame=True)  # it answers pings itself
                except websocket.WebSocketTimeoutException:
                    if time.monotonic() >= heard + SILENCE:
                        raise
                    continue
                heard = time.monotonic()
                if opcode == ABNF.OPCODE_CLOSE:
                    code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                    raise Closed(code, payload[2:].decode())
                if opcode == ABNF.OPCODE_TEXT:
                    self.handle(json.loads(payload))
        finally:
            self.ws.close(timeout=1)
            self.ws.shutdown()  # close() leaves the socket open when the service closed first

    def send(self, **frame):
        self.ws.send(json.dumps(frame))

    def handle(self, frame):
        kind, request = frame["type"], frame.get("requestId", "")
        if kind == "welcome":
            self.failures = 0
            say("welcome", peerId=frame["peerId"])
            self.unacked = {"sub-device": f"devices/{self.args.device}/commands", "sub-fleet": f"fleets/{self.fleet}/commands"}
            for request, channel in self.unacked.items():
                self.send(type="subscribe", channel=channel, requestId=request)
        elif kind == "ack" and request in self.unacked:
            say("subscribed", channel=self.unacked.pop(request))
        elif kind == "ack":
            say("published", seq=int(request.removeprefix("event-")))
        elif kind == "message":
            self.obey(frame["channel"], frame["data"])
        elif kind == "error":
            say("error", code=frame["code"], message=frame["message"], requestId=request)
        elif kind == "going_away":  # the close follows; until then commands still come
            self.retry_after = frame["retryAfterMs"] / 1000
            say("going_away", retryAfterMs=frame["retryAfterMs"])

    def obey(self, channel, data):
        command, fps = (data.get("cmd"), data.get("fps")) if isinstance(data, dict) else (None, None)
        if command == "reboot":
            say("reboot", channel=channel)
        elif command == "set-frame-rate" and type(fps) in (int, float) and 0 < fps <= 120:
            say("set-frame-rate", channel=channel, fps=fps)
        else:
            say("unknown-command", channel=channel)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a camera of a fleet")
    parser.add_argument("token_server", help="where to get a token, e.g. http://127.0.0.1:8090")
    parser.add_argument("--device", default="camera-001")
    parser.add_argument("--interval", type=float, default=5, help="seconds between motion events (%(default)s)")
    parser.add_argument("--count", type=int, default=0, help="publish so many events, then only listen; 0: no end")
    try:
        sys.exit(Camera(parser.parse_args()).run())
    except KeyboardInterrupt:
        pass
