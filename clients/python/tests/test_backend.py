"""A backend's requests, against an HTTP server that the test plays; tokens; patterns."""
from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

import fleetwire
from fleetwire import Backend, Position, Refused, backend, sign_token
from fleetwire.pattern import Pattern, is_pattern
from fleetwire.tokens import service_url

KEY = "sk_live_test_secret_abc"
Reply = tuple[int, dict[str, str], Any]


class Server:
    """Answers requests with replies, in their order; None closes the connection without an answer."""

    def __init__(self, *replies: Reply | None) -> None:
        self.replies, self.requests = list(replies), list[tuple[str, str, Any]]()
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def log_message(self, *_: Any) -> None: ...

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                assert self.headers["Authorization"] == "Bearer " + KEY
                outer.requests.append((self.command, self.path, json.loads(body) if body else None))
                reply = outer.replies.pop(0)
                if reply is None:
                    self.close_connection = True
                    return
                status, headers, content = reply
                payload = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(payload))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_DELETE = answer

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True

    def __enter__(self) -> Backend:
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.backend = Backend(f"http://127.0.0.1:{self.http.server_address[1]}", KEY)
        return self.backend

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
        for connection in self.backend._idle:
            connection.close()


class BackendTest(unittest.TestCase):
    def setUp(self) -> None:
        patch = mock.patch.object(backend, "RETRY", 0.001)
        patch.start()
        self.addCleanup(patch.stop)

    def test_a_lost_answer(self) -> None:
        ok: Reply = (200, {}, {"subscribers": 3, "epoch": "e", "offset": 7})
        server = Server(None, (503, {}, {"error": "backend_error", "message": "", "outcome": "unknown"}), ok)
        with server as b:
            done = asyncio.run(b.publish("devices/a b/cömmands", {"n": 1}, sender="backend", if_newest=Position("e", 6)))
        self.assertEqual(done, fleetwire.Published(3, Position("e", 7)))
        self.assertEqual({(m, p) for m, p, _ in server.requests}, {("POST", "/v1/channels/devices%2Fa%20b%2Fc%C3%B6mmands/publish")})
        first, second, third = (body for _, _, body in server.requests)
        self.assertEqual(first, second)
        self.assertEqual(first, third)
        self.assertEqual((first["from"], first["ifOffset"], first["ifEpoch"], first["data"]), ("backend", 6, "e", {"n": 1}))
        self.assertGreater(len(first["idempotencyKey"]), 20)

    def test_tries_end(self) -> None:
        with Server(*[None] * 5) as b, self.assertRaises(fleetwire.Unanswered):
            asyncio.run(b.publish("a", 1))
        with Server(None) as b, self.assertRaises(fleetwire.Unanswered):
            asyncio.run(b.mint_token("a"))  # which has no idempotency key

    def test_refusals(self) -> None:
        newest = {"offset": 57, "at": 1767222000123, "from": "server", "data": {"fps": 12}}
        with Server(
            (412, {}, {"error": "offset_mismatch", "message": "another came first", "epoch": "e", "offset": 57, "newest": newest}),
            (429, {"Retry-After": "7"}, {"error": "rate_limited", "message": "slowly"}),
            (502, {}, b"<html>"), (404, {}, []), (200, {}, b"<html>"), (200, {}, {"fine": True}), (301, {"Location": "http://elsewhere.example/"}, b""),
        ) as b:
            with self.assertRaises(Refused) as refused:
                asyncio.run(b.publish("a", 1, if_newest=Position("e", 1)))
            e = refused.exception
            self.assertEqual((e.code, e.status, e.position, e.newest and (e.newest.data, e.newest.position)), ("offset_mismatch", 412, Position("e", 57), ({"fps": 12}, Position("e", 57))))
            for code, status, retry in (("rate_limited", 429, 7), ("", 502, 0), ("", 404, 0)):
                with self.assertRaises(Refused) as refused:
                    asyncio.run(b.disconnect("camera 1"))
                self.assertEqual((refused.exception.code, refused.exception.status, refused.exception.retry_after), (code, status, retry))
                self.assertNotIn(KEY, str(refused.exception) + repr(refused.exception))
            with self.assertRaises(fleetwire.NotService):
                asyncio.run(b.group("ingest"))
            with self.assertRaises(fleetwire.NotService):
                asyncio.run(b.mint_token("camera-001"))
            with self.assertRaises(Refused):  # and not followed: that would take the key to another place
                asyncio.run(b.group("ingest"))

    def test_pages(self) -> None:
        server = Server(
            (200, {}, {"peers": [{"peerId": "a"}], "cursor": "x y"}), (200, {}, {"peers": [], "cursor": "z"}), (200, {}, {"peers": [{"peerId": "b"}], "cursor": None}),
        )

        async def test(b: Backend) -> list[Any]:
            return [p["peerId"] async for p in b.peers(online=True, prefix="c", seen_before=2.5)]

        with server as b:
            self.assertEqual(asyncio.run(test(b)), ["a", "b"])
        query = "/v1/peers?prefix=c&online=true&seenBefore=2500"
        self.assertEqual([p for _, p, _ in server.requests], [query, query + "&cursor=x+y", query + "&cursor=z"])
        self.assertEqual(server.connections, 1)

    def test_history_reads_page_after_page(self) -> None:
        def page(*offsets: int, newest: int = 4, **more: Any) -> Reply:
            return 200, {}, {"epoch": "e", "offset": newest, "messages": [{"offset": o, "at": 1000, "from": "a", "data": o} for o in offsets], **more}

        server = Server(page(1, 2, recovered=True), page(3, 4, newest=6, recovered=True))
        with server as b:
            found = asyncio.run(b.history("a", since=Position("e", 0)))
        self.assertEqual(([m.data for m in found.messages], found.position, found.recovered), ([1, 2, 3, 4], Position("e", 4), True))
        self.assertEqual([p for _, p, _ in server.requests], ["/v1/channels/a/messages?since=e%3A0", "/v1/channels/a/messages?since=e%3A2"])

    def test_a_command_is_waited_for(self) -> None:
        def answer(status: str, code: int = 202) -> Reply:
            return code, {}, {"id": "c", "status": status, "counts": {}, "answers": []}

        lost: Reply = (503, {}, {"error": "backend_error", "message": "", "outcome": "none"})
        server = Server(answer("waiting"), lost, None, answer("active"), answer("succeeded", 200), answer("waiting"), answer("active"), answer("active"))
        with server as b:
            self.assertEqual(asyncio.run(b.command("a", 1, ttl=60, timeout=2.5)).status, "succeeded")
            begun = asyncio.run(b.command("a", 1, wait=0))
            self.assertEqual((begun.id, begun.ended), ("c", False))
            with mock.patch.object(backend, "RETRY", 0.05):  # the service does not wait
                self.assertEqual(asyncio.run(b.command("a", 1, wait=0.05)).status, "active")
        body = server.requests[0][2]
        self.assertEqual((body["waitMs"], body["ttlMs"], body["timeoutMs"]), (10000, 60000, 2500))
        self.assertEqual([p for _, p, _ in server.requests[1:5]], ["/v1/commands/c?waitMs=10000"] * 4)
        self.assertEqual(server.requests[5][2]["waitMs"], 0)

    def test_a_kept_connection_that_the_service_has_closed(self) -> None:
        closing: Reply = (200, {}, {"closed": 1})
        server = Server(closing, closing)
        with server as b:
            asyncio.run(b.disconnect("a"))
            kept = b._idle[0]
            assert kept.sock is not None
            kept.sock.shutdown(2)
            asyncio.run(b.disconnect("a"))
            self.assertNotIn(kept, b._idle)
        self.assertEqual(server.connections, 2)


class TokenTest(unittest.TestCase):
    def test_sign(self) -> None:
        for key in (KEY, "sk_live_test:abc"):
            token = sign_token(key, "camera-001", channels=["devices/é/*"], permissions=[], ttl=60, peer_metadata={"name": "Yard"})
            header, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
            self.assertEqual(json.loads(header), {"alg": "HS256", "typ": "JWT", "kid": "sk_live_test"})
            got = json.loads(claims)
            self.assertEqual(got.pop("exp") - got.pop("iat"), 60)
            self.assertEqual(got, {"sub": "camera-001", "channels": ["devices/é/*"], "permissions": [], "peerMetadata": {"name": "Yard"}})
            self.assertEqual(signature, hmac.digest(b"abc", token.rpartition(".")[0].encode(), hashlib.sha256))
        for wrong in ("", "sk_live_test", "sk_live_test:", "_secret_abc"):
            with self.assertRaises(ValueError) as refused:
                sign_token(wrong, "camera-001")
            self.assertNotIn("abc", str(refused.exception))

    def test_keys_that_no_header_can_hold(self) -> None:
        for wrong in ("id:se\ncret", "id:se cret", "id:secrét", "secret"):
            with self.assertRaises(ValueError) as refused:
                Backend("https://h", wrong)
            self.assertNotIn("cret\n", repr(refused.exception))
            self.assertNotIn("se\\ncret", repr(refused.exception))

    def test_urls(self) -> None:
        for url, want in (
            ("https://h", "https://h/v1"), ("wss://h:8443/", "https://h:8443/v1"), ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
            ("ws://[::1]/deep/v1/", "http://[::1]/deep/v1"),
        ):
            self.assertEqual(service_url(url), want)
        for url in ("h", "ftp://h", "https://", "https://key:secret@h", "https://h?token=x", "https://h#x"):
            with self.assertRaises(ValueError, msg=url) as refused:
                service_url(url)
            self.assertNotIn("secret", str(refused.exception))

    def test_one_credential(self) -> None:
        for options in ({}, {"token": "t", "publishable_key": "pk_live_x"}):
            with self.assertRaises(ValueError):
                fleetwire.Client("https://h", **options)  # type: ignore[arg-type]


class PatternTest(unittest.TestCase):
    def test_against_the_definition(self) -> None:
        def matches(pattern: str, name: str) -> bool:
            """Protocol §2, word by word."""
            if not pattern:
                return not name
            if pattern.startswith("**"):
                return any(matches(pattern.lstrip("*"), name[n:]) for n in range(len(name) + 1))
            if pattern.startswith("*"):
                return any(matches(pattern[1:], name[n:]) for n in range(len(name) + 1) if "/" not in name[:n])
            if pattern[:2] in ("\\*", "\\\\"):
                pattern = pattern[1:]
            return name[:1] == pattern[0] and matches(pattern[1:], name[1:])

        names = ["".join(n) for length in range(5) for n in itertools.product("a/*\\", repeat=length)]
        for length in range(5):
            for letters in itertools.product("a/*\\", repeat=length):
                pattern = Pattern("".join(letters))
                for name in names[::7] if length == 4 else names:
                    self.assertEqual(pattern.match(name), matches("".join(letters), name), (letters, name))

    def test_examples(self) -> None:
        for pattern, names in {
            "devices/*/events": {"devices/cam-1/events"}, "devices/*": {"devices/"},
            "devices/**": {"devices/cam-1/events", "devices/cam-1/a/b", "devices/"}, "**": {"devices/cam-1/events", "devices/cam-1/a/b", "devices/"},
        }.items():
            self.assertEqual({n for n in ("devices/cam-1/events", "devices/cam-1/a/b", "devices/") if Pattern(pattern).match(n)}, names)
        for text, want in (("a*", True), ("a\\*", False), ("a\\\\*", True), ("a", False), ("\\", False)):
            self.assertEqual(is_pattern(text), want, text)

    def test_a_long_name_takes_one_pass(self) -> None:
        """HOSTILE: a name that has a backtracking matcher try for ever."""
        self.assertFalse(Pattern("**a" * 16 + "b").match("a" * 256))
