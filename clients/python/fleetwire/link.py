"""One connection: frames out, and their answers."""
from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional

from .errors import ConnectionEnded, ConnectionLost, NotSent, Refused, TooLarge
from .messages import Json, Position, Welcome
from .wire import Wire


@dataclass
class Ack:
    """The service has done what a frame asked for."""

    position: Position | None
    frame: Mapping[str, Any]


Answered = Callable[[Optional[Ack], Optional[Exception]], None]


def encode(value: Json) -> str:
    """The JSON of a value, as short as it goes."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, which only an escape can carry
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text


class Pace:
    """Lets so many frames a second pass, once as many in a burst: the service closes a connection that sends more (4011)."""

    def __init__(self, per_second: float) -> None:
        self._per_second, self._tokens = per_second, per_second
        self._at = asyncio.get_running_loop().time()

    async def turn(self) -> None:
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._per_second, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        self._tokens -= 1
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._per_second)


class Link:
    """A connection after its welcome. The client reads it; anybody sends."""

    def __init__(self, wire: Wire, welcome: Welcome, frames_per_second: float) -> None:
        self.wire, self.welcome = wire, welcome
        self.live = asyncio.Event()  # the subscriptions are renewed
        self.over = asyncio.Event()
        self.began = asyncio.get_running_loop().time()
        self.back_at: float | None = None  # when a going_away frame wants the client back
        self.left = False  # the client has closed it, since the service did not in time
        self._pace = Pace(frames_per_second)
        self._turn = asyncio.Lock()
        self._requests = 0
        self._waiting: dict[str, Answered] = {}

    async def send(self, frame: Mapping[str, Json]) -> None:
        text = encode(frame)
        size = len(text.encode())
        if size > self.welcome.max_message_size:
            raise TooLarge(f"the frame would be {size} bytes long; the service takes {self.welcome.max_message_size}")
        async with self._turn:
            await self._pace.turn()
            if self.over.is_set():
                raise NotSent("the connection ended before the frame was sent")
            try:
                await self.wire.send(text)
            except ConnectionEnded as why:
                self.over.set()
                raise ConnectionLost(f"the answer did not come: {why}") from None

    async def request(self, frame: Mapping[str, Json], answered: Answered) -> None:
        """Sends a frame, and has answered called with the answer, or with ConnectionLost."""
        self._requests += 1
        request = str(self._requests)
        self._waiting[request] = answered
        try:
            await self.send({**frame, "requestId": request})
        except BaseException:
            self._waiting.pop(request, None)
            raise

    async def ask(self, frame: Mapping[str, Json]) -> Ack:
        """Sends a frame, and waits for its answer."""
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()

        def answered(ack: Ack | None, error: Exception | None) -> None:
            if answer.done():
                return  # the caller waits no longer
            if ack is not None:
                answer.set_result(ack)
            elif error is not None:
                answer.set_exception(error)

        await self.request(frame, answered)
        return await answer

    def answer(self, frame: Mapping[str, Any]) -> bool:
        """Takes an ack or an error; False if no request waits for it."""
        answered = self._waiting.pop(frame.get("requestId", ""), None)
        if answered is None:
            return False
        if frame["type"] == "ack":
            answered(Ack(Position.of(frame), frame), None)
        else:
            answered(None, refused(frame))
        return True

    def end(self, why: Exception) -> None:
        """Ends all requests: whether they were done is not known."""
        self.over.set()
        waiting, self._waiting = self._waiting, {}
        for answered in waiting.values():
            answered(None, ConnectionLost(f"the answer did not come: {why}"))

    async def pause(self, seconds: float) -> bool:
        """Waits; False when the connection has ended meanwhile."""
        try:
            await asyncio.wait_for(self.over.wait(), seconds)
        except TimeoutError:
            return True
        return False


def refused(frame: Mapping[str, Any]) -> Refused:
    return Refused(
        str(frame.get("code", "")), str(frame.get("message", "")),
        outcome=str(frame.get("outcome", "")), position=Position.of(frame),
    )
