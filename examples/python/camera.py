#!/usr/bin/env python3
"""A camera: publishes motion events, obeys commands and answers them, comes back when cut off.

    export FLEETWIRE_PROVISIONING_SECRET=...
    python3 camera.py http://127.0.0.1:8090 --device camera-001

Needs websocket-client (apt install python3-websocket, or pip install websocket-client).
Prints one JSON object a line for each thing that happens. The token server alone is
shown the provisioning secret, with which the camera left the factory. When the
connection ends, the camera does what docs/clients.md says, section 4.
"""
import argparse
import json
import math
import os
import random
import struct
import sys
import time
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import websocket
from websocket import ABNF

FINAL = (4003, 4012, 4020)  # scope too wide, app suspended, disconnected by an operator: stay away
REFUSED, EXPIRED, PLAN_FULL, GOING_AWAY = 4001, 4002, 4010, 1001
SILENCE = 75  # seconds: the service pings every 25, so a connection this quiet is dead
SETTLED = 10  # seconds: after a connection that lasted so long, pauses are short again
REMEMBERED = 1000  # commands: one that comes again is answered, and not done again
LONGEST = 300  # seconds: what going_away or Retry-After may ask for


class Closed(Exception):
    """A close frame came: code, reason."""


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def asked_pause(failed):
    """The Retry-After of a refusal by HTTP, in seconds."""
    headers = failed.headers if isinstance(failed, HTTPError) else getattr(failed, "resp_headers", None)
    seconds = (headers or {}).get("retry-after", "0")
    return min(int(seconds), LONGEST) if seconds.isdecimal() else 0


class Backoff:
    """What to do when a connection has ended."""

    def __init__(self):
        self.failures, self.refused, self.expired = 0, False, False

    def pause(self):
        """Random, so that a fleet which lost its node does not come back as one wave."""
        bound = min(60, 2 ** min(self.failures, 6))  # 1 s, doubled to 60 s
        self.failures += 1
        return random.uniform(0, bound)

    def after(self, code, lived, back_at, retry_after):
        """Seconds to wait, or None to stop. lived is None if no welcome came."""
        if lived is not None:
            self.refused = self.expired = False
            if lived >= SETTLED:
                self.failures = 0
        if code in FINAL or code == REFUSED and self.refused:  # a new token was refused as well
            return None
        if code == REFUSED:
            self.refused = True
        elif code == EXPIRED and not self.expired:
            self.expired = lived is None
            return 0
        elif code == PLAN_FULL:  # give others time to end
            return 30 + self.pause()
        elif back_at is not None:
            return max(0, back_at - time.monotonic())
        return retry_after + self.pause()


class Camera:
    def __init__(self, args):
        self.args, self.token, self.published, self.backoff = args, None, 0, Backoff()
        self.answers = {}  # to the last commands, by their ids
        self.unheard = set()  # those of them that the service has not acked
        self.url = "ws" + os.environ.get("FLEETWIRE_URL", "http://127.0.0.1:8080").rstrip("/")[4:] + "/v1"

    def run(self):
        while True:
            self.welcomed = self.back_at = None  # times; back_at: when going_away wants it back
            retry_after = 0
            try:
                self.session()
            except Closed as closed:
                code, reason = closed.args
            except (OSError, HTTPException, websocket.WebSocketException) as failed:
                code, reason, retry_after = 1006, str(failed), asked_pause(failed)  # no close frame told why
                if isinstance(failed, HTTPError):
                    reason += ": " + failed.read(1000).decode(errors="replace")
            lived = None if self.welcomed is None else time.monotonic() - self.welcomed
            delay = self.backoff.after(code, lived, self.back_at, retry_after)
            if delay is None:
                say("stopped", code=code, reason=reason)
                return 1
            if code in (REFUSED, EXPIRED):
                self.token = None
            say("disconnected", code=code, reason=reason, retryInMs=round(delay * 1000))
            time.sleep(delay)

    def ask_token(self):
        request = Request(f"{self.args.token_server}/token?device={quote(self.args.device, safe='')}")
        secret = os.environ.get("FLEETWIRE_PROVISIONING_SECRET")
        if secret:
            request.add_header("Authorization", "Bearer " + secret)
        with urlopen(request, timeout=10) as response:
            answer = json.load(response)
            self.token, self.fleet = answer["token"], answer["fleet"]

    def session(self):
        """One connection, to its end, which is always an exception."""
        if self.token is None:
            self.ask_token()
        # In a header, not in the URL: URLs end up in logs.
        self.ws = websocket.create_connection(self.url, timeout=10, header=["Authorization: Bearer " + self.token])
        farewell = 1
        try:
            self.unacked, heard, next_event = None, time.monotonic(), 0
            while True:
                if self.back_at is not None and time.monotonic() >= self.back_at:
                    farewell = 0.25
                    raise Closed(GOING_AWAY, "left: the service did not close it within retryAfterMs")
                # Events wait for the acks of both subscriptions: from then on no command is missed.
                publishing = self.unacked == {} and self.published != (self.args.count or -1)
                if publishing and time.monotonic() >= next_event:
                    next_event = time.monotonic() + self.args.interval
                    self.published += 1
                    self.send(type="publish", channel=f"devices/{self.args.device}/events", requestId=f"event-{self.published}",
                              data={"event": "motion", "seq": self.published, "at": int(time.time())})
                until = min(next_event if publishing else heard + SILENCE, self.back_at or math.inf)
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
                    self.take(payload)
        finally:
            self.ws.close(timeout=farewell)
            self.ws.shutdown()  # close() leaves the socket open when the service closed first

    def send(self, **frame):
        self.ws.send(json.dumps(frame))

    def take(self, payload):
        """Another peer wrote a part of this: what cannot be read is skipped, and never ends the camera."""
        try:
            self.handle(json.loads(payload))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as strange:
            say("skipped", bytes=len(payload), reason=f"{type(strange).__name__}: {strange}"[:200])

    def handle(self, frame):
        kind, request = frame["type"], frame.get("requestId", "")
        if kind == "welcome":
            self.welcomed = time.monotonic()
            say("welcome", peerId=frame["peerId"])
            self.unacked = {"sub-device": f"devices/{self.args.device}/commands", "sub-fleet": f"fleets/{self.fleet}/commands"}
            for request, channel in self.unacked.items():
                self.send(type="subscribe", channel=channel, commands="confirm", requestId=request)
            for command in list(self.unheard):  # whose acks may have been lost
                self.answer(command)
        elif kind == "ack" and request in self.unacked:
            say("subscribed", channel=self.unacked.pop(request))
        elif kind == "ack" and request.startswith("answer-"):
            self.unheard.discard(request.removeprefix("answer-"))
        elif kind == "ack":
            say("published", seq=int(request.removeprefix("event-")))
        elif kind == "message" and isinstance(frame.get("command"), dict):
            self.command(frame["command"]["id"], frame["channel"], frame["data"])
        elif kind == "message":  # nobody waits for what becomes of it
            self.obey(frame["channel"], frame["data"], lambda progress: None)
        elif kind == "error":
            if frame["code"] != "backend_error":  # else it is answered again on the next connection
                self.unheard.discard(request.removeprefix("answer-"))
            say("error", code=frame["code"], message=frame["message"], requestId=request)
        elif kind == "going_away":  # the close follows; until then commands still come
            if frame["retryAfterMs"] > 0:  # counted from this frame
                self.back_at = time.monotonic() + min(frame["retryAfterMs"] / 1000, LONGEST)
            say("going_away", retryAfterMs=frame["retryAfterMs"])

    def command(self, command, channel, data):
        """Does a command, unless it was done before, and answers it."""
        if command not in self.answers:
            self.send(type="answer", command=command, status="received")  # else it comes again, if the connection ends
            status, answer = self.obey(channel, data, lambda progress: self.send(type="answer", command=command, status="running", data=progress))
            self.answers[command] = {"status": status, "data": answer}
            if len(self.answers) > REMEMBERED:
                forgotten = next(iter(self.answers))
                del self.answers[forgotten]
                self.unheard.discard(forgotten)
        self.answer(command)

    def answer(self, command):
        self.unheard.add(command)
        self.send(type="answer", command=command, requestId="answer-" + command, **self.answers[command])

    def obey(self, channel, data, progress):
        """Does what a command says, and returns how that went."""
        command, fps, version = (data.get("cmd"), data.get("fps"), data.get("version")) if isinstance(data, dict) else (None, None, None)
        if command == "reboot":
            say("reboot", channel=channel)
            return "succeeded", {"uptime": round(time.monotonic() - self.welcomed)}
        if command == "set-frame-rate" and type(fps) in (int, float) and 0 < fps <= 120:
            say("set-frame-rate", channel=channel, fps=fps)
            return "succeeded", {"fps": fps}
        if command == "update" and isinstance(version, str) and version:
            progress({"percent": 50})
            say("update", channel=channel, version=version)
            return "succeeded", {"version": version}
        say("unknown-command", channel=channel)
        return "rejected", "unknown command"


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
