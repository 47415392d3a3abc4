"""The states of a Client."""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .messages import Welcome


class State(str, Enum):
    CONNECTING = "connecting"  # a token is asked for, or a connection opened
    CONNECTED = "connected"  # the service has said welcome
    LIVE = "live"  # every subscription that there was before the connection is renewed
    GOING_AWAY = "going away"  # the service will close the connection; it works until then
    WAITING = "waiting"  # the connection has ended, or none could be had; the next attempt follows
    STOPPED = "stopped"  # the service will not have this client any more


@dataclass(frozen=True)
class Change:
    """A change of state, for on_state."""

    state: State
    welcome: Welcome | None = None  # with CONNECTED
    error: BaseException | None = None  # with WAITING and STOPPED
    retry_in: float | None = None  # seconds: with WAITING until the next attempt, with GOING_AWAY until the client is back
