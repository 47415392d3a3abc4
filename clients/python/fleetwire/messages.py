"""Messages and other values that the service hands over. Their data is as json.loads returns it."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

Json = Any  # what the module json reads and writes


@dataclass(frozen=True)
class Position:
    """A place in what a channel remembers (protocol §9). Offsets count its messages from 1, within an epoch."""

    epoch: str
    offset: int

    @staticmethod
    def of(fields: Mapping[str, Any]) -> Position | None:
        """The position in a frame or an answer, if it has one."""
        epoch, offset = fields.get("epoch"), fields.get("offset")
        return Position(epoch, offset) if isinstance(epoch, str) and epoch and isinstance(offset, int) else None

    def json(self) -> dict[str, Json]:
        return {"epoch": self.epoch, "offset": self.offset}


@dataclass(frozen=True)
class Message:
    """A message that was published to a channel, or sent to this peer: then channel is "" (protocol §4.3)."""

    channel: str
    sender: str
    data: Json
    sender_metadata: Json = None  # the sender's peerMetadata, if the subscription asked for it
    position: Position | None = None  # in a channel that remembers, to subscriptions by name
    replayed: bool = False  # it was published before the subscription, or while the client was away
    at: float | None = None  # unix seconds; only of Backend.history
    missed: int = 0  # messages right before this one that were dropped, since too many waited for the handlers
    command: Mapping[str, Any] | None = field(default=None, repr=False)  # for handle_commands: it is one (protocol §8.3)


@dataclass(frozen=True)
class Member:
    """A peer in a channel."""

    peer: str
    metadata: Json = None


@dataclass(frozen=True)
class Presence:
    """Peers have joined or left a channel. The first one after a subscription, on each connection, lists all that are there."""

    channel: str
    joined: list[Member]
    left: list[Member]
    missed: int = 0  # as in Message; if it is not 0, Backend.members tells who is there


@dataclass(frozen=True)
class Gap:
    """Messages of a channel that remembers did not come to a subscription, and will not."""

    channel: str
    after: Position | None  # the last message that came, or what since said
    until: Position | None  # the newest position when the gap was found; None: the channel remembers nothing any more


@dataclass(frozen=True)
class Event:
    """A message that waited for a group of ingesters (protocol §10)."""

    channel: str
    sender: str
    data: Json
    sender_metadata: Json
    published_at: float  # unix seconds, by the service's clock
    attempt: int  # over 1: it was delivered before, and may have been handled
    ack_id: str = field(repr=False)


@dataclass(frozen=True)
class Welcome:
    """The first frame of the service on each connection (protocol §4.1)."""

    peer: str
    expires_at: int | None  # unix seconds; None for a publishable key
    server_time: int
    max_message_size: int  # bytes of a frame that the service takes
    metadata: Json


def members(entries: Any) -> list[Member]:
    return [Member(e["peerId"], e.get("metadata")) for e in entries]
