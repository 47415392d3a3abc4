"""The device's side of commands (protocol §8.3)."""
from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Union

from .errors import Closed, ConnectionLost, Refused, Rejected, Stopped, TooLarge, said
from .link import encode
from .messages import Json, Message
from .subscription import OnMessage

if TYPE_CHECKING:
    from .client import Client

log = logging.getLogger("fleetwire")

REMEMBERED = 1000  # commands whose answers are known, so that one that comes again is not done again
MAX_ANSWER = 16 << 10  # bytes of an answer's data
RETRY = 1.0  # seconds, at least, before an answer is sent again that the service's store did not take
CANCELLED = "the command was cancelled"


@dataclass(frozen=True)
class Command:
    """A command that a peer or a backend has sent. A cancelled one cancels its handler."""

    id: str
    channel: str
    sender: str
    data: Json
    attempt: int  # over 1: it was handed over before
    timeout: float  # seconds within which the final answer must come; progress starts them anew
    _client: Client = field(repr=False)

    async def progress(self, data: Json = None) -> None:
        """Answers "running", with what the caller is to see."""
        await answer(self._client, self.id, "running", data)


Handle = Callable[[Command], Union[Awaitable[Json], Json]]


@dataclass(frozen=True)
class Outcome:
    """A final answer."""

    status: str
    data: Json


class KnownCommands:
    """Those that a client was handed last, or told that they are cancelled."""

    def __init__(self) -> None:
        self.outcomes: OrderedDict[str, Outcome] = OrderedDict()
        self.running: dict[str, asyncio.Future[Json]] = {}

    def remember(self, command: str, outcome: Outcome) -> None:
        self.outcomes[command] = outcome
        if len(self.outcomes) > REMEMBERED:
            self.outcomes.popitem(last=False)

    def cancel(self, command: Any) -> None:
        """Cancels the handler that has the command. One that waits for its turn will not be done."""
        if command in self.running:
            self.running[command].cancel()
        elif isinstance(command, str) and command not in self.outcomes:
            self.remember(command, Outcome("rejected", CANCELLED))


class CommandHandler:
    """Does the commands of one subscription, one after the other."""

    def __init__(self, client: Client, handle: Handle, on_message: OnMessage | None) -> None:
        self._client, self._handle, self._on_message = client, handle, on_message
        self._queue: asyncio.Queue[Command] = asyncio.Queue(REMEMBERED)
        self._begun = False

    def take(self, message: Message) -> Awaitable[None] | None:
        told = message.command
        if told is None:
            return self._on_message(message) if self._on_message else None
        if not self._begun:
            self._begun = True
            self._client._work(self._run())
        attempt, timeout = told.get("attempt"), told.get("timeoutMs")
        return self._queue.put(Command(
            told["id"], message.channel, message.sender, message.data,
            attempt if isinstance(attempt, int) else 1, timeout / 1000 if isinstance(timeout, (int, float)) else 0.0, self._client,
        ))

    async def _run(self) -> None:
        while True:
            command = await self._queue.get()
            known = self._client._known
            if command.id not in known.outcomes:
                doing = asyncio.ensure_future(self._do(command))
                known.running[command.id] = doing
                try:
                    outcome = await self._outcome(doing)
                finally:
                    del known.running[command.id]
                known.remember(command.id, outcome)
            final = known.outcomes[command.id]
            await insist(self._client, command.id, final.status, final.data)

    async def _do(self, command: Command) -> Json:
        await insist(self._client, command.id, "received", None)
        result = self._handle(command)
        return await result if inspect.isawaitable(result) else result

    async def _outcome(self, doing: asyncio.Future[Json]) -> Outcome:
        try:
            await asyncio.wait([doing])
        except asyncio.CancelledError:  # the client is closed
            doing.cancel()
            raise
        if doing.cancelled():
            return Outcome("rejected", CANCELLED)
        error = doing.exception()
        if isinstance(error, Rejected):
            return Outcome("rejected", shortened(str(error)))
        if error is not None:
            log.warning("a command failed: %s", said(error))
            return Outcome("failed", shortened(said(error)))
        try:
            size = len(encode(doing.result()).encode())
        except (TypeError, ValueError) as unfit:
            return Outcome("failed", f"done, but its answer is no JSON: {shortened(str(unfit))}")
        if size > MAX_ANSWER:
            return Outcome("failed", f"done, but its answer is {size} bytes long; at most {MAX_ANSWER} go")
        return Outcome("succeeded", doing.result())


def shortened(text: str) -> str:
    """A text that fits into an answer, however it is escaped."""
    return text if len(text) <= MAX_ANSWER // 6 - 10 else text[:MAX_ANSWER // 6 - 10] + "…"


async def answer(client: Client, command: str, status: str, data: Json) -> None:
    frame: dict[str, Json] = {"type": "answer", "command": command, "status": status}
    if data is not None:
        frame["data"] = data
        size = len(encode(data).encode())
        if size > MAX_ANSWER:
            raise TooLarge(f"the answer's data is {size} bytes long; the service takes {MAX_ANSWER}")
    await client._deliver(frame)


async def insist(client: Client, command: str, status: str, data: Json) -> None:
    """Gives an answer until the service has it, or refuses it. The same answer again is taken."""
    while True:
        try:
            return await answer(client, command, status, data)
        except ConnectionLost:
            continue
        except (Closed, Stopped):
            return
        except Refused as refused:
            if refused.code not in ("backend_error", "internal_error"):
                return client._report(refused)
        await asyncio.sleep(RETRY + client._backoff.jitter(RETRY))
