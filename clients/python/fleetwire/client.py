"""A Client stays connected and subscribed."""
from __future__ import annotations

import asyncio
import inspect
import json
import ssl
from types import TracebackType
from typing import Any, Callable, Coroutine, Mapping

from .backoff import LONGEST_ASKED
from .commands import CommandHandler, Handle, KnownCommands
from .connection import PASSING, RETRY, Connection, Token, log
from .errors import Closed, ConnectionLost, Error, NotSent, Refused, Stopped
from .groups import HandleEvents, Ingester
from .inbox import Inbox
from .link import Ack, Link, refused
from .messages import Event, Gap, Json, Message, Position, Presence, Welcome, members
from .state import Change, State
from .subscription import OnMessage, OnPresence, Subscription
from .wire import FAREWELL

OVERHEAD = 256  # what a waiting message counts beside its characters


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function of the program, which may be a coroutine function."""
    result = function(*args)
    return await result if inspect.isawaitable(result) else result


class Client(Connection):
    """Holds one connection to the service, in the background, and does what close codes ask.

    url is https://HOST (http:// without TLS). token is a token (protocol §3), or a function that gets one: a coroutine
    function, or one that runs in a thread. It is called before the first connection, again shortly before that token
    ends, and when the service has refused one. With a text the client stops when that is used up. A program without
    tokens has a publishable_key instead.

    on_direct gets messages to this peer, on_state what becomes of the connection, on_gap what did not come of a channel
    that remembers, and on_error refusals that no call returns, and errors of the program's functions. These functions,
    and the handlers of subscriptions, may be coroutine functions. They are called one after the other. A coroutine function
    that is slow holds up the others, but neither pings nor acks; beyond queue_bytes, messages that wait are dropped, and
    counted in Message.missed.

    All methods belong to the event loop in which the client was started. They wait as long as it takes, also for a
    connection where there is none: limit them with asyncio.timeout.
    """

    def __init__(
        self, url: str, token: Token | None = None, *, publishable_key: str | None = None,
        on_direct: OnMessage | None = None, on_state: Callable[[Change], Any] | None = None,
        on_gap: Callable[[Gap], Any] | None = None, on_error: Callable[[Exception], Any] | None = None,
        frames_per_second: float = 95, queue_bytes: int = 4 << 20, tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(url, token, publishable_key, frames_per_second, tls)
        self._on_direct, self._on_state, self._on_gap, self._on_error = on_direct, on_state, on_gap, on_error
        self._inbox = Inbox(queue_bytes)
        self._subs: dict[str, Subscription] = {}  # oldest first
        self._will: dict[str, Json] | None = None
        self._groups: dict[str, Ingester] = {}
        self._known = KnownCommands()

    # Life

    def start(self) -> None:
        """Begins to connect, in the background. A program that needs the connection says "async with" instead."""
        if self._running is not None:
            raise RuntimeError("the client was started already")
        self._running = asyncio.create_task(self._run())
        self._work(self._dispatch())

    async def __aenter__(self) -> Client:
        self.start()
        try:
            await self.connected()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def connected(self) -> Welcome:
        """Waits for a connection."""
        return (await self._connected()).welcome

    async def wait(self) -> None:
        """Waits until the program closes the client. Raises Stopped when the service will not have it any more."""
        while self._error is None:
            await self._changed.wait()
        if isinstance(self._error, Stopped):
            raise self._error.with_traceback(None)

    async def close(self) -> None:
        """Ends the connection in order, so that the service does not publish the will. Functions of the program that run are
        cancelled, but the one that calls this. Again is fine."""
        self._end(Closed("the client is closed"))
        link = self._link
        if link is not None:
            try:
                await asyncio.wait_for(link.wire.close(), 2 * FAREWELL)
            except (TimeoutError, Error):
                pass
        me = asyncio.current_task()
        if self._running is not None and self._running is not me:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        for task in self._tasks - {me}:
            task.cancel()

    def _over(self) -> None:
        self._inbox.finish(drop=isinstance(self._error, Closed))
        for group in self._groups.values():
            group.wake()

    # Methods for programs

    async def subscribe(
        self, channel: str, handler: OnMessage, *, presence: OnPresence | None = None,
        sender_metadata: bool = False, last: int | None = None, since: Position | None = None,
    ) -> None:
        """Joins a channel, or with a pattern such as devices/*/events every channel that it matches, and waits until it is
        live on all nodes. It lasts until unsubscribe or close, over as many connections as it takes. Again replaces it.

        presence gets who joins and leaves; the token must allow it. In a channel that remembers, last begins with so many
        of the newest messages, and since behind a position; after a reconnect the subscription goes on where it was.
        """
        options = {"includeSenderMetadata": True} if sender_metadata else {}
        await self._subscribe(Subscription(channel, handler, presence, options, last, since))

    async def unsubscribe(self, channel: str) -> None:
        """Leaves a channel or a pattern, as it was given to subscribe."""
        there = self._subs.pop(channel, None) is not None
        self._change()
        if there and self._link is not None:
            try:
                await self._link.ask({"type": "unsubscribe", "channel": channel})
            except (NotSent, ConnectionLost):
                pass  # the next connection will not have it

    async def publish(
        self, channel: str, data: Json, *, idempotency_key: str | None = None, if_newest: Position | None = None,
    ) -> Position | None:
        """Publishes to every other subscriber, and waits until the service has taken it. Returns the message's position
        in a channel that remembers.

        Raises ConnectionLost when it is not known whether it was published. With an idempotency_key the message is sent
        again instead, and published once. With if_newest it is published only if that is the channel's newest position.
        """
        frame: dict[str, Json] = {"type": "publish", "channel": channel, "data": data}
        if idempotency_key is not None:
            frame["idempotencyKey"] = idempotency_key
        if if_newest is not None:
            frame["ifOffset"], frame["ifEpoch"] = if_newest.offset, if_newest.epoch
        return (await self._deliver(frame, again=idempotency_key is not None)).position

    async def send(self, peer: str, data: Json) -> None:
        """Sends to all connections of a peer, on any node. Raises Refused with peer_not_found where there is none."""
        await self._deliver({"type": "send", "to": peer, "data": data})

    async def handle_commands(
        self, channel: str, handler: Handle, *, confirm: bool = False, on_message: OnMessage | None = None,
    ) -> None:
        """Subscribes to a channel, and has handler do the commands that come there, each once, one after the other.

        What handler returns is the answer's data, with "succeeded". Rejected makes it "rejected", another exception
        "failed" with its text. The answer is sent until the service has it. A handler whose command is cancelled is cancelled.
        With confirm a command that was under way when the connection ended comes again, and the service says which are
        cancelled. on_message gets the channel's messages that are no commands.
        """
        options = {"commands": "confirm"} if confirm else {}
        commands = CommandHandler(self, handler, on_message)
        await self._subscribe(Subscription(channel, commands.take, None, options, None, None))

    async def group(self, name: str, handler: HandleEvents, *, max_in_flight: int = 100) -> None:
        """Takes part in a group of ingesters (protocol §10), until it is cancelled or the service refuses it: handler gets
        a list of events, those of a channel in order, and the next ones when it has returned.

        They are then acknowledged. If it raises an exception, all of them are delivered again, after a pause that grows with
        each attempt. An event that comes for the third time, or more, comes alone: so one that always fails becomes a dead
        letter, and those that came with it do not.
        """
        if name in self._groups:
            raise ValueError(f"the client takes part in the group {name!r} already")
        ingester = self._groups[name] = Ingester(self, name, handler, max_in_flight)
        try:
            await ingester.run()
        finally:
            del self._groups[name]

    async def set_will(self, channel: str, data: Json, delay: float = 0) -> None:
        """Has the service publish data when this peer is gone, for any reason but close, and is not back within delay
        seconds (protocol §4.7). The client sets it on each further connection. If it is refused, the former will stays."""
        await self._put_will({"type": "will", "channel": channel, "data": data, "delayMs": round(delay * 1000)})

    async def clear_will(self) -> None:
        """Takes the will back."""
        await self._put_will(None)

    async def _subscribe(self, sub: Subscription) -> None:
        again = self._subs.pop(sub.channel, None) is not None
        self._subs[sub.channel] = sub
        self._change()
        try:
            if self._error is None and self._link is not None:
                await self._send_subscribe(self._link, sub)
            await self._first_answer(sub)
        except BaseException as error:
            if self._subs.get(sub.channel) is sub:
                del self._subs[sub.channel]
                if self._link is not None and (again or not isinstance(error, Refused)):
                    self._work(self._correct(self._link, sub.channel))
            raise

    async def _first_answer(self, sub: Subscription) -> None:
        """Waits for the first answer to a subscribe, on whatever connection."""
        while not sub.first.done():
            if self._error is not None:
                raise self._error.with_traceback(None)
            if self._subs.get(sub.channel) is not sub:
                raise Error(f"another call for the channel {sub.channel!r} came in between")
            await self._changed.wait()
        sub.first.result()

    async def _send_subscribe(self, link: Link, sub: Subscription, settled: Callable[[], None] = lambda: None) -> None:
        """Asks for a subscription on this connection. settled is called when it is granted or refused for good."""
        frame = sub.frame()

        def answered(ack: Ack | None, error: Exception | None) -> None:
            if isinstance(error, ConnectionLost):
                return
            current = self._subs.get(sub.channel) is sub
            gap = sub.placed(link, ack, "since" in frame) if ack else None
            if gap and current:
                self._missed(gap)
            if not sub.first.done():
                sub.first.set_exception(error) if error else sub.first.set_result(None)
                self._change()
            elif error and current:
                self._report(error)
                if isinstance(error, Refused) and error.code in PASSING:
                    return self._work(self._subscribe_again(link, sub, settled))
            if not current:
                self._work(self._correct(link, sub.channel))
            settled()

        try:
            await link.request(frame, answered)
        except (NotSent, ConnectionLost):
            pass  # the next connection has it

    async def _subscribe_again(self, link: Link, sub: Subscription, settled: Callable[[], None]) -> None:
        if await link.pause(RETRY + self._backoff.jitter(RETRY)):
            await self._send_subscribe(link, sub, settled)

    async def _correct(self, link: Link, channel: str) -> None:
        """Makes the service's mind up about a channel: two frames about it were under way, and which came last is not known."""
        sub = self._subs.get(channel)
        try:
            if sub is not None:
                await self._send_subscribe(link, sub)
            else:
                await link.ask({"type": "unsubscribe", "channel": channel})
        except Error:
            pass  # the next connection has what is wanted

    async def _deliver(self, frame: Mapping[str, Json], again: bool = False) -> Ack:
        """Sends a frame on the first connection that takes it. again: one whose answer is lost may be sent once more."""
        while True:
            link = await self._live()
            try:
                return await link.ask(frame)
            except NotSent:
                continue
            except ConnectionLost:
                if not again:
                    raise

    async def _put_will(self, will: dict[str, Json] | None) -> None:
        former, self._will = self._will, will
        while will is not None or self._link is not None:
            link = await self._connected()
            try:
                await link.ask(self._will or {"type": "will", "channel": None})
                return
            except (NotSent, ConnectionLost):
                continue  # to have it on the next one twice does no harm
            except Refused as error:
                if error.outcome != "unknown" and self._will is will:
                    self._will = former
                raise

    async def _renew_will(self, link: Link) -> None:
        while self._will is not None:
            try:
                await link.ask(self._will)
                return
            except (NotSent, ConnectionLost):
                return
            except Refused as error:
                self._report(error)
                if error.code not in PASSING or error.outcome == "unknown" or not await link.pause(RETRY + self._backoff.jitter(RETRY)):
                    return

    # Connections

    def _renew(self, link: Link) -> Coroutine[Any, Any, None]:
        return self._renew_all(link, list(self._subs.values()))  # later ones are sent by their makers

    async def _renew_all(self, link: Link, subs: list[Subscription]) -> None:
        """Sends the will, groups and subscriptions on a new connection, and tells when all have been answered."""
        unsettled = len(subs)

        def settled() -> None:
            nonlocal unsettled
            unsettled -= 1
            if unsettled <= 0:
                link.live.set()
                self._change()
                self._tell(Change(State.LIVE))

        if self._will is not None:
            self._work(self._renew_will(link))
        for group in self._groups.values():
            self._work(group.join(link))
        if not subs:
            settled()
        for sub in subs:
            if self._subs.get(sub.channel) is sub:
                await self._send_subscribe(link, sub, settled)
            else:
                settled()

    # Frames

    def _handle(self, link: Link, text: str) -> None:
        """Does what a frame of the service says (protocol §4.3). It ignores unknown frames: a newer service may send more."""
        frame = json.loads(text)
        kind = frame["type"]
        if kind == "message" and frame.get("group"):
            self._grouped(link, frame)
        elif kind in ("message", "direct"):
            self._came(link, frame, len(text))
        elif kind == "presence":
            self._put(Presence(frame["channel"], members(frame["joined"]), members(frame["left"])), OVERHEAD + len(text))
        elif kind == "ack":
            link.answer(frame)
        elif kind == "error":
            self._refused(link, frame)
        elif kind == "gap":
            self._gap(link, frame)
        elif kind == "command_cancelled":
            self._known.cancel(frame["command"])
        elif kind == "going_away":
            self._go_away(link, frame["retryAfterMs"])

    def _came(self, link: Link, frame: Mapping[str, Any], size: int) -> None:
        direct, offset = frame["type"] == "direct", frame.get("offset")
        channel = "" if direct else frame["channel"]
        sub = self._subs.get(channel)
        position = sub.came(link, offset) if sub and isinstance(offset, int) else None
        command = frame.get("command")
        self._put(Message(
            channel, frame["from"], frame["data"], frame.get("fromMetadata"), position, frame.get("replayed") is True,
            command=command if isinstance(command, dict) and isinstance(command.get("id"), str) else None,
        ), OVERHEAD + size)

    def _put(self, item: Message | Presence, size: int) -> None:
        if self._inbox.put(item, size) == 1:
            log.warning("messages are dropped: the handlers are too slow")

    def _grouped(self, link: Link, frame: Mapping[str, Any]) -> None:
        group = self._groups.get(frame["group"])
        if group is not None:
            group.keep(link, Event(
                frame["channel"], frame["from"], frame["data"], frame.get("fromMetadata"),
                frame["publishedAt"] / 1000, frame["attempt"], frame["ackId"],
            ))

    def _refused(self, link: Link, frame: Mapping[str, Any]) -> None:
        if link.answer(frame) or frame.get("requestId"):
            return  # or the caller waits no longer
        group = self._groups.get(frame.get("group", ""))
        if group is not None:
            group.end(refused(frame))
        else:
            self._report(refused(frame))

    def _gap(self, link: Link, frame: Mapping[str, Any]) -> None:
        sub, until = self._subs.get(frame["channel"]), Position.of(frame)
        gap = sub.gap(link, until) if sub and until else None
        if gap is not None:
            self._missed(gap)

    def _go_away(self, link: Link, retry_after_ms: int) -> None:
        pause = min(max(retry_after_ms, 0) / 1000, LONGEST_ASKED)
        if pause > 0:  # counted from this frame
            first, link.back_at = link.back_at is None, asyncio.get_running_loop().time() + pause
            if first:
                self._work(self._leave(link))
        self._tell(Change(State.GOING_AWAY, retry_in=pause))

    async def _leave(self, link: Link) -> None:
        """Closes the connection if it still stands when the service wants the client back."""
        while (left := (link.back_at or 0) - asyncio.get_running_loop().time()) > 0:
            if not await link.pause(left):
                return
        link.left = True
        await link.wire.close()

    # The program's functions

    async def _dispatch(self) -> None:
        while True:
            item = await self._inbox.take()
            if item is None:
                return
            await asyncio.sleep(0)  # lets others run: the functions may not wait for anything
            for function in self._functions(item):
                try:
                    await call(function, item)
                except Exception as error:
                    log.exception("a function of the program failed")
                    if function is not self._on_error:
                        self._notice_error(error)

    def _functions(self, item: Any) -> list[Callable[[Any], Any]]:
        """The functions that get an item."""
        if isinstance(item, Message) and item.channel:
            return [s.take for s in self._subs.values() if s.matches(item.channel)]
        if isinstance(item, Presence):
            return [s.presence for s in self._subs.values() if s.presence and s.matches(item.channel)]
        to = {Message: self._on_direct, Change: self._on_state, Gap: self._on_gap}.get(type(item), self._on_error)
        return [to] if to else []

    def _tell(self, change: Change) -> None:
        if self._on_state is not None:
            self._inbox.notice(change)

    def _report(self, error: Exception) -> None:
        log.warning("the service refused a frame: %s", error)
        self._notice_error(error)

    def _notice_error(self, error: Exception) -> None:
        if self._on_error is not None:
            self._inbox.notice(error)

    def _missed(self, gap: Gap) -> None:
        log.warning("messages of a channel are missing: %s", gap)
        if self._on_gap is not None:
            self._inbox.notice(gap)
