"""Fleetwire's client for asyncio: devices, ingesters and backends. README.md has an example of each."""
from .backend import Answer, Backend, History, Published, SentCommand, Unanswered
from .client import Client
from .commands import Command
from .errors import Closed, ConnectionEnded, ConnectionLost, Error, NoMoreTokens, NotService, Refused, Rejected, Stopped, TooLarge
from .messages import Event, Gap, Member, Message, Position, Presence, Welcome
from .state import Change, State
from .tokens import sign_token

__version__ = "0.1.0"

__all__ = [
    "Answer", "Backend", "Change", "Client", "Closed", "Command", "ConnectionEnded", "ConnectionLost", "Error", "Event",
    "Gap", "History", "Member", "Message", "NoMoreTokens", "NotService", "Position", "Presence", "Published", "Refused",
    "Rejected", "SentCommand", "State", "Stopped", "TooLarge", "Unanswered", "Welcome", "sign_token",
]
