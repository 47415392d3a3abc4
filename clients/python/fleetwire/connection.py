"""A Connection is there again after each end, with a good token."""
from __future__ import annotations

import asyncio
import inspect
import json
import logging
import ssl
from typing import Any, Awaitable, Callable, Coroutine, Union
from urllib.parse import urlencode

from .backoff import Backoff, Ending
from .errors import Closed, ConnectionEnded, NoMoreTokens, NotService, Refused, Stopped, said
from .link import Link
from .messages import Welcome
from .state import Change, State
from .tokens import service_url
from .wire import OPEN_TIMEOUT, Wire, open_wire

log = logging.getLogger("fleetwire")

Token = Union[str, Callable[[], Union[str, Awaitable[str]]]]
TOKEN_TIMEOUT = 30.0  # seconds
REFRESH_LEAD = 300.0  # a token is exchanged when a fifth of its time is left, or this much
RETRY = 2.0  # seconds, at least, before what the service's store did not take is sent again; up to as much again is random
PASSING = ("backend_error", "internal_error")  # codes of what may be tried again


class Connection:
    """The part of a Client beneath subscriptions: it connects, and does what close codes ask (protocol §4.5)."""

    def __init__(self, url: str, token: Token | None, publishable_key: str | None, frames_per_second: float, tls: ssl.SSLContext | None) -> None:
        if (token is None) == (publishable_key is None):
            raise ValueError("a Client connects with a token or a publishable_key; give one of them")
        self._address = "ws" + service_url(url)[len("http"):]
        if publishable_key is not None:
            self._address += "?" + urlencode({"key": publishable_key})  # it is public
        self._source, self._used, self._token = token, False, ""
        self._frames_per_second, self._tls = frames_per_second, tls
        self._backoff = Backoff()
        self._link: Link | None = None  # None: not connected
        self._error: Closed | Stopped | None = None  # why it is over
        self._latest: BaseException | None = None  # why the last attempt failed
        self._changed = asyncio.Event()  # set and replaced when something changes for which methods wait
        self._running: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # that do commands, send subscriptions again and so on

    # Hooks for Client

    def _renew(self, link: Link) -> Coroutine[Any, Any, None]:
        raise NotImplementedError

    def _handle(self, link: Link, text: str) -> None:
        raise NotImplementedError

    def _tell(self, change: Change) -> None:
        raise NotImplementedError

    def _report(self, error: Exception) -> None:
        raise NotImplementedError

    def _over(self) -> None:
        """Is called once, when the client is closed or stopped."""
        raise NotImplementedError

    # Life

    def _end(self, error: Closed | Stopped) -> None:
        if self._error is None:
            self._error = error
            self._change()
            self._over()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self) -> Link:
        while True:
            if self._error is not None:
                raise self._error.with_traceback(None)
            if self._link is not None and not self._link.over.is_set():
                return self._link
            await self._changed.wait()

    async def _live(self) -> Link:
        """A connection on which the subscriptions are renewed: no answer to what is sent there can be missed."""
        while True:
            link = await self._connected()
            if link.live.is_set():
                return link
            await self._changed.wait()

    # Connections

    async def _run(self) -> None:
        while True:
            self._tell(Change(State.CONNECTING))
            ending = await self._session()
            if self._error is not None:
                return  # the program has closed the client
            step = self._backoff.after(ending)
            if step.new_token:
                self._token = ""
            if step.stop or step.new_token and self._source is None:
                if isinstance(ending.error, NoMoreTokens) and self._latest is not None:
                    ending.error.__cause__ = self._latest
                stopped = Stopped(ending.error)
                log.error("%s", stopped)
                self._tell(Change(State.STOPPED, error=ending.error))
                self._end(stopped)
                return
            self._latest = ending.error
            log.warning("not connected, the next attempt comes in %.1f s: %s", step.pause, said(ending.error))
            self._tell(Change(State.WAITING, error=ending.error, retry_in=step.pause))
            await asyncio.sleep(step.pause)

    async def _session(self) -> Ending:
        """One connection, from the token to its end."""
        try:
            if not self._token and self._source is not None:
                self._token = await self._ask_token()
            wire = await open_wire(self._address, self._token, self._tls)
        except Exception as error:  # the program's token function may raise anything
            return Ending(error)
        try:
            return await self._converse(wire)
        finally:
            await wire.close()

    async def _converse(self, wire: Wire) -> Ending:
        clock = asyncio.get_running_loop().time
        try:
            welcome = await asyncio.wait_for(first_frame(wire.receive()), OPEN_TIMEOUT)
        except Exception as error:
            return Ending(error)
        link = self._link = Link(wire, welcome, self._frames_per_second)
        log.info("connected as %s", welcome.peer)
        self._tell(Change(State.CONNECTED, welcome=welcome))
        self._change()
        helpers = [asyncio.create_task(self._renew(link)), asyncio.create_task(self._refresh(link))]
        why: Exception = Closed("the client is closed")
        try:
            while True:
                self._read(link, await wire.receive())
        except Exception as error:
            why = ConnectionEnded(1001, "left: the service did not close it within retryAfterMs") if link.left else error
        finally:
            self._link = None
            link.end(why)
            self._change()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
        return Ending(why, clock() - link.began, None if link.back_at is None else link.back_at - clock())

    def _read(self, link: Link, text: str) -> None:
        try:
            self._handle(link, text)
        except Exception as strange:  # another peer wrote a part of it, and may have written what json can't read
            debug = log.isEnabledFor(logging.DEBUG)
            log.warning("skipped a frame of %d characters that this client can't read: %s", len(text), type(strange).__name__, exc_info=debug)

    async def _ask_token(self) -> str:
        if not callable(self._source):
            if self._used:
                raise NoMoreTokens("the only token was refused or has expired")
            self._used = True
            token: Any = self._source
        elif inspect.iscoroutinefunction(self._source):
            token = await asyncio.wait_for(self._source(), TOKEN_TIMEOUT)
        else:
            token = await asyncio.wait_for(asyncio.to_thread(self._source), TOKEN_TIMEOUT)
            if inspect.isawaitable(token):  # such as a lambda that calls a coroutine function
                token = await asyncio.wait_for(token, TOKEN_TIMEOUT)
        if not isinstance(token, str) or not token or not all("!" <= c <= "~" for c in token):
            raise ValueError("what the token function gave is no token: a text of printable ASCII characters without spaces")
        return token

    async def _refresh(self, link: Link) -> None:
        """Exchanges the connection's token before its time is over (protocol §4.2). Where that does not work, the service
        ends the connection with the token, and the next one is made with a new one."""
        expires, welcomed = link.welcome.expires_at, asyncio.get_running_loop().time()
        while self._source is not None and expires is not None:
            passed = asyncio.get_running_loop().time() - welcomed  # our own clock may be set
            left = expires - link.welcome.server_time - 1 - passed
            lead = min(left / 5, REFRESH_LEAD)
            if not await link.pause(left - lead + self._backoff.jitter(lead / 2)):
                return
            expires = await self._exchange(link)

    async def _exchange(self, link: Link) -> int | None:
        """Gives the service a new token until it takes or refuses it; when that one ends."""
        while True:
            try:
                token = await self._ask_token()
                ack = await link.ask({"type": "refresh", "token": token})
            except Exception as error:  # also the program's
                if isinstance(error, NoMoreTokens) or isinstance(error, Refused) and error.code not in PASSING:
                    log.warning("the token was not exchanged, the connection ends with it: %s", said(error))
                    return None
                log.warning("the token was not exchanged, it is tried again: %s", said(error))
                if not await link.pause(RETRY + self._backoff.jitter(RETRY)):
                    return None
                continue
            self._token = token
            for name in ack.frame.get("unsubscribed") or []:
                self._report(Refused("channel_not_authorized", f"the new token does not cover the subscription to {name!r}"))
            expires = ack.frame.get("expiresAt")
            return expires if isinstance(expires, int) else None


async def first_frame(receiving: Awaitable[str]) -> Welcome:
    """The welcome, or as a close code a refusal (protocol §4.1)."""
    try:
        frame = json.loads(await receiving)
        if frame["type"] == "welcome":
            return Welcome(frame["peerId"], frame["expiresAt"], frame["serverTime"], frame["maxMessageSize"], frame.get("metadata"))
    except (ValueError, LookupError, TypeError):
        pass
    raise NotService("the first frame is not a welcome; is the URL right?")
