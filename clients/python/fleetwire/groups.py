"""Groups of ingesters (protocol §10.2)."""
from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Union

from .errors import ConnectionLost, Error, NotSent, Refused
from .link import Ack, Link
from .messages import Event

if TYPE_CHECKING:
    from .client import Client

log = logging.getLogger("fleetwire")

HandleEvents = Callable[[list[Event]], Union[Awaitable[Any], Any]]
ALONE = 3  # from this attempt on the handler gets an event alone: it may be the one on which the handler fails
MAX_SETTLED = 400  # events of which one frame tells what became of them
SETTLE_WITHIN = 0.2  # seconds for which the service is not told of events that were handled alone
RETRY = 1.0  # seconds before the service is told again what its store did not take
FIRST_NACK_MS, LAST_NACK_MS = 1000, 300_000  # for how long events wait on which the handler failed
LEAVING = 2.0  # seconds in which the service is told that an ingester leaves


class Ingester:
    """Takes part in a group, over as many connections as it takes."""

    def __init__(self, client: Client, name: str, handle: HandleEvents, max_in_flight: int) -> None:
        self._client, self._name, self._handle, self._max_in_flight = client, name, handle, max_in_flight
        self._joined: Link | None = None  # the connection of the last subscribe
        self._link: Link | None = None  # that of the events
        self._events: deque[Event] = deque()
        self._done: list[Event] = []  # of which the service is yet to be told
        self._failed: list[Event] = []
        self._refused: Refused | None = None
        self._leaving = False
        self._woken = asyncio.Event()

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            if self._client._link is not None:
                await self.join(self._client._link)
            since = clock()
            while True:
                link, events = await self._next()
                if not self._done and not self._failed:
                    since = clock()
                handled = await self._handled(link, events)
                if self._link is not link:
                    continue  # they come again
                (self._done if handled else self._failed).extend(events)
                if not self._next_is_alone() or clock() - since > SETTLE_WITHIN:
                    await self._settle(link)
        finally:
            await self._leave()

    async def _handled(self, link: Link, events: list[Event]) -> bool:
        try:
            result = self._handle(events)
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception("%d events of the group %s are delivered again, since the handler failed", len(events), self._name)
            return False
        except asyncio.CancelledError:
            if self._link is link:
                self._events.extendleft(reversed(events))  # _leave gives them back
            raise
        return True

    async def join(self, link: Link) -> None:
        """Sends the subscribe on a connection, once."""
        if self._joined is link or self._leaving:
            return
        self._joined = link

        def answered(_: Ack | None, error: Exception | None) -> None:
            if isinstance(error, Refused):
                self.end(error)

        frame = {"type": "subscribe", "group": self._name, "includeSenderMetadata": True, "maxInFlight": self._max_in_flight}
        try:
            await link.request(frame, answered)
        except (NotSent, ConnectionLost):
            pass  # the next connection has its own

    def keep(self, link: Link, event: Event) -> None:
        """Keeps an event until the handler is free."""
        if self._link is not link:  # those of the connection before come again
            self._link = link
            for events in (self._events, self._done, self._failed):
                events.clear()
        self._events.append(event)
        self.wake()

    def end(self, refused: Refused) -> None:
        """Has run end, since the service refuses the group."""
        self._refused = refused
        self.wake()

    def wake(self) -> None:
        self._woken.set()

    async def _next(self) -> tuple[Link, list[Event]]:
        """Waits for events, and takes all that the handler gets at once."""
        while True:
            if self._refused is not None:
                raise self._refused
            if self._client._error is not None:
                raise self._client._error.with_traceback(None)
            if self._link is not None and not self._link.over.is_set() and self._events:
                events = [self._events.popleft()]
                while events[0].attempt < ALONE and self._events and self._events[0].attempt < ALONE:
                    events.append(self._events.popleft())
                return self._link, events
            self._woken.clear()
            await self._woken.wait()

    def _next_is_alone(self) -> bool:
        """Many of these take no longer than it takes to handle them: the service is told of them together."""
        return bool(self._events) and self._events[0].attempt >= ALONE

    async def _settle(self, link: Link) -> None:
        """Tells the service what became of events, unless their connection has ended. If it is cancelled meanwhile, _leave
        tells it again, which does no harm."""
        done, failed = list(self._done), list(self._failed)
        for some in chunks(done):
            await self._tell(link, {"ackIds": [e.ack_id for e in some]})
        for some in chunks(failed):
            await self._tell(link, {"nack": [{"ackId": e.ack_id, "delayMs": nack_delay(e.attempt)} for e in some]})
        if self._link is link:
            self._done.clear()
            self._failed.clear()

    async def _tell(self, link: Link, what: dict[str, Any]) -> None:
        while True:
            try:
                await link.ask({"type": "group_ack", **what})
                return
            except Refused as refused:
                if refused.code not in ("backend_error", "internal_error") or not await link.pause(RETRY):
                    return
            except (NotSent, ConnectionLost):
                return

    async def _leave(self) -> None:
        """Ends the part in the group, and gives back what the handler did not get, or was cancelled with."""
        self._leaving = True
        link = self._client._link
        if link is None or self._refused is not None:
            return
        try:
            async with asyncio.timeout(LEAVING):
                await link.ask({"type": "unsubscribe", "group": self._name})
                if self._link is link:
                    await self._settle(link)
                    for some in chunks(list(self._events)):
                        await self._tell(link, {"nack": [{"ackId": e.ack_id, "delayMs": 0} for e in some]})
        except (Error, TimeoutError):
            pass  # they come again when the leases end


def chunks(events: list[Event]) -> list[list[Event]]:
    return [events[i:i + MAX_SETTLED] for i in range(0, len(events), MAX_SETTLED)]


def nack_delay(attempt: int) -> int:
    """For how many ms an event waits on which the handler failed."""
    return min(LAST_NACK_MS, FIRST_NACK_MS << min(attempt - 1, 20))
