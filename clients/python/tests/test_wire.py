"""The library websockets, against an HTTP server that does not open a WebSocket."""
from __future__ import annotations

import asyncio
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fleetwire import NotService, Refused
from fleetwire.wire import open_wire, retry_after


class Server:
    """Answers each request with a status and headers."""

    def __init__(self, status: int, **headers: str) -> None:
        self.requests: list[tuple[str, str | None]] = []  # paths and credentials
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers["Authorization"]))
                self.close_connection = True
                self.send_response(status)
                self.send_header("Content-Length", "0")
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"ws://127.0.0.1:{self.http.server_address[1]}/v1"

    def __enter__(self) -> Server:
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


class WireTest(unittest.TestCase):
    def test_refused(self) -> None:
        with Server(429, Retry_After="7") as server:
            with self.assertRaises(Refused) as refused:
                asyncio.run(open_wire(server.url, "ey.to.ken", None))
        self.assertEqual((refused.exception.status, refused.exception.retry_after), (429, 7))
        self.assertEqual(server.requests, [("/v1", "Bearer ey.to.ken")])
        self.assertNotIn("ey.to.ken", str(refused.exception))

    def test_a_redirect_is_not_followed(self) -> None:
        """HOSTILE: a redirect would take the token to another place."""
        with Server(200) as elsewhere, Server(302, Location=elsewhere.url) as server:
            with self.assertRaises((Refused, NotService)):
                asyncio.run(open_wire(server.url, "ey.to.ken", None))
        self.assertEqual((len(server.requests), elsewhere.requests), (1, []))

    def test_something_else_answers(self) -> None:
        with Server(200) as server, self.assertRaises((Refused, NotService)):
            asyncio.run(open_wire(server.url, "ey.to.ken", None))

    def test_retry_after(self) -> None:
        for value, want in ((None, 0), ("7", 7), ("-7", 0), ("soon", 0), ("9" * 30, 0), ("٧", 0)):
            self.assertEqual(retry_after(value), want)
