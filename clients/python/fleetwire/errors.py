"""Errors. None of them holds a token or a secret key."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .messages import Message, Position


class Error(Exception):
    """Any error of this package."""


def said(error: BaseException) -> str:
    """The text of an error, or its name: some have none."""
    return str(error) or type(error).__name__


class Refused(Error):
    """The service refused a frame, or a request (protocol §4.4, §5)."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        outcome: str = "",
        status: int = 0,
        retry_after: float = 0,
        position: Position | None = None,
        newest: Message | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code  # "" when something else than the service has answered, say a proxy
        self.message = message  # for people
        # Of a backend_error. "none": nothing was done, and another try is safe. "unknown": it may have been done.
        self.outcome = outcome
        self.status = status  # of an HTTP answer; else 0
        self.retry_after = retry_after  # seconds that an HTTP answer asked for; else 0
        self.position = position  # of an offset_mismatch: the channel's newest
        self.newest = newest  # the message there, if the answer has it

    def __str__(self) -> str:
        status = f"HTTP {self.status}: " if self.status else ""
        code = f"{self.code}: " if self.code else ""
        again = f" (try again in {self.retry_after:g} s)" if self.retry_after else ""
        return f"{status}{code}{self.message}{again}"


class ConnectionEnded(Error):
    """The connection ended: code is that of the close frame, or 1006 without one."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return f"the connection ended with {self.code}" + (f": {self.reason}" if self.reason else "")


class ConnectionLost(Error):
    """The connection ended after the frame was sent and before the answer came: whether it was done is not known."""


class NotSent(Error):
    """The connection ended before the frame was sent. The client sends it on the next one."""


class Closed(Error):
    """The program has closed the client."""


class Stopped(Error):
    """The service will not have this client any more. code is that of the close frame, 1006 without one."""

    def __init__(self, why: BaseException) -> None:
        super().__init__(f"stopped: {said(why)}")
        self.code = why.code if isinstance(why, ConnectionEnded) else 1006
        self.__cause__ = why


class NoMoreTokens(Error):
    """Raised by a program's token function: there will be no other token, so the client stops."""


class NotService(Error):
    """Something else than the service has answered; is the URL right?"""


class TooLarge(Error, ValueError):
    """The frame or request is over the service's bound. Nothing was sent."""


class Rejected(Exception):
    """Raised by a command handler that will not do a command: the answer is "rejected" instead of "failed"."""
