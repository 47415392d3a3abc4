"""The WebSocket, by the library websockets: version 10.4, or newer ones, whose API differs."""
from __future__ import annotations

import ssl
from typing import Any, Protocol

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from .errors import ConnectionEnded, Error, NotService, Refused

MAX_FRAME = 44_000_000  # bytes: a presence snapshot of 10,000 members with metadata of full size (protocol §3, §4.3)
OPEN_TIMEOUT = 15.0  # seconds
FAREWELL = 1.0  # how long the service may take to answer a close frame

try:  # 13 and newer
    from websockets.asyncio.client import connect as _connect  # type: ignore[import]

    HEADERS = "additional_headers"

    class _Connect(_connect):  # type: ignore[misc,valid-type]
        def process_redirect(self, exc: Exception) -> Exception:
            return exc  # a redirect would take the token to another place

except ImportError:
    from websockets.client import connect as _connect

    HEADERS = "extra_headers"

    class _Connect(_connect):  # type: ignore[misc,valid-type,no-redef]
        MAX_REDIRECTS_ALLOWED = 1  # one attempt, and no redirect: it would take the token to another place


class Wire(Protocol):
    """The methods of a WebSocket that a Link needs. Each method raises ConnectionEnded when the connection has ended."""

    async def send(self, text: str) -> None: ...

    async def receive(self) -> str: ...

    async def close(self) -> None: ...


class WebSocket:
    """A Wire over the network."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as closed:
            raise ended(closed) from None

    async def receive(self) -> str:
        try:
            frame = await self._socket.recv()
        except ConnectionClosed as closed:
            raise ended(closed) from None
        return frame if isinstance(frame, str) else ""  # the service sends no binary frames

    async def close(self) -> None:
        await self._socket.close()  # with 1000: the service does not publish the will


def ended(closed: ConnectionClosed) -> ConnectionEnded:
    if closed.rcvd is None:
        return ConnectionEnded(1006, "" if closed.sent is None or not closed.sent.reason else closed.sent.reason)
    return ConnectionEnded(closed.rcvd.code, closed.rcvd.reason)


async def open_wire(url: str, token: str, tls: ssl.SSLContext | None) -> Wire:
    """Opens a WebSocket. The token goes in a header, not in the URL: URLs end up in logs."""
    options: dict[str, Any] = {HEADERS: {"Authorization": "Bearer " + token}} if token else {}
    if tls is not None:
        options["ssl"] = tls
    try:
        # Pings find a dead connection: one on which nothing is heard for 75 s counts as lost.
        socket = await _Connect(
            url, open_timeout=OPEN_TIMEOUT, close_timeout=FAREWELL, ping_interval=25, ping_timeout=50,
            max_size=MAX_FRAME, compression=None, **options,
        )
    except InvalidHandshake as failed:
        raise refusal(failed) from None
    return WebSocket(socket)


def refusal(failed: InvalidHandshake) -> Error:
    """The service's answer to a handshake that was no upgrade."""
    answer: Any = getattr(failed, "response", failed)  # InvalidStatus has a response, the former InvalidStatusCode is one
    status = getattr(answer, "status_code", 0)
    if not status:
        return NotService(f"no WebSocket at the URL: {failed}")
    return Refused("", "the service did not open a WebSocket", status=status, retry_after=retry_after(answer.headers.get("Retry-After")))


def retry_after(value: str | None) -> float:
    """The seconds of a Retry-After header; 0 where there is none."""
    return float(value) if value and value.isascii() and value.isdigit() and len(value) < 10 else 0.0
