"""A subscription, and where it stands in a channel that remembers (docs/clients.md, "Channels that remember")."""
from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Callable, Union

from .link import Ack, Link
from .messages import Gap, Message, Position, Presence
from .pattern import Pattern, is_pattern

OnMessage = Callable[[Message], Union[Awaitable[None], None]]
OnPresence = Callable[[Presence], Union[Awaitable[None], None]]


class Subscription:
    """One that the program wants. On which connections it is live is for them to know."""

    def __init__(
        self, channel: str, take: OnMessage, presence: OnPresence | None,
        options: dict[str, Any], last: int | None, since: Position | None,
    ) -> None:
        self.channel, self.take, self.presence, self.options = channel, take, presence, options
        self.pattern = Pattern(channel) if is_pattern(channel) else None
        if self.pattern and (last is not None or since):
            raise ValueError(f"last and since need a channel's name; {channel!r} is a pattern, which replays nothing")
        if last is not None and since:
            raise ValueError("give last or since, not both")
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # the first answer
        self._last = last or 0
        self._at = since  # the last message that came; None: it is not known
        self._on: Link | None = None  # the connection whose messages move it
        self._owed = 0  # messages before at that were asked for, and may not have come

    def matches(self, channel: str) -> bool:
        return self.pattern.match(channel) if self.pattern else self.channel == channel

    def frame(self) -> dict[str, Any]:
        """The subscribe, from where the subscription stands."""
        self._on = None
        frame: dict[str, Any] = {"type": "subscribe", "channel": self.channel, **self.options}
        after = self._after()
        if after:
            frame["since"] = after.json()
        elif not self.pattern:  # also 0: the service tells of gaps those alone that ask where they begin
            frame["last"] = self._last
        return frame

    def _after(self) -> Position | None:
        """The position after which messages are missing."""
        return Position(self._at.epoch, self._at.offset - self._owed) if self._at else None

    def placed(self, link: Link, ack: Ack, since: bool) -> Gap | None:
        """Takes what the ack of a subscribe says, with or without since; a gap is what can't be recovered."""
        if self.pattern:
            return None
        self._on = link
        after, owed, before = self._after(), self._owed, self._at
        if after is None or not since:
            self._at = ack.position
            self._owed = min(self._last, ack.position.offset) if ack.position else 0
            return None
        self._owed = 0
        if ack.frame.get("recovered") is True:
            self._at = after
            return None
        # Messages that are still remembered follow. If the connection ends before they come, they are in the gap, too.
        self._at = ack.position
        if owed and ack.position == before:
            return None  # fewer messages were there than were asked for
        return Gap(self.channel, after, ack.position)

    def came(self, link: Link, offset: int) -> Position | None:
        """Notes a message; its position, if the epoch is known."""
        if self._at is None or self._on is not link:
            return None
        self._at, self._owed = Position(self._at.epoch, offset), 0
        return self._at

    def gap(self, link: Link, until: Position) -> Gap | None:
        """Takes the service's word that messages up to a position can't be delivered."""
        if self._on is not link:
            return None
        gap = Gap(self.channel, self._after(), until)
        self._at, self._owed = until, 0
        return gap
