"""Backoff decides what to do when a connection has ended (protocol §4.5, docs/clients.md §4)."""
from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Callable

from .errors import ConnectionEnded, NoMoreTokens, Refused

FIRST_BOUND, LAST_BOUND = 1.0, 60.0  # seconds, of a pause
PLAN_PAUSE = 30.0  # how long to stay away after 4010 at least
LONGEST_ASKED = 300.0  # that going_away or Retry-After can ask for
SETTLED = 10.0  # a connection that lasted so long takes the bound back to its first

INVALID, EXPIRED, NOT_COVERED, PLAN_LIMIT, SUSPENDED, DISCONNECTED = 4001, 4002, 4003, 4010, 4012, 4020


@dataclass
class Ending:
    """How an attempt or a connection ended."""

    error: BaseException
    lived: float | None = None  # seconds since the welcome; None: there was none
    back_in: float | None = None  # when a going_away frame wants the client back; None: none came


@dataclass
class Step:
    """The next thing to do."""

    stop: bool = False
    new_token: bool = False
    pause: float = 0.0


class Backoff:
    def __init__(self, jitter: Callable[[float], float] = lambda bound: random.uniform(0, bound)) -> None:
        self.jitter = jitter  # a random number between 0 and a bound: a fleet must not come back as one wave
        self.failures = 0
        self.refused = False  # the last token was refused with 4001
        self.expired = False  # the last attempt ended with 4002, before a welcome

    def after(self, ending: Ending) -> Step:
        if ending.lived is not None:
            self.refused = self.expired = False
            if ending.lived >= SETTLED:
                self.failures = 0
        error = ending.error
        code = error.code if isinstance(error, ConnectionEnded) else 0
        if code in (NOT_COVERED, SUSPENDED, DISCONNECTED) or isinstance(error, NoMoreTokens):
            return Step(stop=True)
        if code == INVALID:
            if self.refused:
                return Step(stop=True)
            self.refused = True
            return Step(new_token=True, pause=self._grow())
        if code == EXPIRED:
            if self.expired:
                return Step(new_token=True, pause=self._grow())
            self.expired = ending.lived is None
            return Step(new_token=True)
        if code == PLAN_LIMIT:
            return Step(pause=PLAN_PAUSE + self._grow())
        if ending.back_in is not None:
            return Step(pause=max(0.0, ending.back_in))
        asked = error.retry_after if isinstance(error, Refused) else 0.0
        return Step(pause=min(asked, LONGEST_ASKED) + self._grow())

    def _grow(self) -> float:
        bound = min(LAST_BOUND, FIRST_BOUND * 2 ** min(self.failures, 6))
        self.failures += 1
        return self.jitter(bound)
