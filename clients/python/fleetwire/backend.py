"""The requests of a backend that holds a secret key (protocol §5)."""
from __future__ import annotations

import asyncio
import http.client
import json
import random
import secrets
import selectors
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, AsyncIterator, Awaitable, Callable, Iterable, Mapping, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from .errors import Error, NotService, Refused
from .link import encode
from .messages import Json, Member, Message, Position, members
from .tokens import claimed, parse_key, service_url
from .wire import retry_after

WAIT = 10.0  # seconds that one request waits for the end of a command
TRIES = 5  # of a publish or a command whose answer is lost
RETRY = 1.0  # seconds, at least, before a request is repeated; up to as much again is random
LONGEST_ASKED = 300.0  # seconds that a Retry-After can ask for
T = TypeVar("T")


class Fields(dict[str, Any]):
    """An answer's."""

    def __missing__(self, name: str) -> Any:
        raise NotService(f"the answer has no field {name}; is the URL right?")


class Unanswered(Error):
    """A request had no answer: whether it was done is not known."""


@dataclass(frozen=True)
class Published:
    """The service has published a message."""

    subscribers: int  # connections that are subscribed by name: with 0 no one was there to hear it
    position: Position | None  # in a channel that remembers


@dataclass(frozen=True)
class Answer:
    """The latest state of a command at one peer."""

    peer: str
    status: str
    data: Json
    attempt: int


@dataclass(frozen=True)
class SentCommand:
    """A command and its state (protocol §8.1, §8.2)."""

    id: str
    status: str  # such as succeeded, failed, timed_out, mixed; waiting or active while it goes on
    counts: Mapping[str, int]
    answers: list[Answer]  # of the first 20 peers, by id
    more: bool  # there are others: see Backend.answers

    @property
    def ended(self) -> bool:
        return self.status not in ("waiting", "active")


@dataclass(frozen=True)
class History:
    """Messages that a channel remembers."""

    position: Position  # the newest; offset is 0 if nothing was ever published
    recovered: bool  # with since: messages are all that came after the position
    messages: list[Message]  # the oldest first


class Backend:
    """Makes requests, each in a thread. Refused ones raise Refused, with the HTTP status.

    Publishes and commands carry an idempotency key: if the answer is lost they are sent again, and done once.
    """

    def __init__(self, url: str, key: str, *, tls: ssl.SSLContext | None = None, requests: int = 64) -> None:
        parse_key(key)
        if not all("!" <= c <= "~" for c in key):
            raise ValueError("a secret key that goes over HTTP is printable ASCII without spaces")
        self._at = urlsplit(service_url(url))
        self._headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
        self._tls = tls
        self._threads = ThreadPoolExecutor(requests, "fleetwire")  # so many at the same time
        self._idle: list[http.client.HTTPConnection] = []

    # Tokens and peers

    async def mint_token(
        self, peer: str, *, channels: Iterable[str] | None = None, permissions: Iterable[str] | None = None,
        ttl: int = 3600, metadata: Mapping[str, Json] | None = None, peer_metadata: Mapping[str, Json] | None = None,
    ) -> str:
        """Gets a token for a peer. An argument that is left out is as the key has it; see also sign_token."""
        body = {"peerId": peer, "expiresInSec": ttl, **claimed(channels, permissions, metadata, peer_metadata)}
        return str((await self.request("POST", "/tokens", body))["token"])

    def tokens(self, peer: str, **claims: Any) -> Callable[[], Awaitable[str]]:
        """A token function for a Client of the backend's own. claims are those of mint_token."""
        return lambda: self.mint_token(peer, **claims)

    async def disconnect(self, peer: str, *, revoke: bool = False) -> int:
        """Closes all connections of a peer, and returns how many those were. revoke refuses tokens issued until now, too."""
        answer = await self.request("DELETE", f"/peers/{quote(peer, safe='')}", query={"revoke": "true"} if revoke else {})
        return int(answer["closed"])

    def peers(self, *, prefix: str = "", online: bool | None = None, seen_before: float | None = None) -> AsyncIterator[dict[str, Json]]:
        """The peers that the app knows, by id (protocol §5, GET /v1/peers). seen_before is in unix seconds."""
        query: dict[str, Json] = {"prefix": prefix} if prefix else {}
        if online is not None:
            query["online"] = "true" if online else "false"
        if seen_before is not None:
            query["seenBefore"] = round(seen_before * 1000)
        return self._entries("/peers", "peers", query)

    async def peer(self, peer: str) -> dict[str, Json]:
        """Returns what is known of a peer, and its connections. Raises Refused with peer_not_found."""
        return await self.request("GET", f"/peers/{quote(peer, safe='')}")

    async def members(self, channel: str) -> list[Member]:
        """Returns the peers that are subscribed to a channel by name."""
        return members([entry async for entry in self._entries(path(channel, "peers"), "peers", {})])

    # Messages

    async def publish(
        self, channel: str, data: Json, *, sender: str | None = None, sender_metadata: Mapping[str, Json] | None = None,
        idempotency_key: str | None = None, if_newest: Position | None = None,
    ) -> Published:
        """Publishes to all subscribers of a channel. With if_newest only if that is the channel's newest position."""
        body = given(
            data=data, idempotencyKey=idempotency_key or secrets.token_hex(16), peerMetadata=sender_metadata,
            ifOffset=if_newest and if_newest.offset, ifEpoch=if_newest and if_newest.epoch, **{"from": sender},
        )
        answer = await until_answered(lambda: self.request("POST", path(channel, "publish"), body))
        return Published(int(answer["subscribers"]), Position.of(answer))

    async def history(self, channel: str, *, last: int | None = None, since: Position | None = None) -> History:
        """Reads the last messages that a channel remembers, or all after a position."""
        query: dict[str, Json] = {"last": last} if last is not None else {}
        recovered, found, newest = True, [], Position("", 0)
        while True:
            if since:
                query = {"since": f"{since.epoch}:{since.offset}"}
            page = await self.request("GET", path(channel, "messages"), query=query)
            recovered = recovered and page.get("recovered", True) is True
            if page["epoch"] != newest.epoch:
                newest = Position(page["epoch"], page["offset"])
            found += [remembered(channel, page["epoch"], m) for m in page["messages"]]
            if not page["messages"] or page["messages"][-1]["offset"] >= newest.offset:
                return History(newest, recovered, found)
            since = found[-1].position

    async def forget(self, channel: str) -> None:
        """Has a channel forget its messages. Offsets go on rising."""
        await self.request("DELETE", path(channel, "messages"))

    # Commands

    async def command(
        self, channel: str, data: Json, *, wait: float | None = None, ttl: float = 0, timeout: float = 30,
        expect: int | None = None, sender: str | None = None, idempotency_key: str | None = None,
        collapse_key: str | None = None, notify: str | None = None, rollout: Mapping[str, Json] | None = None,
    ) -> SentCommand:
        """Sends a command, and waits for its end (protocol §8.1): as long as it takes, or wait seconds. With 0 it returns
        when the service has the command; see read_command.

        ttl: seconds for which it may be handed to peers that subscribe later. timeout: seconds for each peer's answer.
        expect: so many peers have to end; if left out, those that are subscribed by name.
        """
        clock = asyncio.get_running_loop().time
        until = None if wait is None else clock() + wait
        body = given(
            data=data, waitMs=wait_ms(until, clock()), ttlMs=round(ttl * 1000), timeoutMs=round(timeout * 1000), expect=expect,
            idempotencyKey=idempotency_key or secrets.token_hex(16), collapseKey=collapse_key, notify=notify, rollout=rollout, **{"from": sender},
        )
        command = sent_command(await until_answered(lambda: self.request("POST", path(channel, "commands"), body)))
        while not command.ended and (until is None or clock() < until):
            began = clock()
            try:
                command = await self.read_command(command.id, wait=wait_ms(until, began) / 1000)
            except (Refused, Unanswered) as error:
                if not passing(error) and getattr(error, "code", "") != "rate_limited":
                    raise
                await pause_after(error)
            if not command.ended and clock() - began < RETRY:  # the service did not wait: too many do
                await asyncio.sleep(RETRY if until is None else max(0.0, min(RETRY, until - clock())))
        return command

    async def read_command(self, command: str, *, wait: float = WAIT) -> SentCommand:
        """A command when it has ended, or after so many seconds, at most 10."""
        answer = await self.request("GET", f"/commands/{quote(command, safe='')}", query={"waitMs": round(min(wait, WAIT) * 1000)})
        return sent_command(answer)

    async def cancel_command(self, command: str) -> SentCommand:
        """Cancels a command. Raises Refused with command_final if it had ended."""
        return sent_command(await self.request("DELETE", f"/commands/{quote(command, safe='')}"))

    async def answers(self, command: str, status: str = "") -> AsyncIterator[Answer]:
        """Reads the states of a command at its peers, by peer id; with a status those in that state."""
        async for entry in self._entries(f"/commands/{quote(command, safe='')}/answers", "answers", {"status": status} if status else {}):
            yield answered(entry)

    # Groups

    async def pull(self, group: str, *, max_messages: int = 100, wait: float = 0, consumer: str | None = None) -> list[dict[str, Json]]:
        """Messages that wait for a group, at once or within wait seconds (at most 10). Client.group is simpler."""
        body = given(max=max_messages, waitMs=round(min(wait, WAIT) * 1000), consumer=consumer)
        return list((await self.request("POST", f"/groups/{quote(group, safe='')}/pull", body))["messages"])

    async def ack(self, group: str, ack_ids: Iterable[str], *, nack: Iterable[Mapping[str, Json]] = ()) -> list[dict[str, Json]]:
        """Acknowledges messages, and has those of nack ({"ackId", "delayMs"}) delivered again."""
        body = given(ackIds=list(ack_ids) or None, nack=list(nack) or None)
        return list((await self.request("POST", f"/groups/{quote(group, safe='')}/ack", body))["results"])

    async def group(self, group: str) -> dict[str, Json]:
        """How many messages wait for a group, how old the oldest is, and so on (protocol §10.1)."""
        return await self.request("GET", f"/groups/{quote(group, safe='')}")

    # Requests

    async def request(self, method: str, path: str, body: Json = None, *, query: Mapping[str, Json] | None = None) -> dict[str, Any]:
        """Makes any request, once. path is what stands behind /v1, such as /usage."""
        target = self._at.path + path + ("?" + urlencode(query) if query else "")
        payload = None if body is None else encode(body).encode()
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._request, method, target, payload)

    async def _entries(self, path: str, list_: str, query: Mapping[str, Json]) -> AsyncIterator[dict[str, Json]]:
        """The entries of a list, page after page."""
        cursor = None
        while cursor != "":
            page = await self.request("GET", path, query={**query, **({"cursor": cursor} if cursor else {})})
            for entry in page[list_]:
                yield entry
            cursor = page.get("cursor") or ""

    def _request(self, method: str, target: str, payload: bytes | None) -> dict[str, Any]:
        """Runs in a thread."""
        connection = self._connection()
        try:
            connection.request(method, target, payload, self._headers)
            answer = connection.getresponse()
            status, headers, content = answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unanswered(f"{method} {target.partition('?')[0]}: {error or type(error).__name__}") from None
        if answer.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        try:
            fields = json.loads(content)
        except ValueError:
            fields = None
        if status in (200, 202) and isinstance(fields, dict):
            return Fields(fields)
        if status in (200, 202):
            raise NotService("the answer is not the service's JSON; is the URL right?")
        raise refusal(status, fields, headers.get("Retry-After"))

    def _connection(self) -> http.client.HTTPConnection:
        """One that is open and waits, or a new one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if still_open(connection):
                return connection
            connection.close()
        if self._at.scheme == "http":
            return http.client.HTTPConnection(self._at.netloc, timeout=15)
        return http.client.HTTPSConnection(self._at.netloc, timeout=15, context=self._tls)


def still_open(connection: http.client.HTTPConnection) -> bool:
    """Nothing comes on a connection that waits but its end."""
    if connection.sock is None:
        return False
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return not selector.select(0)


async def until_answered(request: Callable[[], Awaitable[T]]) -> T:
    """Makes a request with an idempotency key until there is an answer, but not without end."""
    for _ in range(TRIES - 1):
        try:
            return await request()
        except (Refused, Unanswered) as error:
            if not passing(error):
                raise
            await pause_after(error)
    return await request()


def passing(error: Error) -> bool:
    """Whether an error may pass: it is not the service's word on the request."""
    return isinstance(error, Unanswered) or isinstance(error, Refused) and error.status >= 500


async def pause_after(error: Error) -> None:
    asked = error.retry_after if isinstance(error, Refused) else 0.0
    await asyncio.sleep(max(RETRY, min(asked, LONGEST_ASKED)) + random.uniform(0, RETRY))


def path(channel: str, what: str) -> str:
    return f"/channels/{quote(channel, safe='')}/{what}"


def given(**fields: Json) -> dict[str, Json]:
    """The fields that are not None, and data in any case."""
    return {name: value for name, value in fields.items() if value is not None or name == "data"}


def wait_ms(until: float | None, now: float) -> int:
    """For how long one request waits."""
    return round(1000 * (WAIT if until is None else max(0.0, min(WAIT, until - now))))


def sent_command(fields: Mapping[str, Any]) -> SentCommand:
    return SentCommand(
        fields["id"], fields["status"], fields["counts"], [answered(a) for a in fields["answers"]], fields.get("more") is True,
    )


def answered(fields: Mapping[str, Any]) -> Answer:
    return Answer(fields["peer"], fields["status"], fields.get("data"), fields["attempt"])


def remembered(channel: str, epoch: str, fields: Mapping[str, Any]) -> Message:
    return Message(
        channel, fields["from"], fields["data"], position=Position(epoch, fields["offset"]), replayed=True, at=fields["at"] / 1000,
    )


def refusal(status: int, fields: Any, asked: str | None) -> Refused:
    if not isinstance(fields, dict) or not isinstance(fields.get("error"), str):
        return Refused("", "the answer is not the service's; is the URL right?", status=status, retry_after=retry_after(asked))
    position, newest = Position.of(fields), fields.get("newest")
    return Refused(
        fields["error"], str(fields.get("message", "")), outcome=str(fields.get("outcome", "")), status=status,
        retry_after=retry_after(asked), position=position,
        newest=remembered("", position.epoch, newest) if position and isinstance(newest, dict) else None,
    )
