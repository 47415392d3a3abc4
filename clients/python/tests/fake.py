"""A clock that a test's waiting moves, and a service that a test plays."""
from __future__ import annotations

import asyncio
import json
import selectors
from typing import Any, Callable, Coroutine
from unittest import mock

import fleetwire
from fleetwire import connection
from fleetwire.errors import ConnectionEnded


class Clock(selectors.SelectSelector):
    """Time passes at once when everybody waits for it."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everybody waits, and no time will help")
        self.now += max(0.0, timeout)
        return super().select(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    """Runs a test on the fake clock."""
    clock = Clock()

    def loop() -> asyncio.AbstractEventLoop:
        made = asyncio.SelectorEventLoop(clock)
        made.time = lambda: clock.now  # type: ignore[assignment,method-assign]
        return made

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(test, 100_000))


class Socket:
    """A Wire whose other side is the test."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._to_client: asyncio.Queue[str | ConnectionEnded] = asyncio.Queue()
        self.closed: ConnectionEnded | None = None

    async def send(self, text: str) -> None:
        if self.closed:
            raise self.closed
        self.sent.put_nowait(json.loads(text))

    async def receive(self) -> str:
        got = await self._to_client.get()
        if isinstance(got, ConnectionEnded):
            raise got
        return got

    async def close(self) -> None:
        self.end(1000)

    def say(self, **frame: Any) -> None:
        self.write(json.dumps(frame))

    def write(self, text: str) -> None:
        self._to_client.put_nowait(text)

    def end(self, code: int, reason: str = "") -> None:
        self.closed = self.closed or ConnectionEnded(code, reason)
        self._to_client.put_nowait(self.closed)

    def welcome(self, life: int = 3600) -> None:
        self.say(type="welcome", peerId="camera-001", expiresAt=1000 + life, serverTime=1000, maxMessageSize=65536)

    async def expect(self, kind: str, **want: Any) -> dict[str, Any]:
        """The next frame of the client, which must be of a kind, and have these fields."""
        frame = await self.sent.get()
        got = {name: frame.get(name) for name in want}
        assert frame["type"] == kind and got == want, f"got {frame}, want {kind} {want}"
        return frame

    async def ack(self, kind: str, *, position: tuple[str, int] | None = None, recovered: bool | None = None, **want: Any) -> dict[str, Any]:
        """Acknowledges the next frame."""
        frame = await self.expect(kind, **want)
        at = {} if position is None else {"epoch": position[0], "offset": position[1]}
        self.say(type="ack", requestId=frame["requestId"], **at, **({} if recovered is None else {"recovered": recovered}))
        return frame


class Service:
    """Takes the connections of a client, one after the other. Used as a context, in the place of the network."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[Socket] = asyncio.Queue()
        self.tokens: list[str] = []  # that connections were opened with
        self.refuses: list[Exception] = []  # in the place of the next connections

    def __enter__(self) -> Service:
        self._patch = mock.patch.object(connection, "open_wire", self._open)
        self._patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()

    async def _open(self, _: str, token: str, __: object) -> Socket:
        self.tokens.append(token)
        if self.refuses:
            raise self.refuses.pop(0)
        socket = Socket(token)
        self.connections.put_nowait(socket)
        return socket

    async def next(self, *, life: int = 3600) -> Socket:
        """The next connection, welcomed."""
        socket = await self.connections.get()
        socket.welcome(life)
        await asyncio.sleep(0.001)  # of the fake clock: until the client has done all that it can
        return socket


def client(token: Any = "token", jitter: Callable[[float], float] = lambda bound: bound, **options: Any) -> fleetwire.Client:
    """A client whose pauses are not random."""
    made = fleetwire.Client("https://fleetwire.example", token, **options)
    made._backoff.jitter = jitter
    return made
