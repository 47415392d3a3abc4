"""The queue before the program's functions."""
from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import Union

from .messages import Gap, Message, Presence
from .state import Change

Item = Union[Message, Presence, Change, Gap, Exception]
MAX_NOTICES = 256  # changes, gaps and errors that wait: only a function that never returns gets there


class Inbox:
    """Items in order: messages and presences up to so many bytes, and the newest notices."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = self._notices = self._missed = 0
        self._woken = asyncio.Event()
        self._finished = False

    def put(self, item: Message | Presence, size: int) -> int:
        """Adds a message, unless too many wait. One always fits, however large. Returns how many were missed in a row."""
        if self._bytes and self._bytes + size > self._bound:
            self._missed += 1
            return self._missed
        if self._missed:
            item, self._missed = replace(item, missed=self._missed), 0
        self._bytes += size
        self._add(item, size)
        return 0

    def notice(self, item: Change | Gap | Exception) -> None:
        if self._notices == MAX_NOTICES:
            oldest = next(i for i, (_, size) in enumerate(self._items) if not size)
            del self._items[oldest]
            self._notices -= 1
        self._notices += 1
        self._add(item, 0)

    def _add(self, item: Item, size: int) -> None:
        self._items.append((item, size))
        self._woken.set()

    def finish(self, drop: bool) -> None:
        """Has take return None: at once, or when everything has been taken."""
        if drop:
            self._items.clear()
        self._finished = True
        self._woken.set()

    async def take(self) -> Item | None:
        while not self._items:
            if self._finished:
                return None
            self._woken.clear()
            await self._woken.wait()
        item, size = self._items.popleft()
        self._bytes -= size
        self._notices -= not size
        return item
